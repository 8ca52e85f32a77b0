"""Requests whose prompts were computed elsewhere: blocks are taken for the whole cache before it is sent.

It goes past the scheduler's budget, and whoever has the blocks waits ahead of those who do not [vLLM 0.19,
v1/core/sched/scheduler.py: WAITING_FOR_REMOTE_KVS, skipped_waiting].
"""

from collections import deque

from sim.serving.block_pool import BlockPool
from sim.serving.scheduling.decision import Decision, preempt
from sim.serving.sequence import Queues, Sequence
from sim.serving.settings import Settings


def taken_in(arriving: deque[Sequence], queues: Queues, pool: BlockPool, settings: Settings) -> list[Sequence]:
    """Those, first come first, for whose prompts blocks have been taken now. `computed` says what the cache had of
    them; the rest is to be sent.

    None while all places are taken, or while somebody waits who has no blocks: a request that was preempted.
    """
    found: list[Sequence] = []
    while arriving and len(queues.running) < settings.max_num_seqs and _all_have_blocks(queues):
        if not _take_blocks(arriving[0], pool):
            break
        found.append(arriving.popleft())
    return found


def enqueue(queues: Queues, sequence: Sequence) -> None:
    """Its cache is here: it waits behind others like it."""
    queues.waiting.insert(sum(bool(each.blocks) for each in queues.waiting), sequence)


def gives_way(queues: Queues, pool: BlockPool) -> bool:
    """Of several who wait, and none of whom is admitted, the last that has blocks loses them. False: nobody has any, or
    who waits is alone."""
    holders = [each for each in queues.waiting if each.blocks]
    if not holders or len(queues.waiting) == 1:
        return False
    queues.waiting.remove(holders[-1])
    preempt(queues, pool, holders[-1], Decision())
    return True


def _all_have_blocks(queues: Queues) -> bool:
    return not queues.waiting or queues.waiting[-1].blocks > 0


def _take_blocks(sequence: Sequence, pool: BlockPool) -> bool:
    found = pool.find(sequence)
    if -(-sequence.prompt // pool.block_size) - found.num_blocks + found.idle > pool.num_free:
        return False
    pool.hold(sequence, found)
    sequence.computed = found.num_blocks * pool.block_size
    return pool.grow(sequence, sequence.prompt)
