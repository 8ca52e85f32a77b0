"""The engine: every stream of every rank walks its instruction list in SimPy time.

A stream is its own FIFO. Only what takes time is a SimPy event; a flag that is set wakes its waiter at once. A
collective is a meeting: the last to arrive starts it. When the relative clocks of all streams repeat, the period is
replayed by arithmetic (see steady_state). A program that cannot go on raises Deadlock.
"""

import gc
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from simpy import Environment, Event, Timeout

from sim.costs.sharing import Hold
from sim.flow import Flow
from sim.instructions import Load
from sim.network import Network
from sim.program import Program
from sim.schedules import Deadlock
from sim.schedules.action import last_steps
from sim.shared_gpu import SharedGpu
from sim.steady_state import SteadyState
from sim.timeline import BUBBLE, Timeline, timeline_of
from sim.walker import COMPUTE, COMPUTE_BESIDE, COPY, END, NOTHING, RECORD, TRANSFER, WAIT, Compiler, Walker
from topologies.fabric import capacity
from topologies.hardware import Cluster, Gpu

MAX_NAMED = 8


class Engine:
    """Plays programs on a cluster; keeps nothing from one play to the next."""

    def __init__(self, cluster: Cluster, *, steady_state: bool = True) -> None:
        self._cluster = cluster
        self._steady_state = steady_state

    def play(self, program: Program) -> Timeline:
        """Play the program from time 0 to its last event.

        Raises Deadlock, naming who waits for what, where a stream can never end.
        """
        return _Play(program, self._cluster, steady_state=self._steady_state).to_the_end()


class _Play:
    """The state of one run. `offset` is what the steady state has skipped: the step's clock is `now + offset`."""

    def __init__(self, program: Program, cluster: Cluster, *, steady_state: bool) -> None:
        compiler = Compiler(program, cluster)
        self._program = program
        self._env = Environment()
        self._walkers = compiler.walkers()
        self._labels = compiler.labels
        self._exposed = compiler.exposed
        self._flag_names = tuple(compiler.flags)
        self._num_members = compiler.num_members
        self._network = Network(self._env, [capacity(cluster, wire) for wire in compiler.wires])
        self._holds = compiler.holds
        self._gpus = self._shared_gpus(cluster, tuple(compiler.loads))
        self._flags: set[int] = set()
        self._waiting: dict[int, Walker] = {}
        self._meetings: list[list[Walker]] = [[] for _ in self._num_members]
        self._ready: deque[Walker] = deque()
        self._unfinished = len(self._walkers)
        self._offset = 0.0
        self._ended = 0.0
        self._steady = SteadyState(self._walkers) if steady_state else None
        self._at_marker = False

    def _shared_gpus(self, cluster: Cluster, loads: tuple[Load, ...]) -> dict[int, SharedGpu]:
        speeds: defaultdict[Gpu, dict[tuple[int, Hold], float]] = defaultdict(dict)
        ranks = dict.fromkeys(walker.stream.rank for walker in self._walkers if walker.beside)
        kinds = {rank: cluster.gpu_at(rank) for rank in ranks}
        return {rank: SharedGpu(self._env, gpu, loads, speeds[gpu], self._kernel_ended) for rank, gpu in kinds.items()}

    def to_the_end(self) -> Timeline:
        for walker in self._walkers:
            walker.wake = partial(self._go_on, walker)
            walker.arrive = partial(self._arrive, walker)
            walker.finish = partial(self._finish, walker)
        with without_garbage_collection():
            for walker in self._walkers:
                self._go_on(walker)
            self._env.run()
        if self._unfinished:
            raise Deadlock(self._who_waits(), self._done_so_far())
        self._draw_waiting_for_the_end()
        for walker in self._walkers:
            del walker.wake, walker.arrive, walker.finish  # they lead back here: all rows would stay for the collector
        return timeline_of(
            self._program,
            self._labels.all(),
            [walker.actions for walker in self._walkers],
            [walker.rows for walker in self._walkers],
            [walker.repeats for walker in self._walkers],
            self._ended + self._offset,
        )

    def _go_on(self, walker: Walker, _: object = None) -> None:
        """Let the walker go on, and all that it sets going, until everybody sleeps again; no time passes."""
        now, ready = self._env.now, self._ready
        self._walk(walker, now)
        while ready:
            self._walk(ready.popleft(), now)
        if self._at_marker:
            self._leap(now)

    def _walk(self, walker: Walker, now: float) -> None:
        """Go on until the walker has to sleep. The hot loop: one longer function, and local names for what it needs."""
        flags = self._flags
        operations, pointer, key = walker.operations, walker.pointer, walker.key
        while True:
            code, label, seconds, target, flow = operations[pointer]
            pointer += 1
            if code == COMPUTE:
                offset, end = self._offset, now + seconds
                walker.rows.append((label, walker.position, now + offset, end + offset))
                while operations[pointer][0] == COMPUTE:  # kernels that follow one another have one event
                    _, label, seconds, _, _ = operations[pointer]
                    pointer += 1
                    start, end = end, end + seconds
                    walker.rows.append((label, walker.position, start + offset, end + offset))
                walker.until = end
                walker.wire_label = NOTHING
                walker.pointer = pointer
                Timeout(self._env, end - now).callbacks.append(walker.wake)
                return
            if code == WAIT:
                flag = target + key
                if flag in flags:
                    flags.remove(flag)
                    continue
                walker.since = now
                walker.waits_for = flag
                walker.pointer = pointer
                self._waiting[flag] = walker
                return
            if code == RECORD:
                self._set(target + key, walker.wire_since, walker.wire_label, now)
            elif code == END:
                walker.position = position = walker.position + 1
                if position == walker.end:
                    self._unfinished -= 1
                    self._ended = walker.since = now
                    return
                if position == walker.marker:
                    self._at_marker = True
                walker.operations = operations = walker.blocks[position]
                walker.key = key = walker.keys[position]
                pointer = 0
            else:
                walker.pointer = pointer
                if code == TRANSFER:
                    walker.since = walker.wire_since = now
                    walker.wire_label = self._exposed[label]
                    self._network.start(flow, walker.arrive)
                elif code == COPY:
                    walker.wire_label, walker.wire_since = self._exposed[label], now
                    walker.rows.append((label, walker.position, now + self._offset, now + seconds + self._offset))
                    walker.until = now + seconds
                    Timeout(self._env, seconds).callbacks.append(walker.wake)
                elif code == COMPUTE_BESIDE:
                    walker.wire_label = NOTHING
                    self._gpus[walker.stream.rank].start(walker)
                else:
                    self._meet(walker, label, target, flow, now)
                return

    def _finish(self, walker: Walker, event: Event) -> None:
        """A kernel ends that may have been slowed; unless that was its end before its speed changed."""
        if event is walker.event:
            self._gpus[walker.stream.rank].finish(walker)
            self._go_on(walker)

    def _kernel_ended(self, walker: Walker, end: float) -> None:
        label, offset = walker.operations[walker.pointer - 1][1], self._offset
        walker.rows.append((label, walker.position, walker.since + offset, end + offset))

    def _set(self, flag: int, wire_since: float, wire_label: int, now: float) -> None:
        waiter = self._waiting.pop(flag, None)
        if waiter is None:
            self._flags.add(flag)
            return
        waiter.waits_for = None
        if waiter.keeps_stalls:
            self._note_stall(waiter, wire_since, wire_label, now)
        self._ready.append(waiter)

    def _note_stall(self, walker: Walker, wire_since: float, wire_label: int, now: float) -> None:
        """A stalled compute stream waited for work, and from the time that its bytes were on the wire, for them."""
        offset, position = self._offset, walker.position
        on_wire = now if wire_label == NOTHING else max(walker.since, wire_since)
        if on_wire > walker.since:
            walker.rows.append((BUBBLE, position, walker.since + offset, on_wire + offset))
        if now > on_wire:
            walker.rows.append((wire_label, position, on_wire + offset, now + offset))

    def _arrive(self, walker: Walker) -> None:
        """The last byte of a transfer is there. Its step is read only now: a leap may have moved the stream on."""
        _, label, _, target, _ = walker.operations[walker.pointer - 1]
        now, since, offset = self._env.now, walker.wire_since, self._offset
        walker.rows.append((label, walker.position, since + offset, now + offset))
        self._set(target + walker.key, since, walker.wire_label, now)
        self._go_on(walker)

    def _meet(self, walker: Walker, label: int, meeting: int, flow: Flow, now: float) -> None:
        walker.since = now
        members = self._meetings[meeting]
        members.append(walker)
        is_last = len(members) == self._num_members[meeting]
        for member in members if is_last else (walker,):
            if member.beside:
                self._hold(member, meeting, flows=is_last)
        if is_last:
            self._meetings[meeting] = []
            self._network.start(flow, lambda: self._part(members, label, now))

    def _part(self, members: list[Walker], label: int, start: float) -> None:
        """The collective is done: all members go on. Who waits for it waits for the bytes of those just before it too,
        which kept its stream busy."""
        now, offset = self._env.now, self._offset
        for walker in members:
            if start > walker.until or walker.wire_label == NOTHING:
                walker.wire_since = start
            walker.wire_label, walker.until = self._exposed[label], now
            if walker.beside:
                self._gpus[walker.stream.rank].release(walker.index)
            if walker.keeps_stalls and start > walker.since:
                walker.rows.append((BUBBLE, walker.position, walker.since + offset, start + offset))
            walker.rows.append((label, walker.position, start + offset, now + offset))
        self._ready.extend(members[1:])
        self._go_on(members[0])

    def _hold(self, walker: Walker, meeting: int, *, flows: bool) -> None:
        """The kernel of a collective spins on its SMs; once bytes flow it moves them too."""
        rank = walker.stream.rank
        whole = self._holds[rank, meeting]
        self._gpus[rank].hold(walker.index, whole if flows else Hold(whole.num_sms, 0.0))

    def _leap(self, now: float) -> None:
        self._at_marker = False
        assert self._steady is not None
        leap = self._steady.at_marker(now, self._flags, self._network.in_flight())
        if leap is not None:
            self._offset += leap.times * leap.period
            self._flags = {flag + leap.flag_shift for flag in self._flags}
            self._waiting = {w.waits_for: w for w in self._walkers if w.waits_for is not None}

    def _draw_waiting_for_the_end(self) -> None:
        """A rank that has nothing more to do waits for the others."""
        end = self._ended + self._offset
        for walker in self._walkers:
            done = walker.since + self._offset
            if walker.keeps_stalls and done < end:
                walker.rows.append((BUBBLE, walker.end - 1, done, end))

    def _who_waits(self) -> tuple[str, ...]:
        waiting = [self._describe(walker) for walker in self._walkers if not walker.finished]
        more = [f"and {len(waiting) - MAX_NAMED} more"] if len(waiting) > MAX_NAMED else []
        return tuple(waiting[:MAX_NAMED] + more)

    def _done_so_far(self) -> str:
        """The schedule grid as far as it came."""
        return last_steps([w.stream.actions()[: w.position] for w in self._walkers if w.keeps_stalls])

    def _describe(self, walker: Walker) -> str:
        action = walker.stream.steps[walker.position][0]
        place = f"rank {walker.stream.rank}, stream {walker.stream.name}, at {action or 'the end of the step'}"
        if walker.waits_for is not None:
            return f"{place}: waits for {self._name_of(walker.waits_for)}"
        met = self._labels.all()[walker.operations[walker.pointer - 1][1]].name
        return f"{place}: waits at '{met}' for the others of its group"

    def _name_of(self, flag: int) -> str:
        microbatch, number = divmod(flag, len(self._flag_names))
        rank, name = self._flag_names[number]
        return f"flag '{name}' of rank {rank}" + (f" for microbatch {microbatch - 1}" if microbatch else "")


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """A step makes few cycles, but so many actions and rows that looking for cycles is a third of its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
