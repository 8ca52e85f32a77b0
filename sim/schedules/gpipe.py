"""GPipe: every forward, then every backward; (p-1)(F+B) of bubble, and the activations of all microbatches at once."""

from sim.schedules.action import Action, Schedule, actions, in_rounds
from topologies.document import InputError


def gpipe(num_ranks: int, num_chunks: int, num_microbatches: int) -> Schedule:
    """All forwards, then all backwards, both in the order of the microbatches [Huang et al. 2019].

    Raises InputError where num_chunks is not 1.
    """
    if num_chunks != 1:
        raise InputError(f"schedule gpipe holds one chunk per rank, not vpp={num_chunks}; use vpp=1, or interleaved")
    rows = tuple(_rank_order(rank, num_microbatches) for rank in range(num_ranks))
    return Schedule(rows, in_rounds(num_ranks, num_chunks))


def _rank_order(rank: int, num_microbatches: int) -> tuple[Action, ...]:
    slots = [(rank, microbatch) for microbatch in range(num_microbatches)]
    return (*actions("F", slots), *actions("B", slots))
