"""Static batching: a batch is formed, runs until its longest answer is done, and only then the next one is formed.

Shorter prompts and answers are padded to the longest of the batch: rows that are computed for nobody. Nor is an answer
returned before the batch is: tokens are streamed as they come, but the last one, with which an answer is complete,
waits for the batch's end, and so do its blocks. What servers did before Orca [Yu et al., OSDI 2022, section 2.2].
"""

from sim.serving.block_pool import BlockPool
from sim.serving.scheduling.continuous import carry_on, drafted, enter, first_chunk
from sim.serving.scheduling.decision import Decision, is_ending, quiet_decodes
from sim.serving.sequence import Queues, Sequence
from sim.serving.settings import Settings


def schedule(queues: Queues, pool: BlockPool, settings: Settings) -> Decision:
    """The next pass: all whole prompts of a new batch, or a token for each of its requests."""
    decision = Decision()
    if queues.running:
        carry_on(queues, pool, settings, decision)
        if decision.decodes:
            decision.padding = padding(queues)
    else:
        _form(queues, pool, settings, decision)
    return decision


def quiet(queues: Queues, pool: BlockPool, settings: Settings) -> int:
    """See Rules."""
    return 0 if any(map(is_ending, queues.running)) else quiet_decodes(queues, pool, settings)


def padding(queues: Queues) -> int:
    """Rows of a decode whose answers are done."""
    return queues.batch - len(queues.running)


def finish(queues: Queues, pool: BlockPool, sequence: Sequence) -> list[Sequence]:
    """See Rules: all of the batch, with the last of them."""
    queues.running.remove(sequence)
    queues.ended.append(sequence)
    if queues.running:
        return []
    batch, queues.ended = queues.ended, []
    for each in batch:
        pool.free(each)
    return batch


def _form(queues: Queues, pool: BlockPool, settings: Settings, decision: Decision) -> None:
    """As many as have room for the longest prompt and the longest answer among them, first come first."""
    queues.batch, longest, rows = 0, 0, 0
    for sequence in queues.waiting:
        rows = max(rows, sequence.prompt)
        padded = max(longest, rows + sequence.output + drafted(settings))
        if queues.batch == settings.max_num_seqs or -(-padded // pool.block_size) * (queues.batch + 1) > pool.num_free:
            break
        longest = padded
        queues.batch += 1
    for _ in range(queues.batch):
        sequence = queues.waiting[0]
        enter(queues, pool, first_chunk(sequence, pool, settings, sequence.prompt, 0), decision, longest)
    chunks = [chunk for _, chunk in decision.chunks]
    decision.padding = sum(max(chunks) - chunk for chunk in chunks)
