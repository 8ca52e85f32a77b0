"""One pass of a replica: chosen, timed, accounted for when it is launched; its tokens handed out when it is over."""

from collections.abc import Iterable
from collections.abc import Sequence as Several
from operator import add

from sim.deployment import Speculation
from sim.serving.attribution import INTERFERENCE, QUEUE, Split, charge, join, own_share, parted, settle
from sim.serving.core import Company, Core, Flight, Rank
from sim.serving.passes import Shape, Stage
from sim.serving.pipeline import STRAGGLER, splits, total
from sim.serving.record import CAUSES
from sim.serving.scheduling import Decision, leave
from sim.serving.sequence import Sequence, Tally
from sim.serving.speculation import accepted, with_drafts

Stages = Several[Stage]
Stray = tuple[Sequence, Tally | None]


def schedule(core: Core, now: float) -> bool:
    """Choose and launch the next pass; False: there is nobody for one."""
    decisions = [_decide(core, rank, now) for rank in core.ranks]
    for decision in decisions:
        if decision.decodes or decision.chunks:
            _launch(core, decisions, now)
            return True
    preempted = any(each.preempted for each in decisions)
    return preempted and not core.flights and schedule(core, now)


def hand_out(core: Core) -> list[Sequence]:
    """The oldest pass is out. Who has all tokens now."""
    flight = core.flights.popleft()
    flight.company.num_under_way -= 1
    num_regular, answered = -_late_gaps(core, flight) if flight.late else 0, []
    for rank, tally, decodes, prompts in zip(core.ranks, flight.tallies, flight.decodes, flight.prompts, strict=True):
        num_regular += len(decodes)
        ended = []
        if core.settings.speculation is not None:
            num_regular -= _keep_right_ones(core.settings.speculation, decodes, flight.cuts)
        for sequence in decodes:
            sequence.awaited -= 1
            sequence.generated = generated = sequence.generated + 1
            if generated == sequence.output:
                ended.append(sequence)
        for sequence in prompts:
            sequence.awaited -= 1
            sequence.generated += 1
            if sequence.generated >= sequence.output:
                ended.append(sequence)
        for sequence in ended:
            complete = _finish(core, rank, sequence, tally)
            if not complete:
                sequence.told = flight.before
                num_regular -= sequence.output > 1
            answered += complete
    if num_regular:
        core.columns.add_gap(flight.end - flight.before, num_regular)
    return answered


def _late_gaps(core: Core, flight: Flight) -> int:
    """Those who were not in the company's pass before; how many of them still wanted a token."""
    number = 0
    for sequence, (since, _) in flight.late.items():
        if sequence.generated < sequence.output:
            core.columns.add_gap(flight.end - since, 1)
            number += 1
    return number


def _keep_right_ones(speculation: Speculation, decodes: list[Sequence], cuts: dict[Sequence, int]) -> int:
    """Proposed tokens that are right are known too, and computed unless the sequence has lost its blocks. How many
    sequences had all their tokens before this pass."""
    done = 0
    for sequence in decodes:
        if sequence.generated >= sequence.output:
            done += 1
        else:
            more = accepted(speculation, sequence.row, sequence.generated)
            more = min(more, cuts.get(sequence, more), sequence.output - sequence.generated - 1)
            sequence.generated += more
            if sequence.blocks:
                sequence.computed += more
    return done


def _finish(core: Core, rank: Rank, sequence: Sequence, tally: Tally) -> list[Sequence]:
    """The sequence has its last token: who is answered with it. A pass ahead may have been in vain, where proposed
    tokens were right."""
    if sequence.awaited:
        _take_back(core, sequence)
    if sequence.beat is not None:
        sequence.beat = tally
    settle(sequence)
    if core.hands_on:
        leave(rank.queues, sequence)
        rank.held += 1
        complete = [sequence]
    else:
        complete = core.rules.finish(rank.queues, rank.pool, sequence)
    for each in complete:
        if each is not sequence:
            _let_go(core, each, tally.time)
        core.columns.last(each, tally.time)
    return complete


def _take_back(core: Core, sequence: Sequence) -> None:
    """A pass ahead for which the sequence was charged alone is in vain."""
    for later in core.flights:
        if sequence in later.late:
            sequence.since, sequence.causes = later.late[sequence]
            sequence.mark = sequence.beat = None
            return


def _let_go(core: Core, sequence: Sequence, now: float) -> None:
    """The last token of one that had to wait for others' answers."""
    waited = [0.0] * len(CAUSES)
    waited[INTERFERENCE] = now - sequence.since
    charge(sequence, waited, now)
    if sequence.output > 1:
        core.columns.add_gap(now - sequence.told, 1)
    else:
        core.columns.first(sequence, now)


def _decide(core: Core, rank: Rank, now: float) -> Decision:
    """Who was preempted is settled when it is admitted again: a pass under way may give it its last token."""
    decision = core.rules.schedule(rank.queues, rank.pool, core.settings)
    for sequence in decision.admitted:
        if sequence.beat is not None:
            sequence.told = sequence.beat.time
            settle(sequence)
        if not sequence.num_preemptions:
            core.columns.scheduled[sequence.row] = now
        sequence.causes[QUEUE] += max(now - sequence.since, 0.0)
        sequence.since = max(now, sequence.since)
    return decision


def _launch(core: Core, decisions: list[Decision], now: float) -> None:
    company = _company(core, decisions)
    tallies = [Tally(0.0, ()) for _ in decisions]
    prompts = [[sequence for sequence, _ in each.chunks if sequence.awaited] for each in decisions]
    flight = Flight(0.0, company, company.last[0].time, [each.decodes for each in decisions], prompts, tallies)
    company.num_under_way += 1
    core.flights.append(flight)
    contexts, strays = zip(*[_gathered(flight, index) for index in range(len(decisions))], strict=True)
    speculation = core.settings.speculation
    shapes = [_shape(*each) for each in zip(decisions, contexts, prompts, strict=True)]
    stages = [core.costs.stages(shapes[0])] if len(shapes) == 1 else core.costs.together(shapes)
    if speculation is not None:
        flight.cuts = dict([each.cut for each in decisions if each.cut is not None])
        stages = [with_drafts(each, speculation) for each in stages]
    host = max([core.costs.host(len(each.decodes) + len(each.chunks)) for each in decisions])
    core.launched = now + host
    flight.end = core.pipeline.run(stages, core.launched)
    for index, split in enumerate(splits(stages)):
        _tally(core, flight, index, split, host)
        if strays[index]:
            _charge_strays(core, flight, index, strays[index], split, host)
        if decisions[index].chunks:
            _charge_chunks(core, flight, index, decisions[index], (shapes[index], stages[index]), split, host)
        _record(core, index, decisions[index], shapes[index], stages[index], now)


def _company(core: Core, decisions: list[Decision]) -> Company:
    """That of those who decode; else one that has no pass under way."""
    for index, decision in enumerate(decisions):
        if decision.decodes:
            beat = decision.decodes[0].beat
            for company in core.companies:
                if company.last[index] is beat:
                    return company
    return min(core.companies, key=_num_under_way)


def _num_under_way(company: Company) -> int:
    return company.num_under_way


def _gathered(flight: Flight, index: int) -> tuple[tuple[int, int], list[Stray]]:
    """The keys that a rank's decodes meet, all and the most of one, and who was not in the company's pass before; all
    are in this one now."""
    before, tally = flight.company.last[index], flight.tallies[index]
    context, longest, strays = 0, 0, []
    for sequence in flight.decodes[index]:
        computed = sequence.computed
        context += computed
        if computed > longest:
            longest = computed
        if sequence.beat is not before:
            strays.append((sequence, sequence.beat))
        sequence.beat = tally
    return (context, longest), strays


def _shape(decision: Decision, contexts: tuple[int, int], prompts: list[Sequence]) -> Shape:
    """A rank with nothing to do computes a dummy token beside the others. With padding, prompts are as long as the
    longest, or some rows of a decode nobody's."""
    if not decision.decodes and not decision.chunks:
        return Shape(1, 1)
    chunks = tuple([(new, sequence.computed - new) for sequence, new in decision.chunks])
    decodes = len(decision.decodes)
    if decision.padding and chunks:
        longest = max(chunks)[0]
        chunks = tuple([(longest, cached) for _, cached in chunks])
    elif decision.padding:
        decodes += decision.padding
    return Shape(decodes, contexts[0], chunks, decodes + len(prompts), contexts[1])


def _tally(core: Core, flight: Flight, index: int, split: Split, host: float) -> None:
    tally, last = flight.tallies[index], flight.company.last[index]
    parts = parted(flight.end - last.time, split, host, core.rest)
    tally.time = flight.end
    tally.sums = tuple(map(add, last.sums, parts))
    flight.company.last[index] = tally


def _charge_strays(core: Core, flight: Flight, index: int, strays: list[Stray], split: Split, host: float) -> None:
    """Those who decode, but not with this company so far. A prompt's last token looks like a decode, too."""
    for sequence, beat in strays:
        if beat is None:
            flight.decodes[index].remove(sequence)
            flight.prompts[index].append(sequence)
        else:
            sequence.beat = beat
            settle(sequence)
            flight.late[sequence] = sequence.since, sequence.causes
        charge(sequence, parted(flight.end - sequence.since, split, host, core.rest), flight.end)
        if beat is None:
            _resume(core, flight, sequence)
        join(sequence, flight.tallies[index])


def _charge_chunks(
    core: Core, flight: Flight, index: int, decision: Decision, cost: tuple[Shape, Stages], split: Split, host: float
) -> None:  # fmt: skip
    """Those whose prompts are computed, in a pass of that shape and those stages."""
    shape, stages = cost
    whole = split if len(core.ranks) == 1 else total(stages)
    alone = total(_without_decodes(core, shape)) if shape.num_decodes else whole
    num_tokens, waited = sum([new for _, new in decision.chunks]), split[STRAGGLER] - whole[STRAGGLER]
    for sequence, new in decision.chunks:
        own = own_share(split, alone, new / num_tokens, waited)
        charge(sequence, parted(flight.end - sequence.since, own, host, core.rest), flight.end)
        if sequence.awaited:
            _resume(core, flight, sequence)
            join(sequence, flight.tallies[index])


def _without_decodes(core: Core, shape: Shape) -> Stages:
    """What the prompts' tokens of a pass take by themselves."""
    stages = core.costs.stages(Shape(0, 0, shape.prefills, shape.num_sampled - shape.num_decodes))
    speculation = core.settings.speculation
    return stages if speculation is None else with_drafts(stages, speculation)


def _resume(core: Core, flight: Flight, sequence: Sequence) -> None:
    """The token that a prompt's last chunk gives. One that was preempted has all computed again: its next token comes
    long after the one before."""
    if sequence.generated:
        core.columns.add_gap(flight.end - sequence.told, 1)
    else:
        core.columns.first(sequence, flight.end)


def _record(
    core: Core, index: int, decision: Decision, shape: Shape, stages: Iterable[Stage], now: float
) -> None:  # fmt: skip
    """A row of Steps; a dummy is none, and padding does not count."""
    if not shape.num_sampled and not shape.prefills:
        return
    rank, flight, decodes = core.ranks[index], core.flights[-1], shape.num_decodes
    prefill = sum([new for _, new in decision.chunks])
    if not prefill:
        decodes -= decision.padding
    busy = sum([sum(stage) - stage.send for stage in stages])
    core.columns.add_pass((
        core.number + index, now, flight.end, busy, prefill + decodes, prefill, decodes,
        len(rank.queues.running), len(rank.queues.waiting), rank.pool.num_blocks - rank.pool.num_free,
    ))  # fmt: skip
