"""The kernels that one rank computes, and the communication that runs beside them on its GPU.

A kernel goes on at the speed that is left to it; whenever communication starts or ends, what remains of its work is put
to its new speed. Its old end is not called off: it comes, and finds another event in its place. Kernels that follow one
another while nothing runs beside them have one event, the end of the last.
"""

from collections.abc import Callable
from math import inf

from simpy import Environment, Timeout

from sim.costs.sharing import Hold, speed
from sim.instructions import Load
from sim.walker import COMPUTE_BESIDE, Walker
from topologies.hardware import Gpu

NOTHING_HELD = Hold(0, 0.0)
Ended = Callable[[Walker, float], None]
"""Told of each kernel that ends, and when; the walker's pointer is behind it."""


class SharedGpu:
    """The GPU of one rank during a run. Communication is told apart by the index of its stream."""

    __slots__ = ("_ended", "_env", "_gpu", "_held", "_holds", "_loads", "_running", "_speeds")

    def __init__(
        self, env: Environment, gpu: Gpu, loads: tuple[Load, ...], speeds: dict[tuple[int, Hold], float], ended: Ended
    ) -> None:
        """`speeds` is a memory that equal GPUs share: of the load of a number beside what is held."""
        self._env = env
        self._gpu = gpu
        self._loads = loads
        self._speeds = speeds
        self._ended = ended
        self._running: dict[Walker, None] = {}
        self._holds: dict[int, Hold] = {}
        self._held = NOTHING_HELD

    def start(self, walker: Walker) -> None:
        """Start the kernel before the walker's pointer; `walker.finish` is called with the event of its end."""
        walker.since = walker.updated = self._env.now
        walker.remaining = walker.operations[walker.pointer - 1][2]
        self._running[walker] = None
        self._run(walker)

    def finish(self, walker: Walker) -> None:
        """The event of the walker's last end has come: all that it stands for is done."""
        if walker.is_chained:
            self._go_through(walker, inf)
        self._ended(walker, self._env.now)
        del self._running[walker]

    def hold(self, stream: int, what: Hold) -> None:
        """From now on the stream's communication kernel takes this."""
        self._holds[stream] = what
        self._change()

    def release(self, stream: int) -> None:
        """The stream's communication kernel is done."""
        del self._holds[stream]
        self._change()

    def _change(self) -> None:
        """Kernels whose speed is no longer the same go on with what remains at the new one."""
        taken = self._holds.values()
        if len(taken) == 1:
            (self._held,) = taken
        else:
            self._held = Hold(sum(hold.num_sms for hold in taken), sum(hold.bandwidth for hold in taken))
        now = self._env.now
        for walker in self._running:
            if walker.is_chained:
                self._go_through(walker, now)
            elif self._holds and self._speed(walker) == walker.speed:
                continue
            walker.remaining = max(0.0, walker.remaining - walker.speed * (now - walker.updated))
            walker.updated = now
            self._run(walker)

    def _go_through(self, walker: Walker, now: float) -> None:
        """Note which kernels of a chain have ended, and come to the one that runs."""
        operations = walker.operations
        end = walker.updated + walker.remaining
        while end <= now and operations[walker.pointer][0] == COMPUTE_BESIDE:
            self._ended(walker, end)
            walker.since = walker.updated = end
            walker.remaining = operations[walker.pointer][2]
            walker.pointer += 1
            end += walker.remaining

    def _speed(self, walker: Walker) -> float:
        """How fast the walker's kernel runs now."""
        key = walker.operations[walker.pointer - 1][3], self._held
        found = self._speeds.get(key)
        if found is None:
            found = self._speeds[key] = speed(self._gpu, self._loads[key[0]], *self._held)
        return found

    def _run(self, walker: Walker) -> None:
        """Set the next end: of the kernel, or of all that follow where it has the GPU to itself."""
        walker.is_chained = not self._holds
        if walker.is_chained:
            walker.speed, left = 1.0, walker.remaining
            operations, pointer = walker.operations, walker.pointer
            while operations[pointer][0] == COMPUTE_BESIDE:
                left += operations[pointer][2]
                pointer += 1
        else:
            walker.speed = self._speed(walker)
            left = walker.remaining / walker.speed
        walker.until = walker.updated + left
        walker.event = Timeout(self._env, left)
        walker.event.callbacks.append(walker.finish)
