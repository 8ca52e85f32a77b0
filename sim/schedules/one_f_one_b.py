"""1F1B: GPipe's bubble, but each backward runs as soon as it can, so that rank r holds at most p - r microbatches."""

from sim.schedules.action import Action, Schedule, actions, check_chunks, in_rounds, weave
from topologies.document import InputError


def one_f_one_b(num_ranks: int, num_chunks: int, num_microbatches: int, *, is_paired: bool = False) -> Schedule:
    """Warm up with forwards, alternate one forward with one backward, drain the backwards [Narayanan et al. 2021].

    is_paired: one more forward to warm up, so that each forward and the backward after it are of different microbatches
    and run as one [Megatron-Core, combined_1f1b]; on one rank only, as there, since of several ranks each would have to
    wait for its neighbours' pairs in turn. Raises InputError for more, and where num_chunks is not 1.
    """
    check_chunks("1f1b", 1, num_chunks)
    if is_paired and num_ranks > 1:
        raise InputError(
            f"framework.overlap_ep with pp={num_ranks} needs schedule=interleaved and vpp=2 or more, not 1f1b"
        )
    rows = tuple(_rank_order(rank, num_ranks, num_microbatches, is_paired) for rank in range(num_ranks))
    return Schedule(rows, in_rounds(num_ranks, num_chunks), is_paired=is_paired)


def _rank_order(rank: int, num_ranks: int, num_microbatches: int, is_paired: bool) -> tuple[Action, ...]:
    slots = [(rank, microbatch) for microbatch in range(num_microbatches)]
    return weave(actions("F", slots), actions("B", slots), num_ranks - 1 - rank, is_paired)
