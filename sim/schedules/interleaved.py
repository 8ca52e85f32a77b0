"""Interleaved 1F1B: each rank holds v chunks of the model, so the pipeline fills v times as fast.

The bubble shrinks to (p-1)(F+B)/v, with v times the messages, and with the activations of (p-1)/(pv) more layers on the
first rank. Microbatches go in groups of g: a group passes one chunk, then the next, before the next group starts. A
group larger than p holds more activations, and leaves messages more time.
"""

from sim.schedules.action import Action, Schedule, actions, in_rounds, weave
from topologies.document import InputError


def interleaved(
    num_ranks: int, num_chunks: int, num_microbatches: int, group: int | None = None, *, is_paired: bool = False
) -> Schedule:
    """Megatron's interleaved 1F1B [Narayanan et al. 2021; Megatron-Core, get_schedule_table, get_pp_rank_microbatches].

    group: microbatch_group_size_per_vp_stage; None: num_ranks. is_paired: one more forward to warm up, so that each
    forward and the backward after it are of different microbatches and run as one [overlap_moe_expert_parallel_comm].
    Raises InputError where a group, or what is left for the last, is smaller than num_ranks.
    """
    size = num_ranks if group is None else group
    _check(size, num_ranks, num_microbatches)
    rows = tuple(
        _rank_order(rank, num_ranks, num_chunks, num_microbatches, size, is_paired) for rank in range(num_ranks)
    )
    return Schedule(rows, in_rounds(num_ranks, num_chunks), is_paired=is_paired)


def _rank_order(
    rank: int, num_ranks: int, num_chunks: int, num_microbatches: int, size: int, is_paired: bool
) -> tuple[Action, ...]:
    stages = range(rank, num_ranks * num_chunks, num_ranks)
    groups = [range(first, min(first + size, num_microbatches)) for first in range(0, num_microbatches, size)]
    forwards = actions("F", ((stage, m) for group in groups for stage in stages for m in group))
    backwards = actions("B", ((stage, m) for group in groups for stage in reversed(stages) for m in group))
    return weave(forwards, backwards, 2 * (num_ranks - 1 - rank) + (num_chunks - 1) * size, is_paired)


def _check(size: int, num_ranks: int, num_microbatches: int) -> None:
    """A rank's results of one chunk come back for the next after num_ranks passes; a smaller group would wait for them.

    The rules are Megatron-Core's.
    """
    if num_microbatches < num_ranks:
        raise InputError(
            f"schedule interleaved: {num_microbatches} microbatches are fewer than pp={num_ranks}; "
            f"change the global batch to make them {_usable(size, num_microbatches)}, or use 1f1b"
        )
    if not num_ranks <= size <= num_microbatches:
        raise InputError(
            f"schedule interleaved: group={size} is not possible; "
            f"use {num_ranks} (pp) to {num_microbatches} (the microbatches)"
        )
    rest = num_microbatches % size
    if 0 < rest < num_ranks:
        raise InputError(
            f"schedule interleaved: groups of {size} leave {rest} of {num_microbatches} microbatches, fewer than "
            f"pp={num_ranks}; change the global batch to make them {_usable(size, num_microbatches)}, or use 1f1b"
        )


def _usable(size: int, num_microbatches: int) -> str:
    below = num_microbatches // size * size
    return ", ".join(str(count) for count in (below, below + size, below + 2 * size) if count) + ", ..."
