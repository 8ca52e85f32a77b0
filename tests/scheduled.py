"""What holds of every pass that a scheduler chooses."""

from sim.serving.block_pool import BlockPool
from sim.serving.scheduling import Decision
from sim.serving.sequence import Queues
from sim.serving.settings import Settings

UNBOUNDED = ("orca", "static")
"""Policies whose passes may have any number of tokens."""


def check(decision: Decision, queues: Queues, pool: BlockPool, setting: Settings) -> None:
    """Blocks are conserved, nobody computes what is not known or nothing at all, and the budget is kept."""
    sequences = [*queues.running, *queues.waiting, *queues.ended]
    twice = sum(holders - 1 for holders in pool.holders.values())
    assert pool.num_free + sum(sequence.blocks for sequence in sequences) - twice == pool.num_blocks
    assert pool.num_free == pool.loose + sum(pool.order.values())
    assert all(sequence.blocks * setting.block_size >= sequence.computed for sequence in sequences)
    assert all(sequence.computed <= sequence.known + sequence.awaited for sequence in sequences)
    assert all(tokens > 0 for _, tokens in decision.chunks)
    assert len(queues.running) <= setting.max_num_seqs
    if setting.policy not in UNBOUNDED:
        assert rows(decision, setting) <= setting.max_num_batched_tokens
    if setting.speculation is None:
        assert all(sequence.generated + sequence.awaited <= sequence.output for sequence in sequences)


def rows(decision: Decision, setting: Settings) -> int:
    """Tokens that the pass computes, proposed ones among them."""
    drafts = setting.speculation.tokens if setting.speculation else 0
    missing = drafts - decision.cut[1] if decision.cut else 0
    return len(decision.decodes) * (1 + drafts) - missing + sum(tokens for _, tokens in decision.chunks)
