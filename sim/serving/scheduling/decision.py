"""What a scheduler answers, and what all of them have in common: an end, and passes in which everybody just decodes."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sim.serving.block_pool import BlockPool
from sim.serving.sequence import Queues, Sequence
from sim.serving.settings import Settings

FAR: Final = 1 << 60
"""Passes: never."""


@dataclass(slots=True, kw_only=True)
class Decision:
    """One pass: who decodes, and who computes how many tokens of what is not computed yet. `admitted` are among them;
    `preempted` lost their blocks and wait again. `cut`: of one who decodes, how many proposed tokens the budget left
    for it to check; the others check all. `padding`: rows that are computed beside them, for nobody."""

    decodes: list[Sequence] = field(default_factory=list)
    chunks: list[tuple[Sequence, int]] = field(default_factory=list)
    admitted: list[Sequence] = field(default_factory=list)
    preempted: list[Sequence] = field(default_factory=list)
    cut: tuple[Sequence, int] | None = None
    padding: int = 0


def _nothing(queues: Queues) -> int:
    return 0


def finish(queues: Queues, pool: BlockPool, sequence: Sequence) -> list[Sequence]:
    """See Rules. One that was preempted while that token was under way ends where it waits."""
    leave(queues, sequence)
    pool.free(sequence)
    return [sequence]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A scheduler.

    `schedule` chooses the next pass: it moves sequences between the queues, takes and frees blocks, and advances
    `computed` and `awaited` of those chosen. `quiet` says for how many further passes, if nobody comes, all who run
    would each decode one token and nothing else would change: nobody is admitted, preempted or finished (0: not even
    the next); whoever's last token is under way may be left out. `advance` does so many of them at once, their tokens
    out. `padding`: rows that each of them computes for nobody. `finish` is told of each who has its last token, and
    says whose answers are complete with it: their blocks are free again.
    """

    schedule: Callable[[Queues, BlockPool, Settings], Decision]
    quiet: Callable[[Queues, BlockPool, Settings], int]
    advance: Callable[[Queues, BlockPool, Settings, int], None]
    padding: Callable[[Queues], int] = _nothing
    finish: Callable[[Queues, BlockPool, Sequence], list[Sequence]] = finish


def leave(queues: Queues, sequence: Sequence) -> None:
    """The sequence is in no queue any more."""
    (queues.running if sequence in queues.running else queues.waiting).remove(sequence)


def preempt(queues: Queues, pool: BlockPool, sequence: Sequence, decision: Decision) -> None:
    """The sequence, no longer among those that run, loses its blocks and is to be computed again, before all others but
    those who wait with a cache that was sent to them."""
    pool.preempt(sequence)
    sequence.computed = 0
    sequence.num_preemptions += 1
    queues.waiting.insert(sum(bool(each.blocks) for each in queues.waiting), sequence)
    decision.preempted.append(sequence)


def is_ending(sequence: Sequence) -> bool:
    """Whether its last token is under way, or out."""
    return sequence.generated + sequence.awaited >= sequence.output


def quiet_decodes(queues: Queues, pool: BlockPool, settings: Settings) -> int:
    """In how many passes can all who run decode one token each, nobody finishing, in the blocks that are free?

    Tokens under way count as if they were out; 0 where a prompt is not computed yet, or the budget does not reach.
    Whoever's last token is under way is left out, and changes nothing as it goes but where somebody waits for its
    blocks or may find them.
    """
    running = queues.running
    if not running or settings.speculation is not None or len(running) > settings.max_num_batched_tokens:
        return 0
    least = settings.max_model_len
    for sequence in running:
        out = sequence.generated + sequence.awaited
        left = sequence.output - out
        if left == 0:
            if queues.waiting or (pool.caching and sequence.contents):
                return 0
        elif sequence.computed + 1 != sequence.prompt + out:
            return 0
        elif left < least:
            least = left
    least = min(least, _until_named(queues, pool) + 1)
    if least < 2 or len(running) * (least // pool.block_size + 1) <= pool.num_free:
        return max(least - 1, 0)
    spare = [sequence.blocks * pool.block_size - sequence.computed for sequence in running]
    return _fitting(least - 1, spare, pool)


def advance(queues: Queues, pool: BlockPool, settings: Settings, num_passes: int) -> None:
    """So many passes in which all who run decode one token each, but whoever's last one is under way; at most as many
    as `quiet` said."""
    taken, block_size = 0, settings.block_size
    for sequence in queues.running:
        if sequence.generated + sequence.awaited >= sequence.output:
            continue
        sequence.generated += num_passes
        sequence.computed = computed = sequence.computed + num_passes
        if computed > sequence.blocks * block_size:
            blocks = -(-computed // block_size)
            taken += blocks - sequence.blocks
            sequence.blocks = blocks
    pool.take(taken)
    if pool.caching:
        _name(queues, pool, num_passes)


def _name(queues: Queues, pool: BlockPool, num_passes: int) -> None:
    """Blocks that the passes filled get their names in the order of time: each in the pass after the one that filled
    it, so those that the last one filled not yet."""
    size, moments = pool.block_size, []
    for place, sequence in enumerate(queues.running):
        if not sequence.contents:
            continue
        computed, known = sequence.computed, len(sequence.contents) * pool.content_tokens
        first = -(-(computed - num_passes) // size) * size
        moments += [(full - computed, place, full) for full in range(first, min(known, computed - 1) + 1, size)]
    for _, place, full in sorted(moments):
        sequence = queues.running[place]
        computed, sequence.computed = sequence.computed, full
        pool.name(sequence)
        sequence.computed = computed


def _until_named(queues: Queues, pool: BlockPool) -> int:
    """Passes before an answer fills a block that the first who waits might find, and so need one block less."""
    if not (pool.caching and queues.waiting and queues.waiting[0].contents):
        return FAR
    size, tokens = pool.block_size, pool.content_tokens
    known = [each.computed for each in queues.running if len(each.contents) * tokens >= each.computed]
    return min((-computed % size for computed in known), default=FAR)


def _fitting(num_passes: int, spare: list[int], pool: BlockPool) -> int:
    """The most passes, up to num_passes, whose new blocks are free; `spare` tokens fit into each one's own blocks."""
    counts = [(own, count) for own, count in Counter(spare).items() if own < num_passes]
    low, high = 0, num_passes
    passes = high
    while low < high:
        needed = sum(count * -((own - passes) // pool.block_size) for own, count in counts if own < passes)
        low, high = (passes, high) if needed <= pool.num_free else (low, passes - 1)
        passes = (low + high + 1) // 2
    return low
