"""Requests that decode together, pass after pass, and what each of their passes costs."""

from collections.abc import Sequence as Several
from dataclasses import dataclass, field
from itertools import starmap

from sim.serving.attribution import Split
from sim.serving.core import Company, Core
from sim.serving.passes import Shape, Stage, Steady
from sim.serving.sequence import Sequence

Seconds = list[list[float]]
"""Stages x passes."""


@dataclass(slots=True, eq=False)
class Cohort:
    """The `members` by rank; what their passes cost: `steady` by rank, and of that the seconds that each rank's stages
    are `busy`; `seconds` of the slowest rank and the longest messages that it `sends`, by stage; `host` seconds of
    each."""

    company: Company
    members: list[list[Sequence]]
    steady: list[Steady]
    busy: list[Seconds]
    seconds: Seconds
    sends: list[float]
    host: float


@dataclass(slots=True, eq=False)
class Stretch:
    """Passes in turn: pass i is cohort i mod their number's. When each is `scheduled` and `ended`, and when it `leaves`
    each stage but the last. `under_way`: ends of the passes before, oldest first; with the first `num_leaving`
    of them somebody may leave. `left` with each that is out: by rank, how many requests and blocks."""

    cohorts: list[Cohort]
    scheduled: list[float]
    ended: list[float]
    leaves: Seconds
    under_way: list[float]
    num_leaving: int = 0
    left: list[list[tuple[int, int]]] = field(default_factory=list)

    @property
    def over(self) -> float:
        """When the oldest pass is out that is under way after the last has been scheduled."""
        last = len(self.ended) - 1
        oldest = self.under_way[last] if last < len(self.under_way) else self.ended[last - len(self.under_way)]
        return max(self.launched(last), oldest)

    def launched(self, index: int) -> float:
        """When the host's part of a pass is done."""
        return self.scheduled[index] + self.cohorts[index % len(self.cohorts)].host


def cohort(core: Core, company: Company, members: list[list[Sequence]], num_passes: int) -> Cohort:
    """What so many passes of these requests cost; a rank without any runs a dummy token."""
    if len(members) == 1 and not core.rules.padding(core.ranks[0].queues):
        return _alone(core, company, members, num_passes)
    host = max([core.costs.host(len(sequences)) for sequences in members])
    steady = _in_step(core, members, num_passes)
    busy = [_busy(each) for each in steady]
    seconds = [list(map(max, *stage)) if len(stage) > 1 else stage[0] for stage in zip(*busy, strict=True)]
    sends = [max([stage.send for stage in column]) for column in zip(*[each.stages for each in steady], strict=True)]
    return Cohort(company, members, steady, busy, seconds, sends, host)


def _alone(core: Core, company: Company, members: list[list[Sequence]], num_passes: int) -> Cohort:
    """On one rank, whose passes are those of its requests and of nobody else."""
    computed = [sequence.computed for sequence in members[0]]
    number = len(computed)
    steady = core.costs.decodes(number, sum(computed) + number, num_passes, max(computed) + 1)
    busy = _busy(steady)
    return Cohort(
        company, members, [steady], [busy], busy, [stage.send for stage in steady.stages], core.costs.host(number)
    )


def without_attention(stage: Split) -> float:
    """What else a stage is busy with."""
    compute, _, prefill, tp, cp, ep, straggler, _ = stage
    return compute + prefill + tp + cp + ep + straggler


def _busy(steady: Steady) -> Seconds:
    found = []
    for stage, attention in zip(steady.stages, steady.attention, strict=True):
        rest = without_attention(stage)
        found.append([rest + seconds for seconds in attention])
    return found


def _in_step(core: Core, members: list[list[Sequence]], num_passes: int) -> list[Steady]:
    """By rank; the keys that a rank's decodes meet grow from pass to pass, all of them and the most that one meets."""
    rows = [len(each) + core.rules.padding(rank.queues) for each, rank in zip(members, core.ranks, strict=True)]
    computed = [[each.computed for each in sequences] for sequences in members]
    keys = [sum(each) + len(each) for each in computed]
    most = [max(each, default=0) + 1 for each in computed]
    growth = [len(each) for each in computed]
    passes = [
        core.costs.together([
            Shape(num, context + more * index, (), num, longest + index) if num else Shape(1, 1)
            for num, context, longest, more in zip(rows, keys, most, growth, strict=True)
        ])
        for index in range(num_passes)
    ]  # fmt: skip
    return list(starmap(_joined, zip(*passes, strict=True)))


def _joined(*passes: Several[Stage]) -> Steady:
    """A rank's passes, which were looked up one by one."""
    return Steady(passes[0], [[stage.attention for stage in column] for column in zip(*passes, strict=True)])
