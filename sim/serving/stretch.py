"""Passes that are known in advance: who runs decodes one token after another, nobody comes, starts or finishes.

All of them are timed at once. As soon as somebody comes, those that have been scheduled until then have happened, and
the rest has not. Whoever's last token is under way at the start leaves in the middle. With a pipeline its batches take
turns, each a cohort that stays together.
"""

from itertools import compress

from sim.serving.cohort import Stretch, cohort
from sim.serving.core import Company, Core, Flight, Rank
from sim.serving.scheduling.decision import FAR
from sim.serving.sequence import Queues, Sequence
from sim.serving.timetable import plan


def foreseen(core: Core, now: float, most: int) -> Stretch | None:
    """The passes from now on that are nothing but decodes of those who run, at most so many for each; None: not two."""
    num_passes, staying = most, []
    for rank in core.ranks:
        quiet = 0 if _is_open(rank.queues) else _quiet(core, rank)
        if not quiet:
            return None
        members, least = _staying(rank.queues.running)
        staying.append(members)
        num_passes = min(num_passes, _num_passes(rank, quiet, len(members), least))
    if num_passes < 2:
        return None
    companies = _companies(core, staying)
    if not companies:
        return None
    cohorts = [cohort(core, company, members, num_passes) for company, members in companies]
    stretch = plan(cohorts, now, [flight.end for flight in core.flights], core.pipeline)
    if [len(rank.queues.running) for rank in core.ranks] != [len(each) for each in staying]:
        stretch.num_leaving = len(core.flights)
    return stretch


def _staying(running: list[Sequence]) -> tuple[list[Sequence], int]:
    """Those whose last token is not under way, and the fewest tokens that one of them still wants."""
    wanted = [sequence.output - sequence.generated - sequence.awaited for sequence in running]
    if all(wanted):
        return running.copy(), min(wanted, default=0)
    return list(compress(running, wanted)), min(filter(None, wanted), default=0)


def _num_passes(rank: Rank, quiet: int, num_staying: int, least: int) -> int:
    """How often all who stay decode before anything changes. The last time somebody may finish: that pass is still
    under way when the stretch ends."""
    if rank.arriving and num_staying < len(rank.queues.running):
        return 0
    has_room = num_staying * (quiet // rank.pool.block_size + 2) <= rank.pool.num_free
    return least if least == quiet + 1 and has_room else quiet


def _quiet(core: Core, rank: Rank) -> int:
    """See Rules; a rank with nobody is quiet."""
    queues = rank.queues
    return core.rules.quiet(queues, rank.pool, core.settings) if queues.running or queues.waiting else FAR


def _companies(core: Core, staying: list[list[Sequence]]) -> list[tuple[Company, list[list[Sequence]]]]:
    """Who decodes together from now on, the next first, by rank; none where they are not sure to stay together."""
    if core.decodes_ahead:
        found = [(core.companies[0], staying)]
        is_full = len(core.flights) == core.settings.depth - 1
    else:
        ready = [[sequence for sequence in each if not sequence.awaited] for each in staying]
        found = [(company, ready) for company in core.companies if not company.num_under_way and _are(company, ready)][
            :1
        ]
        found += [(flight.company, [_staying(each)[0] for each in _sampled(flight)]) for flight in core.flights]
        is_full = len(found) == len(core.flights) + 1 and not core.settings.asynchronous
    return found if is_full and all(_are(*each) for each in found) else []


def _is_open(queues: Queues) -> bool:
    """Whether the next pass is certain to be more than decodes: a prompt is not computed yet, or may be soon."""
    if queues.waiting and queues.waiting[0].awaited:
        return True
    newest = queues.running[-1] if queues.running else None
    return newest is not None and newest.computed + 1 < newest.prompt + newest.generated + newest.awaited


def _sampled(flight: Flight) -> list[list[Sequence]]:
    return [decodes + prompts for decodes, prompts in zip(flight.decodes, flight.prompts, strict=True)]


def _are(company: Company, members: list[list[Sequence]]) -> bool:
    """Whether all of these, and somebody, were in the company's last pass."""
    for last, sequences in zip(company.last, members, strict=True):
        for sequence in sequences:
            if sequence.beat is not last:
                return False
    return any(members)
