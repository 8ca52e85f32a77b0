"""Passes that are known in advance: who runs decodes one token after another, nobody comes, starts or finishes.

All of them are timed at once. As soon as somebody comes, those that have been scheduled until then have happened, and
the rest has not. With a pipeline its batches take turns, each a cohort that stays together.
"""

from sim.serving.cohort import Stretch, cohort
from sim.serving.core import Company, Core, Flight, Rank
from sim.serving.sequence import Queues, Sequence
from sim.serving.timetable import plan


def foreseen(core: Core, now: float, most: int) -> Stretch | None:
    """The passes from now on that are nothing but decodes of those who run, at most so many for each; None: not two."""
    if any(_is_open(rank.queues) for rank in core.ranks):
        return None
    num_passes = min([_num_passes(core, rank) for rank in core.ranks if _works(rank)], default=0)
    if num_passes < 2:
        return None
    companies = _companies(core)
    if not companies:
        return None
    cohorts = [cohort(core, company, members, min(num_passes, most)) for company, members in companies]
    return plan(cohorts, now, [flight.end for flight in core.flights], core.pipeline)


def _num_passes(core: Core, rank: Rank) -> int:
    """How often all who run decode before anything changes. The last time somebody may finish: that pass is still under
    way when the stretch ends."""
    quiet = core.rules.quiet(rank.queues, rank.pool, core.settings)
    if quiet == 0:
        return 0
    running = rank.queues.running
    least = min([sequence.output - sequence.generated - sequence.awaited for sequence in running])
    has_room = len(running) * (quiet // rank.pool.block_size + 2) <= rank.pool.num_free
    return least if least == quiet + 1 and has_room else quiet


def _works(rank: Rank) -> bool:
    return bool(rank.queues.running or rank.queues.waiting)


def _companies(core: Core) -> list[tuple[Company, list[list[Sequence]]]]:
    """Who decodes together from now on, the next first, by rank; none where they are not sure to stay together."""
    queues = [rank.queues for rank in core.ranks]
    if core.decodes_ahead:
        found = [(core.companies[0], [each.running.copy() for each in queues])]
        is_full = len(core.flights) == core.settings.depth - 1
    else:
        ready = [[sequence for sequence in each.running if not sequence.awaited] for each in queues]
        found = [(company, ready) for company in core.companies if not company.num_under_way and _are(company, ready)][
            :1
        ]
        found += [(flight.company, _sampled(flight)) for flight in core.flights]
        is_full = len(found) == len(core.flights) + 1 and not core.settings.asynchronous
    return found if is_full and all(_are(*each) for each in found) else []


def _is_open(queues: Queues) -> bool:
    """Whether the next pass is certain to be more than decodes: a prompt is not computed yet, or may be soon."""
    if queues.waiting and queues.waiting[0].awaited:
        return True
    newest = queues.running[-1] if queues.running else None
    return newest is not None and newest.computed + 1 < newest.known + newest.awaited


def _sampled(flight: Flight) -> list[list[Sequence]]:
    return [decodes + prompts for decodes, prompts in zip(flight.decodes, flight.prompts, strict=True)]


def _are(company: Company, members: list[list[Sequence]]) -> bool:
    """Whether all of these, and somebody, were in the company's last pass."""
    for last, sequences in zip(company.last, members, strict=True):
        for sequence in sequences:
            if sequence.beat is not last:
                return False
    return any(members)
