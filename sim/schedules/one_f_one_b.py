"""1F1B: GPipe's bubble, but each backward runs as soon as it can, so that rank r holds at most p - r microbatches."""

from sim.schedules.action import Action, Schedule, actions, in_rounds, weave
from topologies.document import InputError


def one_f_one_b(num_ranks: int, num_chunks: int, num_microbatches: int) -> Schedule:
    """Warm up with forwards, alternate one forward with one backward, drain the backwards [Narayanan et al. 2021].

    Raises InputError where num_chunks is not 1.
    """
    if num_chunks != 1:
        raise InputError(f"schedule 1f1b holds one chunk per rank, not vpp={num_chunks}; use vpp=1, or interleaved")
    rows = tuple(_rank_order(rank, num_ranks, num_microbatches) for rank in range(num_ranks))
    return Schedule(rows, in_rounds(num_ranks, num_chunks))


def _rank_order(rank: int, num_ranks: int, num_microbatches: int) -> tuple[Action, ...]:
    slots = [(rank, microbatch) for microbatch in range(num_microbatches)]
    return weave(actions("F", slots), actions("B", slots), warmup=min(num_ranks - 1 - rank, num_microbatches))
