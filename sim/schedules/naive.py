"""Naive model parallelism: one microbatch at a time through the whole model, so that one rank computes and all others
wait. The bubble is m(p-1)(F+B), and only one microbatch's activations are held; gradients accumulate over microbatches.
"""

from itertools import chain

from sim.schedules.action import Action, Schedule, actions, check_chunks, in_rounds


def naive(num_ranks: int, num_chunks: int, num_microbatches: int) -> Schedule:
    """Forward and backward of a microbatch before the next one starts [Huang et al. 2019, figure 2b].

    Raises InputError where num_chunks is not 1.
    """
    check_chunks("naive", 1, num_chunks)
    return Schedule(tuple(_rank_order(rank, num_microbatches) for rank in range(num_ranks)), in_rounds(num_ranks, 1))


def _rank_order(rank: int, num_microbatches: int) -> tuple[Action, ...]:
    slots = [(rank, microbatch) for microbatch in range(num_microbatches)]
    return tuple(chain.from_iterable(zip(actions("F", slots), actions("B", slots), strict=True)))
