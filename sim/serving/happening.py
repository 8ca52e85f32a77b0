"""A stretch that has happened, to its end or until somebody came: passes are told, requests have their tokens."""

from array import array
from itertools import accumulate, compress
from operator import add, sub

from sim.serving.attribution import Split, parted
from sim.serving.cohort import Cohort, Stretch, without_attention
from sim.serving.core import Core, Flight
from sim.serving.launching import hand_out
from sim.serving.passes import Stage
from sim.serving.pipeline import total, waiting
from sim.serving.sequence import Sequence, Tally

ATTENTION = Stage._fields.index("attention")


def happened(core: Core, stretch: Stretch, count: int) -> None:
    """The first `count` passes have been scheduled; all but the newest are over, as many as were under way before
    stay so."""
    num_cohorts, num_before = len(stretch.cohorts), len(stretch.under_way)
    first_out = max(count - 1 - num_before, 0)
    before = [cohort.company.last[0].time for cohort in stretch.cohorts]
    for index in range(len(core.ranks)):
        _record(core, stretch, count, index)
    for _ in range(min(num_before, count - 1) - len(stretch.left)):
        hand_out(core)
    rounds = count // num_cohorts
    for rank in core.ranks if rounds else ():
        core.rules.advance(rank.queues, rank.pool, core.settings, rounds)
    for turn, cohort in enumerate(stretch.cohorts):
        ended = stretch.ended[turn:count:num_cohorts]
        num_passes, num_out = len(ended), len(range(turn, first_out, num_cohorts))
        if num_passes:
            _add_up(core, cohort, ended, num_out)
        _move(core, cohort, num_passes - rounds, num_out - rounds, num_passes - num_out)
    _put_under_way(core, stretch, first_out, count, before)
    core.launched = stretch.launched(count - 1)
    last = stretch.ended[count - 1]
    if core.pipeline.is_serial:
        core.pipeline.free = [last] * len(core.pipeline.free)
    else:
        core.pipeline.free = [leave[count - 1] for leave in stretch.leaves] + [last]


def _record(core: Core, stretch: Stretch, count: int, index: int) -> None:
    """The first `count` passes as rows of Steps, for one rank; one that runs a dummy has none."""
    rank, num_cohorts = core.ranks[index], len(stretch.cohorts)
    busy, taken, decodes = [0.0] * count, [0] * count, array("d", [0.0]) * count
    for turn, cohort in enumerate(stretch.cohorts):
        num_passes, members = len(range(turn, count, num_cohorts)), cohort.members[index]
        stages = [each[:num_passes] for each in cohort.busy[index]]
        busy[turn::num_cohorts] = stages[0] if len(stages) == 1 else list(map(sum, zip(*stages, strict=True)))
        decodes[turn::num_cohorts] = array("d", [len(members)]) * num_passes
        taken[turn::num_cohorts] = _new_blocks(members, num_passes, rank.pool.block_size)
    taken[0] += rank.pool.num_blocks - rank.pool.num_free
    running = array("d", [len(rank.queues.running)]) * count
    for turn, left in enumerate(stretch.left, 1):
        _restore(running, taken, turn, *left[index])
    rows = [
        array("d", [core.number + index]) * count,
        array("d", stretch.scheduled[:count]),
        array("d", stretch.ended[:count]),
        array("d", busy),
        decodes,
        array("d", [0.0]) * count,
        decodes,
        running,
        array("d", [len(rank.queues.waiting)]) * count,
        array("d", list(accumulate(taken))),
    ]
    if not all(decodes):
        rows = [array("d", compress(column, decodes)) for column in rows]
    core.columns.add_passes(rows)


def _restore(running: "array[float]", taken: list[int], turn: int, num_left: int, num_blocks: int) -> None:
    """Those who have left ran, and held their blocks, until the pass of that turn. taken: by how much more than in the
    pass before."""
    for index in range(min(turn, len(taken))):
        running[index] += num_left
    taken[0] += num_blocks
    if turn < len(taken):
        taken[turn] -= num_blocks


def _new_blocks(members: list[Sequence], num_passes: int, block_size: int) -> list[int]:
    """How many of them begin a block, by pass: when those they hold are full, and then again and again."""
    begun = [0] * num_passes
    for sequence in members:
        index = sequence.blocks * block_size - sequence.computed
        while index < num_passes:
            begun[index] += 1
            index += block_size
    return begun


def _add_up(core: Core, cohort: Cohort, ended: list[float], num_out: int) -> None:
    """The cohort's sums after its passes, which ended then; the gaps between those that are out."""
    company, num_passes = cohort.company, len(ended)
    gap_seconds, gap_counts = core.columns.gaps
    gap_seconds.fromlist(list(map(sub, ended[:num_out], [company.last[0].time, *ended])))
    gap_counts.extend(array("q", [sum(map(len, cohort.members))]) * num_out)
    longest = sum([sum(each[:num_passes]) for each in cohort.seconds]) if len(core.ranks) > 1 else 0.0
    for index, steady in enumerate(cohort.steady):
        busy = core.pipeline.busy[index]
        splits = [
            _many(stage, sum(attention[:num_passes]), num_passes)
            for stage, attention in zip(steady.stages, steady.attention, strict=True)
        ]
        for at, split in enumerate(splits):
            busy[at] += without_attention(split) + split[ATTENTION]
        whole = total(splits) if len(core.ranks) == 1 else waiting(total(splits), longest)
        last = company.last[index]
        parts = parted(ended[-1] - last.time, whole, cohort.host * num_passes, core.rest)
        company.last[index] = Tally(ended[-1], tuple(map(add, last.sums, parts)))


def _many(stage: Split, attention: float, num_passes: int) -> Split:
    """A stage's seconds in so many passes, attention's in all of them given."""
    compute, _, prefill, tp, cp, ep, straggler, send = stage
    return (
        compute * num_passes, attention, prefill * num_passes, tp * num_passes, cp * num_passes, ep * num_passes,
        straggler * num_passes, send * num_passes,
    )  # fmt: skip


def _move(core: Core, cohort: Cohort, computed: int, generated: int, awaited: int) -> None:
    """The requests' tokens, beside the rounds in which all moved on."""
    for rank, members, tally in zip(core.ranks, cohort.members, cohort.company.last, strict=True):
        for sequence in members:
            sequence.beat = tally
            sequence.generated += generated
            sequence.awaited += awaited
            if computed:
                sequence.computed += computed
                rank.pool.grow(sequence, sequence.computed)
                if sequence.contents:
                    rank.pool.name(sequence)


def _put_under_way(core: Core, stretch: Stretch, first: int, count: int, before: list[float]) -> None:
    """The passes from the first on are launched, but not out. before: when each cohort's pass before all these was."""
    num_cohorts = len(stretch.cohorts)
    for index in range(first, count):
        cohort = stretch.cohorts[index % num_cohorts]
        told = stretch.ended[index - num_cohorts] if index >= num_cohorts else before[index]
        company = cohort.company
        company.num_under_way += 1
        prompts: list[list[Sequence]] = [[] for _ in core.ranks]
        core.flights.append(Flight(stretch.ended[index], company, told, cohort.members, prompts, company.last.copy()))
