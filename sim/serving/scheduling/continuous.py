"""Continuous batching, which most schedulers share: after every pass some who wait may join those who run [Orca].

Each pass has a budget of tokens: one of a sequence that decodes, as many as there are left of one whose prompt is cut.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sim.serving.block_pool import NOTHING, BlockPool
from sim.serving.scheduling.decision import Decision, preempt
from sim.serving.sequence import Queues, Sequence
from sim.serving.settings import Settings

Tokens = Callable[[Sequence, Settings], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Of how many tokens of one who waits the blocks must be free, and are taken as it is admitted: both at least those
    of its first chunk."""

    needed: Tokens
    taken: Tokens


def first(sequence: Sequence, settings: Settings) -> int:
    """The first chunk's tokens alone."""
    return 0


def prompt(sequence: Sequence, settings: Settings) -> int:
    """All that is known when it is admitted."""
    return sequence.prompt + sequence.generated


def answer(sequence: Sequence, settings: Settings) -> int:
    """All that will ever be known, and what is proposed beyond."""
    return sequence.prompt + sequence.output + drafted(settings)


def drafted(settings: Settings) -> int:
    """The most proposed tokens that one who decodes has under way."""
    if settings.speculation is None:
        return 0
    return settings.speculation.tokens * (settings.depth if settings.asynchronous else 1)


def carry_on(queues: Queues, pool: BlockPool, settings: Settings, decision: Decision) -> int:
    """Those who run: a decode, or the next chunk of a prompt. What is left of the budget.

    A token under way is counted on where scheduling is asynchronous, unless it is the last; else its sequence is left
    out of this pass. Proposed tokens are cut to the budget [vLLM 0.19, v1/core/sched/scheduler.py: num_new_tokens], and
    may all be right in each pass under way. The loop is the simulator's hottest: most turns are a decode inside its
    last block.
    """
    budget, block_size, asynchronous = settings.max_num_batched_tokens, settings.block_size, settings.asynchronous
    drafts = 0 if settings.speculation is None else settings.speculation.tokens
    rows, append = 1 + drafts, decision.decodes.append
    for sequence in queues.running:
        awaited = sequence.awaited
        if awaited and (not asynchronous or sequence.generated + awaited >= sequence.output):
            continue
        computed = sequence.computed
        missing = sequence.prompt + sequence.generated + awaited - computed
        if missing == 1 and budget:
            if drafts:
                rows = min(rows, budget)
                fits = _make_room(queues, pool, sequence, computed + awaited * drafts + rows, decision)
                if rows <= drafts:
                    decision.cut = sequence, rows - 1
            else:
                fits = computed % block_size > 0 or _make_room(queues, pool, sequence, computed + 1, decision)
            if not fits:
                break
            sequence.computed = computed + 1
            sequence.awaited = awaited + 1
            append(sequence)
            budget -= rows
        elif not budget or not next_chunk(queues, pool, sequence, min(missing, budget), decision):
            break
        else:
            budget -= min(missing, budget)
    return budget


def next_chunk(queues: Queues, pool: BlockPool, sequence: Sequence, chunk: int, decision: Decision) -> bool:
    """So many tokens more of a prompt that was begun; False: it lost its blocks instead."""
    if not _make_room(queues, pool, sequence, sequence.computed + chunk, decision):
        return False
    _compute(sequence, chunk, pool, decision)
    return True


def _make_room(queues: Queues, pool: BlockPool, sequence: Sequence, tokens: int, decision: Decision) -> bool:
    """Blocks for so many tokens of the sequence; whoever was admitted last gives up its own until they are free. False:
    that was the sequence itself."""
    while not pool.grow(sequence, tokens):
        last = queues.running.pop()
        preempt(queues, pool, last, decision)
        if last is sequence:
            return False
    if sequence.contents:
        pool.name(sequence)
    return True


def admit(
    queues: Queues, pool: BlockPool, settings: Settings, decision: Decision, budget: int, admission: Admission
) -> None:
    """Those who wait, first come first, while they fit; the first who does not holds up the rest."""
    while budget > 0 and queues.waiting and len(queues.running) < settings.max_num_seqs:
        sequence = queues.waiting[0]
        chunk = first_chunk(sequence, pool, settings, budget, admission.needed(sequence, settings))
        if chunk == 0:
            return
        enter(queues, pool, chunk, decision, admission.taken(sequence, settings))
        budget -= chunk


def admissible(queues: Queues, pool: BlockPool, settings: Settings, budget: int, admission: Admission) -> bool:
    """Could the first who waits run in a pass with so much budget, or with what those who decode leave of it? A smaller
    first chunk needs fewer blocks."""
    if not queues.waiting or len(queues.running) >= settings.max_num_seqs:
        return False
    sequence = queues.waiting[0]
    needed = admission.needed(sequence, settings)
    budgets = (budget, max(budget - len(queues.running), 0))
    return any(first_chunk(sequence, pool, settings, each, needed) > 0 for each in budgets)


def first_chunk(sequence: Sequence, pool: BlockPool, settings: Settings, budget: int, needed: int) -> int:
    """How many tokens of one who waits a pass can compute; 0: it cannot be admitted now."""
    if sequence.awaited:
        return 0
    found = NOTHING if sequence.blocks else pool.find(sequence)
    known = sequence.prompt + sequence.generated
    start = sequence.computed or found.num_blocks * pool.block_size
    chunk = min(known - start, budget)
    if chunk < known - start and not settings.chunked_prefill:
        return 0
    blocks = -(-max(needed, start + chunk) // pool.block_size) - sequence.blocks - found.num_blocks + found.idle
    return chunk if blocks <= pool.num_free else 0


def enter(queues: Queues, pool: BlockPool, chunk: int, decision: Decision, taken: int) -> None:
    """The first who waits runs. One whose cache came from elsewhere has blocks for it before it is admitted."""
    sequence = queues.waiting.popleft()
    queues.running.append(sequence)
    decision.admitted.append(sequence)
    if not sequence.blocks:
        found = pool.find(sequence)
        pool.hold(sequence, found)
        sequence.computed = found.num_blocks * pool.block_size
        if not sequence.num_preemptions:
            sequence.cached = sequence.computed
    pool.grow(sequence, max(taken, sequence.computed + chunk))
    _compute(sequence, chunk, pool, decision)


def _compute(sequence: Sequence, chunk: int, pool: BlockPool, decision: Decision) -> None:
    sequence.computed += chunk
    if sequence.computed == sequence.prompt + sequence.generated + sequence.awaited:
        sequence.awaited += 1
    pool.name(sequence)
    decision.chunks.append((sequence, chunk))
