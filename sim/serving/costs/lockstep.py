"""Ranks of data-parallel attention in one pass: each has tokens of its own, but their experts meet the tokens of all.

Where all decode, graphs pad every rank to the fullest's number of tokens [vLLM 0.19, v1/worker/dp_utils.py], and each
rank's own time says it. A rank with a prompt makes the experts' work longer for the others, and has less than its own
tokens would make.
"""

from collections.abc import Callable, Sequence

from sim.serving.passes import Shape, Stage

Row = tuple[float, float, float, float]
"""compute, tp, ep, straggler of a stage's experts."""
IDLE = Shape(1, 1, (), 1)
"""What a rank without requests runs beside the others: one token [vLLM 0.19, v1/worker/gpu_worker.py,
execute_dummy_batch]."""


def in_step(
    ranks: Sequence[Sequence[Stage]], tokens: Sequence[int], experts: Sequence[Callable[[int], Row]], *, sent: bool
) -> list[list[Stage]]:
    """Stages of each rank, whose experts' part is put from the rank's own number of tokens to the mean of all.

    `experts`: of each stage, by that number. Where tokens are `sent`, not gathered, the rank with most of them decides
    for how long: all that it has goes out through its own wires, and comes back.
    """
    mean, most = -(-sum(tokens) // len(tokens)), max(tokens)
    met = [_met(row(mean), row(most) if sent else row(mean)) for row in experts]
    return [
        list(map(_moved, stages, [row(own) for row in experts], met)) for stages, own in zip(ranks, tokens, strict=True)
    ]


def _met(mean: Row, carried: Row) -> Row:
    compute, tp, _, straggler = mean
    return compute, tp, carried[2], straggler


def _moved(stage: Stage, own: Row, met: Row) -> Stage:
    """Longer by others' tokens: interference; shorter: less of what it was longer for, its own prompt or its work."""
    compute, attention, prefill, tp, cp, ep, straggler, send = stage
    more = sum(met) - sum(own)
    if more >= 0 or prefill + more >= 0:
        return Stage(compute, attention, prefill + more, tp, cp, ep, straggler, send)
    compute = max(0.0, compute + (met[0] - own[0]))
    ep, straggler = max(0.0, ep + (met[2] - own[2])), max(0.0, straggler + (met[3] - own[3]))
    return Stage(compute, attention, prefill, tp, cp, ep, straggler, send)
