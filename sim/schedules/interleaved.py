"""Interleaved 1F1B: each rank holds v chunks of the model, so the pipeline fills v times as fast.

The bubble shrinks to (p-1)(F+B)/v, with v times the messages, and with the activations of (p-1)/(pv) more layers on the
first rank. Microbatches go in groups of p: a group passes one chunk, then the next, before the next group starts.
"""

from sim.schedules.action import Action, Schedule, actions, in_rounds, weave
from topologies.document import InputError


def interleaved(num_ranks: int, num_chunks: int, num_microbatches: int) -> Schedule:
    """Megatron's interleaved 1F1B [Narayanan et al. 2021; Megatron-LM, forward_backward_pipelining_with_interleaving].

    Raises InputError where num_ranks does not divide num_microbatches.
    """
    if num_microbatches % num_ranks:
        below = num_microbatches // num_ranks * num_ranks
        usable = ", ".join(str(count) for count in (below, below + num_ranks, below + 2 * num_ranks) if count)
        raise InputError(
            f"schedule interleaved: pp={num_ranks} does not divide the {num_microbatches} microbatches; "
            f"change the global batch to make them {usable}, ..., or use 1f1b"
        )
    rows = tuple(_rank_order(rank, num_ranks, num_chunks, num_microbatches) for rank in range(num_ranks))
    return Schedule(rows, in_rounds(num_ranks, num_chunks))


def _rank_order(rank: int, num_ranks: int, num_chunks: int, num_microbatches: int) -> tuple[Action, ...]:
    stages = range(rank, num_ranks * num_chunks, num_ranks)
    groups = [range(first, first + num_ranks) for first in range(0, num_microbatches, num_ranks)]
    forwards = actions("F", ((stage, m) for group in groups for stage in stages for m in group))
    backwards = actions("B", ((stage, m) for group in groups for stage in reversed(stages) for m in group))
    return weave(forwards, backwards, _warmup(rank, num_ranks, num_chunks, num_microbatches))


def _warmup(rank: int, num_ranks: int, num_chunks: int, num_microbatches: int) -> int:
    """How many forwards come before the first backward; with a single group of microbatches, all (as Megatron does)."""
    total = num_chunks * num_microbatches
    if num_microbatches == num_ranks:
        return total
    return min((num_ranks - 1 - rank) * 2 + (num_chunks - 1) * num_ranks, total)
