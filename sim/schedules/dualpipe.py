"""DualPipe: microbatches enter from both ends, and a forward runs as one with a backward of the other direction, each
computing while the other's tokens are on their way to the experts. Bubble (p/2-1)(F&B + B - 3W).

Every rank holds two stages, of two whole models, so twice the weights, and p+1 microbatches' activations. DualPipeV
cuts it in half: one model, whose second half comes back over the same ranks; each rank plays two ranks of DualPipe.
"""

from sim.schedules.action import Action, Schedule, back_and_forth, check_chunks, numbered
from topologies.document import InputError


def dualpipe(num_ranks: int, num_chunks: int, num_microbatches: int) -> Schedule:
    """Two models, rank r with stage r of each end [DeepSeek-AI 2024, section 3.2.1; github.com/deepseek-ai/DualPipe].

    Raises InputError where num_chunks is not 1, num_ranks is odd, or num_microbatches is odd or less than 2 num_ranks.
    """
    check_chunks("dualpipe", 1, num_chunks)
    if num_ranks % 2:
        raise InputError(f"schedule dualpipe needs an even pp, not pp={num_ranks}; use {num_ranks + 1}, or dualpipev")
    if num_microbatches % 2 or num_microbatches < 2 * num_ranks:
        raise InputError(_too_few("dualpipe", "an even number of microbatches, at least", num_ranks, num_microbatches))
    half = num_microbatches // 2
    rows = tuple(_dual_order(rank, num_ranks, half) for rank in range(num_ranks))
    return Schedule(rows, back_and_forth(num_ranks), num_models=2, is_paired=True)


def dualpipev(num_ranks: int, num_chunks: int, num_microbatches: int) -> Schedule:
    """One model in a V [Qi et al. 2025, "DualPipe could be better without the Dual"; github.com/deepseek-ai/DualPipe].

    Raises InputError where num_chunks is not 2 or num_microbatches less than 2 num_ranks.
    """
    check_chunks("dualpipev", 2, num_chunks)
    if num_microbatches < 2 * num_ranks:
        raise InputError(_too_few("dualpipev", "microbatches, at least", num_ranks, num_microbatches))
    rows = []
    for rank in range(num_ranks):
        stages = rank, 2 * num_ranks - 1 - rank
        rows.append(numbered(_passes(rank, num_ranks, num_microbatches), stages))
    return Schedule(tuple(rows), back_and_forth(num_ranks), is_paired=True)


def _dual_order(rank: int, num_ranks: int, half: int) -> tuple[Action, ...]:
    """A rank of the second half is one of the first, seen from the other end."""
    stages = rank, 2 * num_ranks - 1 - rank
    place = min(rank, num_ranks - 1 - rank)
    nearest = stages if rank == place else (stages[1], stages[0])
    return numbered(_passes(place, num_ranks // 2, half), nearest, {max(stages): half})


def _passes(place: int, length: int, count: int) -> list[str]:
    """Passes such as B1: of the chunk nearer to where microbatches enter (0) or farther (1).

    The eight steps of DualPipe on the rank at `place` of the `length` from an end to the turn, `count` microbatches.

    At the turn, the first F0 and B1 are no pair, so that the first gradients leave sooner; hence I and W. The backwards
    of the second half of step 6, and those after it, leave their weight gradients for the bubble at the end.
    """
    rest, own = length - 1 - place, place + 1
    first = ["F0", "B1"] if rest else ["F0", "I1", "W1"]
    last = ["B1", "B0"] * own
    return [
        *["F0"] * (2 * rest),
        *["F0", "F1"] * own,
        *["I1", "W1", "F1"] * rest,
        *(*first, "F1", "B0"),
        *["F0", "B1", "F1", "B0"] * (count - 2 * length + place),
        *["B1", "F1", "B0"] * rest,
        *last[:own],
        *(each.replace("B", "I") for each in last[own:]),
        *["W0", "I0"] * rest,
        *["W0"] * own,
    ]


def _too_few(name: str, what: str, num_ranks: int, num_microbatches: int) -> str:
    fix = "change the global batch, or use 1f1b or zb-v"
    return f"schedule {name} of pp={num_ranks} needs {what} {2 * num_ranks}, not {num_microbatches}; {fix}"
