"""The kernels that one rank computes, and the communication that runs beside them on its GPU.

A kernel goes on at the speed that is left to it; whenever communication starts or ends, what remains of its work is put
to its new speed. Its old end is not called off: it comes, and finds another event in its place.
"""

from simpy import Environment, Timeout

from sim.costs.sharing import Hold, speed
from sim.instructions import Load
from sim.walker import Walker
from topologies.hardware import Gpu


class SharedGpu:
    """The GPU of one rank during a run. Communication is told apart by the index of its stream."""

    def __init__(self, env: Environment, gpu: Gpu) -> None:
        self._env = env
        self._gpu = gpu
        self._running: dict[Walker, None] = {}
        self._holds: dict[int, Hold] = {}
        self._held = Hold(0, 0.0)

    def start(self, walker: Walker, seconds: float, load: Load) -> None:
        """Start a kernel that takes so many seconds alone; `walker.finish` is called with the event of its end."""
        walker.load, walker.remaining, walker.since = load, seconds, self._env.now
        self._running[walker] = None
        self._run(walker, self._speed(load))

    def end(self, walker: Walker) -> None:
        """The walker's kernel is done."""
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
        self._held = Hold(sum(hold.num_sms for hold in taken), sum(hold.bandwidth for hold in taken))
        for walker in self._running:
            new = self._speed(walker.load)
            if new != walker.speed:
                done = walker.speed * (self._env.now - walker.updated)
                walker.remaining = max(0.0, walker.remaining - done)
                self._run(walker, new)

    def _speed(self, load: Load) -> float:
        return speed(self._gpu, load, *self._held) if self._holds else 1.0

    def _run(self, walker: Walker, new: float) -> None:
        walker.speed, walker.updated = new, self._env.now
        left = walker.remaining / new
        walker.until = walker.updated + left
        walker.event = Timeout(self._env, left)
        walker.event.callbacks.append(walker.finish)
