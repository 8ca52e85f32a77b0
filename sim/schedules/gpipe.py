"""GPipe: every forward, then every backward; (p-1)(F+B) of bubble, and the activations of all microbatches at once.

Looped, the same with several chunks per rank: all microbatches pass one chunk before any passes the next (breadth
first), so the bubble is (p-1)(F+B)/v, and each chunk's weights are gathered and its gradients reduced once a step.
"""

from sim.schedules.action import Action, Schedule, actions, check_chunks, in_rounds


def gpipe(num_ranks: int, num_chunks: int, num_microbatches: int) -> Schedule:
    """All forwards, then all backwards, both in the order of the microbatches [Huang et al. 2019].

    Raises InputError where num_chunks is not 1.
    """
    check_chunks("gpipe", 1, num_chunks)
    return looped(num_ranks, 1, num_microbatches)


def looped(num_ranks: int, num_chunks: int, num_microbatches: int) -> Schedule:
    """Breadth-first: all microbatches through a chunk, then through the next; and back [Lamy-Poirier 2022, section 4].

    With fewer microbatches than ranks, they wait for each other at every turn, and the bubble grows.
    """
    rows = tuple(_rank_order(rank, num_ranks, num_chunks, num_microbatches) for rank in range(num_ranks))
    return Schedule(rows, in_rounds(num_ranks, num_chunks))


def _rank_order(rank: int, num_ranks: int, num_chunks: int, num_microbatches: int) -> tuple[Action, ...]:
    stages, microbatches = range(rank, num_ranks * num_chunks, num_ranks), range(num_microbatches)
    forwards = actions("F", ((stage, m) for stage in stages for m in microbatches))
    return (*forwards, *actions("B", ((stage, m) for stage in reversed(stages) for m in microbatches)))
