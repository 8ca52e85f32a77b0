"""The yardstick: one step of a pipeline as a SimPy programmer would write it for this one purpose.

A process per stage, a timeout for each pass, an event for each input. A message is a timeout of its latency and its
bytes over the bandwidth; the sender waits until it is gone, as Megatron-LM does without interleaving, so it needs no
process of its own. No spans, no shared wires, no deadlock named: only the time of the last event is known.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from simpy import Environment, Event

from sim.costs.collectives import alone
from sim.instructions import Collective, Compute, Transfer
from sim.program import Program, Stream
from sim.schedules import Action
from topologies.hardware import Cluster

Process = Generator[Event, None, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The operations of one step and the seconds of each, one stage a rank; `*_forward[i]`, `*_backward[i]` of stage i.

    `ends[i]` are the operations of stage i after its last pass: gradient sums, optimizer.
    """

    schedule: Sequence[Sequence[Action]]
    forward: Sequence[float]
    backward: Sequence[float]
    send_forward: Sequence[float]
    send_backward: Sequence[float]
    ends: Sequence[Sequence[float]]

    @property
    def num_passes(self) -> int:
        return sum(map(len, self.schedule))

    @property
    def num_operations(self) -> int:
        """Passes, messages, and what comes after the last pass."""
        num_microbatches = len(self.schedule[0]) // 2
        return self.num_passes + 2 * num_microbatches * (len(self.schedule) - 1) + sum(map(len, self.ends))


def by_hand(pipeline: Pipeline, *, messages: bool = True) -> float:
    """Seconds of the step. An input is an event, made by whoever comes first, sender or receiver, and dropped when met.

    Without `messages`, and the ends of the step, only the passes are played: about half of the operations.
    """
    env = Environment()
    last = len(pipeline.schedule) - 1
    arrivals: dict[tuple[str, int, int], Event] = {}

    def arrival(kind: str, index: int, microbatch: int) -> Event:
        key = kind, index, microbatch
        if key not in arrivals:
            arrivals[key] = env.event()
        return arrivals[key]

    def stage(index: int) -> Process:
        forward, backward = pipeline.forward[index], pipeline.backward[index]
        send_forward, send_backward = pipeline.send_forward[index], pipeline.send_backward[index]
        for kind, _, microbatch in pipeline.schedule[index]:
            if kind == "F":
                if index > 0:
                    yield arrival("F", index, microbatch)
                    del arrivals["F", index, microbatch]
                yield env.timeout(forward)
                if index < last:
                    if messages:
                        yield env.timeout(send_forward)
                    arrival("F", index + 1, microbatch).succeed()
            else:
                if index < last:
                    yield arrival("B", index, microbatch)
                    del arrivals["B", index, microbatch]
                yield env.timeout(backward)
                if index > 0:
                    if messages:
                        yield env.timeout(send_backward)
                    arrival("B", index - 1, microbatch).succeed()
        for seconds in pipeline.ends[index] if messages else ():
            yield env.timeout(seconds)

    for index in range(last + 1):
        env.process(stage(index))
    env.run()
    return float(env.now)


def tuned_by_hand(pipeline: Pipeline) -> float:
    """The same operations by somebody who knows what SimPy's events cost: an input that is there already is only
    counted, and an event is made for a stage that really has to wait. Inputs come in the order they are needed."""
    env = Environment()
    last = len(pipeline.schedule) - 1
    arrived = {(kind, index): 0 for kind in "FB" for index in range(last + 1)}
    waiting: dict[tuple[str, int], Event] = {}

    def hand_over(place: tuple[str, int]) -> None:
        if place in waiting:
            waiting.pop(place).succeed()
        else:
            arrived[place] += 1

    def stage(index: int) -> Process:
        seconds = {
            "F": (pipeline.forward[index], pipeline.send_forward[index]),
            "B": (pipeline.backward[index], pipeline.send_backward[index]),
        }
        own = {"F": ("F", index), "B": ("B", index)}
        following = {"F": ("F", index + 1), "B": ("B", index - 1)}
        first_of, last_of = {"F": 0, "B": last}, {"F": last, "B": 0}
        for kind, _, _ in pipeline.schedule[index]:
            if index != first_of[kind]:
                place = own[kind]
                if arrived[place]:
                    arrived[place] -= 1
                else:
                    waiting[place] = env.event()
                    yield waiting[place]
            work, send = seconds[kind]
            yield env.timeout(work)
            if index != last_of[kind]:
                yield env.timeout(send)
                hand_over(following[kind])
        for end in pipeline.ends[index]:
            yield env.timeout(end)

    for index in range(last + 1):
        env.process(stage(index))
    env.run()
    return float(env.now)


def pipeline_of(program: Program, cluster: Cluster) -> Pipeline:
    """The operations of a lowered 1F1B program at stage detail, with its own durations."""
    computing = [stream for stream in program.streams if stream.name == "compute"]
    passes = [_passes(stream) for stream in computing]
    sends = {kind: _sends(program, cluster, kind, computing) for kind in ("F", "B")}
    return Pipeline(
        schedule=[[action for action in stream.actions() if action is not None] for stream in computing],
        forward=[seconds["F"] for seconds in passes],
        backward=[seconds["B"] for seconds in passes],
        send_forward=sends["F"],
        send_backward=sends["B"],
        ends=[_end(program, cluster, stream) for stream in computing],
    )


def _passes(stream: Stream) -> dict[str, float]:
    """Seconds of a forward and of a backward pass."""
    return {
        action.kind: sum(entry.duration for entry in block if isinstance(entry, Compute))
        for action, block in stream.steps
        if action is not None
    }


def _sends(program: Program, cluster: Cluster, kind: str, computing: Sequence[Stream]) -> list[float]:
    """Seconds of a message by stage; 0 where a stage sends none."""
    blocks = [
        (stream.rank, next(block for action, block in stream.steps if action is not None and action.kind == kind))
        for stream in computing
    ]
    return [
        sum(_alone(program, cluster, entry, rank) for entry in block if isinstance(entry, Transfer))
        for rank, block in blocks
    ]


def _end(program: Program, cluster: Cluster, stream: Stream) -> list[float]:
    """Seconds of what follows the last pass; the sum of the tied embedding is played without its meeting."""
    action, block = stream.steps[-1]
    assert action is None
    return [
        entry.duration if isinstance(entry, Compute) else _alone(program, cluster, entry, stream.rank)
        for entry in block
        if isinstance(entry, Compute | Collective)
    ]


def _alone(program: Program, cluster: Cluster, entry: Collective | Transfer, rank: int) -> float:
    return alone(cluster, program.activities[entry, rank])
