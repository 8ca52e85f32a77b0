"""A bare pipeline: a schedule and four times, with no model and no machine behind it, played by the engine.

Nothing of its bubble is typed in: passes wait for messages, messages for passes, and what is left of each rank's time
is the bubble. A message takes the same seconds everywhere, on a stream of its own beside the passes; those of a rank
that go the same way follow one another.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import accumulate
from math import isclose
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.engine import Engine
from sim.instructions import Activity, Block, Compute, Record, Transfer, Wait
from sim.plan.checks import SEVERAL_CHUNKS, TWO_CHUNKS
from sim.program import COMPUTE, Program, Step, Stream, different_blocks
from sim.schedules import SCHEDULES, Action, Kind, Schedule
from sim.schedules.closed_forms import CLOSED_FORMS, PassTimes, Symbols, symbols_of, unmet, value_of, with_numbers
from sim.timeline import Timeline, breakdown
from topologies.document import InputError
from topologies.hardware import Cluster, Network
from topologies.quantity import MILLISECOND

MOST_PASSES: Final = 12_000
"""Of a schedule: a third of a second to play."""
ROUNDING: Final = 1e-9
"""As a share of the step: by how much sums of floats may miss a closed form."""
NOWHERE: Final = Cluster(name="nowhere", pools=(), network=Network(wiring="rail-optimised"))
"""No wires and no GPUs: messages here only take their time."""
_Pass = tuple[Kind, int]
"""Kind and stage."""
_FLOW: Final[Mapping[Kind, str]] = {"F": "F", "B": "B", "I": "B"}
"""Which way the output of a pass goes; that of a weight gradient goes nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A schedule as it was played. Of the step's `seconds`, ranks spent on average the fraction `bubble` with nothing
    to do, and `exposed` waiting for a message on its way.

    `idle` is what the closed form counts, in seconds. `held` is per rank the most microbatches whose activations it
    keeps, counted in its own layers.
    """

    name: str
    schedule: Schedule
    timeline: Timeline
    seconds: float
    bubble: float
    exposed: float
    idle: float
    held: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The closed form of a schedule for the numbers with which it was played: seconds, and microbatches.

    `bubble` is written with the numbers put in, times in milliseconds. `why` says in words why what was
    played idles otherwise; it is empty where both agree.
    """

    bubble: str
    idle: float
    most_held: float
    source: str
    why: str


def chunks_of(name: str, num_chunks: int) -> int:
    """How many chunks a rank has in a schedule, where those that may have several have `num_chunks`."""
    return num_chunks if name in SEVERAL_CHUNKS else 2 if name in TWO_CHUNKS else 1


def pipeline(name: str, num_ranks: int, num_chunks: int, num_microbatches: int) -> Schedule:
    """The schedule of a name, with `num_chunks` where it may have several.

    Raises InputError where it cannot be made of these numbers, or has more than MOST_PASSES passes.
    """
    chunks = chunks_of(name, num_chunks)
    num_passes = 3 * num_ranks * chunks * num_microbatches
    if num_passes > MOST_PASSES:
        raise InputError(
            f"{num_ranks} stages x {num_microbatches} microbatches x {chunks} chunks are up to {num_passes:,} passes, "
            f"too many to draw; at most {MOST_PASSES:,}: use fewer microbatches"
        )
    return SCHEDULES[name](num_ranks, chunks, num_microbatches)


def play(schedule: Schedule, times: PassTimes) -> Timeline:
    """Play a schedule whose ranks share the model evenly: of v chunks each takes 1/v of a rank's times.

    A forward and a backward that run as one take as long as one after the other.
    """
    return Engine(NOWHERE).play(_program(schedule, times))


def measured(name: str, schedule: Schedule, times: PassTimes) -> Played:
    """Play the schedule of that name, and read off what its closed form speaks of."""
    timeline = play(schedule, times)
    parts = breakdown(timeline)
    return Played(
        name=name,
        schedule=schedule,
        timeline=timeline,
        seconds=timeline.duration,
        bubble=parts["bubble"],
        exposed=parts["exposed_pp"],
        idle=_idle(timeline, in_step=CLOSED_FORMS[name].counted == "step"),
        held=held(schedule),
    )


def published(one: Played, times: PassTimes) -> Published:
    """The closed form beside what was played with these times."""
    form, symbols = CLOSED_FORMS[one.name], _symbols(one.schedule, times)
    shown = _symbols(one.schedule, _in_milliseconds(times))
    idle = value_of(form.bubble, symbols)
    agrees = isclose(idle, one.idle, rel_tol=ROUNDING, abs_tol=ROUNDING * one.seconds)
    return Published(
        bubble=with_numbers(form.bubble, shown),
        idle=idle,
        most_held=value_of(form.held, symbols),
        source=form.source,
        why="" if agrees else "; ".join(_reasons(unmet(form, symbols), times)),
    )


def _reasons(needs: Iterable[str], times: PassTimes) -> Iterator[str]:
    if times.message:
        yield "messages, of which the formula knows nothing, take time"
    yield from (f"the formula is for {need.replace('>=', '≥').replace('<=', '≤')}" for need in needs)


def _symbols(schedule: Schedule, times: PassTimes) -> Symbols:
    num_microbatches = 1 + max(action.microbatch for row in schedule.rows for action in row)
    return symbols_of(schedule.num_ranks, schedule.model_stages // schedule.num_ranks, num_microbatches, times)


def _in_milliseconds(times: PassTimes) -> PassTimes:
    return PassTimes(**{name: seconds / MILLISECOND for name, seconds in asdict(times).items()})


def held(schedule: Schedule) -> tuple[float, ...]:
    """Per rank, the most microbatches whose activations it keeps, from forward to weight gradient, of its own layers.

    Where a rank has several chunks, a microbatch in one of them is that fraction; of two models' stages each is whole.
    """
    chunks = schedule.model_stages / schedule.num_ranks
    return tuple(max(accumulate(map(_kept, row))) / chunks for row in schedule.rows)


def _kept(action: Action) -> int:
    return {"F": 1, "I": 0}.get(action.kind, -1)


def _idle(timeline: Timeline, *, in_step: bool) -> float:
    """The most that a rank does nothing, from its first pass to its last, or in the whole step."""
    rest = []
    for index, track in enumerate(timeline.tracks):
        if track.stream == COMPUTE:
            passes = (timeline.track == index) & is_pass(timeline)
            start, end = timeline.start[passes], timeline.end[passes]
            whole = timeline.duration if in_step else float(end.max() - start.min())
            rest.append(whole - float((end - start).sum()))
    return max(rest)


def is_pass(timeline: Timeline) -> NDArray[np.bool_]:
    """Which spans are passes, and neither stalls nor messages."""
    return np.array([label.category == "compute" for label in timeline.labels])[timeline.label]


def _program(schedule: Schedule, times: PassTimes) -> Program:
    streams = tuple(stream for rank in range(schedule.num_ranks) for stream in _streams(rank, schedule, times))
    message = Activity(latency=times.message, loads=())
    sent = [(entry, rank) for rank, block in different_blocks(streams) for entry in block]
    return Program(
        streams=streams,
        groups={},
        activities={(entry, rank): message for entry, rank in sent if isinstance(entry, Transfer)},
        ranks_folded=dict.fromkeys(range(schedule.num_ranks), 1),
    )


def _streams(rank: int, schedule: Schedule, times: PassTimes) -> Iterator[Stream]:
    """The rank's passes, and its messages each way; all microbatches share the blocks of a stage's pass."""
    row = schedule.rows[rank]
    passes = dict.fromkeys((action.kind, action.stage) for action in row)
    yield Stream(rank=rank, name=COMPUTE, steps=_computing(rank, schedule, times, passes))
    for flow in "FB":
        sends = {key: _sent(schedule, *key) for key in passes if _FLOW.get(key[0]) == flow}
        steps: list[Step] = [(action, sends[action[:2]]) for action in row if sends.get(action[:2])]
        if steps:
            yield Stream(rank=rank, name=f"send {flow}", steps=steps)


def _computing(rank: int, schedule: Schedule, times: PassTimes, passes: Iterable[_Pass]) -> list[Step]:
    """One pass after the other; or two as one, which begin when both can and hand over when both are done."""
    before = {key: _awaited(schedule, *key) for key in passes}
    during = {key: (_computed(schedule, times, *key),) for key in passes}
    after = {key: _handed_over(schedule, *key) for key in passes}
    whole = {key: (*before[key], *during[key], *after[key]) for key in passes}
    begun = {key: (*before[key], *during[key]) for key in passes}
    ended = {key: (*during[key], *after[key]) for key in passes}
    steps: list[Step] = []
    for both in schedule.passes(rank):
        one, other = both[0], both[-1]
        if one is other:
            steps.append((one, whole[one[:2]]))
        else:
            steps += [(other, before[other[:2]]), (one, begun[one[:2]])]
            steps += [(other, ended[other[:2]]), (one, after[one[:2]])]
    return steps


def _computed(schedule: Schedule, times: PassTimes, kind: Kind, stage: int) -> Compute:
    seconds = {"F": times.forward, "B": times.backward, "I": times.input_gradient, "W": times.weight_gradient}
    chunks = schedule.model_stages / schedule.num_ranks
    return Compute(name=f"{kind} of stage {stage}", duration=seconds[kind] / chunks)


def _awaited(schedule: Schedule, kind: Kind, stage: int) -> Block:
    """The message that a pass waits for; what comes from a stage of its own rank is there by the order of passes."""
    flow = _FLOW.get(kind)
    source = schedule.before(stage) if flow == "F" else schedule.after(stage)
    return (Wait(f"input {flow}{stage}"),) if flow and _is_sent(schedule, source, stage) else ()


def _handed_over(schedule: Schedule, kind: Kind, stage: int) -> Block:
    flow = _FLOW.get(kind)
    return (
        (Record(f"output {flow}{stage}"),) if flow and _is_sent(schedule, _target(schedule, flow, stage), stage) else ()
    )


def _sent(schedule: Schedule, kind: Kind, stage: int) -> Block:
    """What another stream does with the output of a pass; nothing where it stays on the rank."""
    flow = _FLOW[kind]
    target = _target(schedule, flow, stage)
    if target is None or not _is_sent(schedule, target, stage):
        return ()
    peer = schedule.homes[target]
    send = Transfer(name=f"send {flow}", axis="pp", peer=peer, flag=f"input {flow}{target}", nbytes=0.0)
    return (Wait(f"output {flow}{stage}"), send)


def _target(schedule: Schedule, flow: str, stage: int) -> int | None:
    return schedule.after(stage) if flow == "F" else schedule.before(stage)


def _is_sent(schedule: Schedule, other: int | None, stage: int) -> bool:
    return other is not None and schedule.homes[other] != schedule.homes[stage]
