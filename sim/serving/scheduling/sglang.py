"""SGLang: who waits goes first. A pass computes prompts or decodes, and prompts interrupt those who decode.

Room is kept for a share of each answer that runs, the new-token ratio, which falls pass by pass. Where it was too
hopeful and the cache is full, those with the shortest answers so far are retracted, and the ratio is set anew
[SGLang 0.5.9, srt/managers/scheduler.py, schedule_policy.py and schedule_batch.py].
"""

from typing import Final

from sim.serving.block_pool import NOTHING, BlockPool
from sim.serving.scheduling.continuous import carry_on, enter, next_chunk
from sim.serving.scheduling.decision import Decision, is_ending, preempt, quiet_decodes
from sim.serving.scheduling.decision import advance as decode
from sim.serving.sequence import Queues, Sequence
from sim.serving.settings import Settings

LONGEST: Final = 4096
"""Tokens of an answer still to come for which room is kept, at most [schedule_policy.py: CLIP_MAX_NEW_TOKENS]."""

AHEAD: Final = 20
"""Passes that the ratio should last after a retraction [environ.py: SGLANG_RETRACT_DECODE_STEPS]."""


def schedule(queues: Queues, pool: BlockPool, settings: Settings) -> Decision:
    """The next pass. `queues.batch`: the cache was full for whoever waits when so many ran; until one of them has left,
    nobody is admitted."""
    decision = Decision()
    if not queues.running:
        queues.batch, queues.new_token_ratio = 0, settings.new_token_ratio
    _prefill(queues, pool, settings, decision)
    if not decision.chunks and queues.running:
        if len(queues.running) < queues.batch:
            queues.batch = 0
        _make_room(queues, pool, settings, decision)
        carry_on(queues, pool, settings, decision)
    return decision


def quiet(queues: Queues, pool: BlockPool, settings: Settings) -> int:
    """See Rules."""
    if queues.waiting and not 0 < queues.batch <= len(queues.running):
        return 0
    if any(map(is_ending, queues.running)):
        return 0
    return quiet_decodes(queues, pool, settings)


def advance(queues: Queues, pool: BlockPool, settings: Settings, num_passes: int) -> None:
    """See Rules; the ratio falls in each pass."""
    decode(queues, pool, settings, num_passes)
    _decay(queues, settings, num_passes)


def _prefill(queues: Queues, pool: BlockPool, settings: Settings, decision: Decision) -> None:
    """The prompt that was begun, then those who wait, while there is budget, and room for what they may become."""
    unfinished = [sequence for sequence in queues.running if _left(sequence) > 1]
    if not unfinished and (queues.batch or not queues.waiting):
        return
    for sequence in queues.running:
        pool.name(sequence)
    budget = settings.max_num_batched_tokens
    room = pool.num_free * pool.block_size - _kept(queues, settings)
    for sequence in unfinished:
        chunk = min(_left(sequence), budget, pool.num_free * pool.block_size)
        if chunk and next_chunk(queues, pool, sequence, chunk, decision):
            budget -= chunk
            room -= chunk + (_to_come(sequence) if _left(sequence) == 1 else 0)
    if not queues.batch:
        _admit(queues, pool, settings, decision, budget, room)


def _admit(queues: Queues, pool: BlockPool, settings: Settings, decision: Decision, budget: int, room: float) -> None:
    """First come first. Where room ends, nobody is tried again before somebody has left."""
    while queues.waiting and not queues.waiting[0].awaited:
        sequence = queues.waiting[0]
        found = NOTHING if sequence.blocks else pool.find(sequence)
        tokens = sequence.prompt + sequence.generated - (sequence.computed or found.num_blocks * pool.block_size)
        if len(queues.running) >= settings.max_num_seqs or (
            tokens + _to_come(sequence) >= room - found.idle * pool.block_size
        ):
            queues.batch = len(queues.running)
            return
        chunk = min(tokens, budget) if settings.chunked_prefill else tokens
        if chunk <= 0 or (tokens > budget and not settings.chunked_prefill and decision.chunks):
            return
        enter(queues, pool, chunk, decision, 0)
        budget -= chunk
        room -= found.idle * pool.block_size + chunk + (_to_come(sequence) if chunk == tokens else 0)


def _make_room(queues: Queues, pool: BlockPool, settings: Settings, decision: Decision) -> None:
    """Retract until each of the others can have its next token; one always stays. Else the ratio falls a little."""
    if _new_blocks(queues.running, pool) <= pool.num_free:
        _decay(queues, settings, 1)
        return
    order = sorted(queues.running, key=lambda sequence: (sequence.generated, -sequence.prompt), reverse=True)
    while len(order) > 1 and (not decision.preempted or _new_blocks(order, pool) > pool.num_free):
        _retract(queues, pool, order.pop(), decision)
    generated = sum(sequence.generated for sequence in order) + AHEAD * len(order)
    queues.new_token_ratio = min(1.0, generated / (sum(sequence.output for sequence in order) + 1))
    queues.batch = 0


def _retract(queues: Queues, pool: BlockPool, sequence: Sequence, decision: Decision) -> None:
    """It waits behind all others. Its prompt may be found again, its answer is forgotten."""
    queues.running.remove(sequence)
    sequence.computed = min(sequence.computed, sequence.prompt)
    preempt(queues, pool, sequence, decision)
    queues.waiting.remove(sequence)
    queues.waiting.append(sequence)


def _new_blocks(sequences: list[Sequence], pool: BlockPool) -> int:
    return sum(sequence.blocks * pool.block_size == sequence.computed for sequence in sequences)


def _kept(queues: Queues, settings: Settings) -> float:
    """Tokens for which room is kept: a share of what those who decode may still say."""
    ratio = settings.new_token_ratio if queues.new_token_ratio is None else queues.new_token_ratio
    return ratio * sum(_to_come(sequence) for sequence in queues.running if _left(sequence) <= 1)


def _decay(queues: Queues, settings: Settings, num_passes: int) -> None:
    step = (settings.new_token_ratio - settings.min_new_token_ratio) / settings.new_token_decay
    ratio = settings.new_token_ratio if queues.new_token_ratio is None else queues.new_token_ratio
    queues.new_token_ratio = max(ratio - num_passes * step, settings.min_new_token_ratio)


def _left(sequence: Sequence) -> int:
    return sequence.prompt + sequence.generated + sequence.awaited - sequence.computed


def _to_come(sequence: Sequence) -> int:
    return min(sequence.output - sequence.generated, LONGEST)
