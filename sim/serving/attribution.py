"""Where a request's time goes, by running sums: what a pass took is added up once, not for each request in it.

Requests that decode together, pass after pass, note the sums as they join and leave: the difference is theirs.
Whoever computes a prompt, waits or changes company is accounted for alone.
"""

from collections.abc import Iterable
from operator import add, sub
from typing import Final

from sim.serving.record import CAUSES
from sim.serving.sequence import Sequence, Tally

QUEUE: Final = CAUSES.index("queue")
INTERFERENCE: Final = CAUSES.index("interference")
BUBBLE: Final = CAUSES.index("bubble")
TRANSFER: Final = CAUSES.index("transfer")
HOST: Final = CAUSES.index("host")

Split = tuple[float, float, float, float, float, float, float, float]
"""Seconds of a pass over all stages: the fields of passes.Stage."""


def parted(seconds: float, split: Split, host: float, rest: int) -> tuple[float, ...]:
    """`seconds` by CAUSES: the pass's own parts, the host's seconds as far as they are not hidden, and the rest, while
    others' passes ran, which is BUBBLE or INTERFERENCE. Where a request's chunks overlap in the pipeline, it has only a
    share of each."""
    compute, attention, prefill, tp, cp, ep, straggler, send = split
    own = compute + attention + prefill + tp + cp + ep + straggler + send
    left = seconds - own - host
    if left < 0:
        host, left = host + left, 0.0
        if host < 0:
            share = seconds / own
            return (
                0.0, share * compute, share * attention, share * prefill, share * tp, share * cp, share * ep,
                share * straggler, 0.0, share * send, 0.0,
            )  # fmt: skip
    if rest == BUBBLE:
        return (0.0, compute, attention, prefill, tp, cp, ep, straggler, left, send, host)
    return (0.0, compute, attention, prefill + left, tp, cp, ep, straggler, 0.0, send, host)


def settle(sequence: Sequence) -> None:
    """The request leaves its company: what the sums grew by is its own."""
    mark, beat = sequence.mark, sequence.beat
    if beat is not None and mark is not None:
        sequence.causes = list(map(add, sequence.causes, map(sub, beat.sums, mark.sums)))
        sequence.since = beat.time
    sequence.mark = sequence.beat = None


def join(sequence: Sequence, tally: Tally) -> None:
    """From the end of this pass on, the request shares the company's sums."""
    sequence.mark = sequence.beat = tally


def own_share(split: Split, share: float, *, is_alone: bool) -> Split:
    """The pass as one prompt sees it whose tokens are this share of all prompts': the others' are in its way.

    Where nobody decodes (`is_alone`), compute and attention are all prompts'; else `prefill` is, and is compute of its
    own here. Communication is not parted.
    """
    compute, attention, prefill, *others, send = split
    tp, cp, ep, straggler = others
    if is_alone:
        others_work = (compute + attention + prefill) * (1 - share)
        return ((compute + prefill) * share, attention * share, others_work, tp, cp, ep, straggler, send)
    return (compute + prefill * share, attention, prefill * (1 - share), tp, cp, ep, straggler, send)


def charge(sequence: Sequence, parts: Iterable[float], until: float) -> None:
    """The request's seconds until then went there."""
    sequence.causes = list(map(add, sequence.causes, parts))
    sequence.since = until
