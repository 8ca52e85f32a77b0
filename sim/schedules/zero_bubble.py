"""Zero bubble: the backward pass in two halves. I is what the stage before waits for; W can wait, and fills the bubble.

ZB-H1 has 1F1B's memory and a third of its bubble; ZB-H2 warms up with twice the microbatches and has none; ZB-V has
none with 1F1B's memory, because each rank holds the two ends of a V of two chunks. All three were drawn for F = I = W.
The bubble of a rank is what it idles from its first pass to its last; the first rank starts and ends p-1 passes early.
"""

from sim.schedules.action import Action, Schedule, back_and_forth, check_chunks, in_rounds, numbered


def zb_h1(num_ranks: int, num_chunks: int, num_microbatches: int) -> Schedule:
    """Rank r warms up as in 1F1B, but keeps r weight gradients back, so that all ranks hold p microbatches.

    [Qi et al. 2023, section 2.1]. Bubble (p-1)(F+I-W). Raises InputError where num_chunks is not 1.
    """
    check_chunks("zb-h1", 1, num_chunks)
    return Schedule(
        tuple(_h1_order(rank, num_ranks, num_microbatches) for rank in range(num_ranks)), in_rounds(num_ranks, 1)
    )


def zb_h2(num_ranks: int, num_chunks: int, num_microbatches: int) -> Schedule:
    """Rank r warms up with 2(p-1-r) forwards and at the end keeps 2r weight gradients back: at most 2p-1 microbatches.

    [Qi et al. 2023, section 2.2]. Bubble (p-1)(F+I-2W). Raises InputError where num_chunks is not 1.
    """
    check_chunks("zb-h2", 1, num_chunks)
    return Schedule(
        tuple(_h2_order(rank, num_ranks, num_microbatches) for rank in range(num_ranks)), in_rounds(num_ranks, 1)
    )


def zb_v(num_ranks: int, num_chunks: int, num_microbatches: int) -> Schedule:
    """Rank r holds stages r and 2p-1-r; steady is F I W of the one, F I W of the other; at most 2p passes are held.

    [Qi et al. 2023, section 6; torch.distributed.pipelining, ScheduleZBVZeroBubble]. Bubble 0 for F = I = W.
    Raises InputError where num_chunks is not 2.
    """
    check_chunks("zb-v", 2, num_chunks)
    rows = tuple(_v_order(rank, num_ranks, num_microbatches) for rank in range(num_ranks))
    return Schedule(rows, back_and_forth(num_ranks))


def _h1_order(rank: int, num_ranks: int, num_microbatches: int) -> tuple[Action, ...]:
    late = range(min(rank, num_microbatches))
    return _one_chunk_order(rank, num_ranks - 1 - rank, num_microbatches, late)


def _h2_order(rank: int, num_ranks: int, num_microbatches: int) -> tuple[Action, ...]:
    """From microbatch m-2p+1 on, rank 0 has no forward left and takes an I every 2 passes: so all must give one."""
    first = num_microbatches - 2 * num_ranks + 1
    late = range(first, first + 2 * rank)
    return _one_chunk_order(rank, 2 * (num_ranks - 1 - rank), num_microbatches, late)


def _one_chunk_order(rank: int, warmup: int, num_microbatches: int, late: range) -> tuple[Action, ...]:
    """`warmup` forwards, then F and I in turn, and W after each I but the `late` ones; at last the Ws that are left."""
    warmup = min(warmup, num_microbatches)
    passes = ["F0"] * warmup
    for microbatch in range(num_microbatches):
        passes += ["F0"] * (microbatch + warmup < num_microbatches)
        passes += ["I0"] if microbatch in late else ["I0", "W0"]
    passes += ["W0"] * sum(microbatch in late for microbatch in range(num_microbatches))
    return numbered(passes, (rank,))


def _v_order(rank: int, num_ranks: int, num_microbatches: int) -> tuple[Action, ...]:
    """Drawn for 2p-1 microbatches or more; with fewer, those that are not there are left out."""
    passes = _v_passes(rank, num_ranks, max(num_microbatches, 2 * num_ranks - 1))
    every = numbered(passes, (rank, 2 * num_ranks - 1 - rank))
    return tuple(action for action in every if action.microbatch < num_microbatches)


def _v_passes(rank: int, num_ranks: int, num_microbatches: int) -> list[str]:
    """Passes such as F1: of the chunk on the way down (0) or back up (1)."""
    rest = num_ranks - rank
    steady = ["I0", "W0", "F1", "I1", "W1"]
    return [
        *["F0"] * (2 * rest - 1),
        *["F1", "F0"] * rank,
        *["F1", "I1", "W1"] * rest,
        *["F0", *steady] * (num_microbatches - 2 * num_ranks + 1 + rank),
        *steady * (rest - 1),
        *["I0", "I1"] * rank,
        *["I0", "W0"] * rest,
        *["W0"] * (2 * rank),
    ]
