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


def own_share(split: Split, chunks: Split, share: float, waited: float) -> Split:
    """The pass as one prompt sees it whose tokens are this share of all prompts'. `chunks`: what these take without the
    decodes beside them. Of that the share is its own, by kind; all else is others' tokens, in its way, but for the
    seconds that its rank `waited` for slower ones.
    """
    compute, attention, others, tp, cp, ep, straggler, send = chunks
    whole, alone = sum(split) - waited, sum(chunks) - others
    if alone > whole:
        share *= whole / alone
    return (
        share * compute, share * attention, whole - share * alone, share * tp, share * cp, share * ep,
        share * straggler + waited, share * send,
    )  # fmt: skip


def charge(sequence: Sequence, parts: Iterable[float], until: float) -> None:
    """The request's seconds until then went there."""
    sequence.causes = list(map(add, sequence.causes, parts))
    sequence.since = until
