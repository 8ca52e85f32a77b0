"""What the other schedulers decide, worked by hand: a line a pass, of letters that decode, letters with the tokens of
their prompts, and letters that lost their blocks. Blocks of 4 tokens, passes of at most 10."""

import pytest

from sim.deployment import Policy
from sim.serving.block_pool import BlockPool
from sim.serving.scheduling import POLICIES, Decision
from sim.serving.sequence import Queues, Sequence
from sim.serving.settings import Settings


def test_a_static_batch_runs_to_its_end_and_pads_what_is_shorter() -> None:
    """A has 6 prompt tokens, B 4: 2 rows of padding. B is done a pass before A: its row decodes for nobody. C waits."""
    assert passes("static", waiting(A=(6, 3), B=(4, 2), C=(2, 1)), blocks(7), count=4) == [
        "A+6 B+4 (2)", "A B", "A (1)", "C+2",
    ]  # fmt: skip


def test_a_static_batch_keeps_the_blocks_of_who_is_done_until_all_are() -> None:
    """Two blocks each, for 4 + 3 tokens at most: C is done in the first pass, A in the second, B in the third."""
    queues, pool = waiting(A=(4, 2), B=(4, 3), C=(2, 1)), blocks(7)
    assert passes("static", queues, pool, count=2) == ["A+4 B+4 C+2 (2)", "A B (1)"]
    assert ([chr(each.row) for each in queues.ended], pool.num_free) == (["C", "A"], 1)
    assert passes("static", queues, pool, count=1) == ["B (2)"]
    assert (queues.ended, pool.num_free) == ([], 7)


def test_orca_keeps_room_for_whole_answers_and_cuts_no_prompt() -> None:
    """A is 12 + 4 tokens, 4 blocks of 7; B's 8 + 5 would be another 4, though 2 would do now: it waits for A."""
    assert passes("orca", waiting(A=(12, 4), B=(8, 5)), blocks(7), count=5) == ["A+12", "A", "A", "A", "B+8"]
    assert passes("orca", waiting(A=(12, 4), B=(8, 5)), blocks(8), count=2) == ["A+12 B+8", "A B"]


def test_sarathi_takes_the_whole_prompts_blocks_but_computes_it_in_chunks_after_the_decodes() -> None:
    queues, pool = waiting(A=(4, 9), B=(13, 9)), blocks(9)
    assert passes("sarathi", queues, pool, count=3) == ["A+4 B+6", "A B+7", "A B"]
    assert [sequence.blocks for sequence in queues.running] == [2, 4]
    assert passes("sarathi", waiting(A=(4, 9), B=(13, 9)), blocks(4), count=2) == ["A+4", "A"]


def test_tensorrt_llm_evicts_nobody_or_uses_all_blocks_and_pauses_who_started_last() -> None:
    """A and B are 4 + 5 tokens each, 3 blocks at their ends. 4 blocks hold one to its end, or both for a while: then
    both take a second one at once, and a third for A is B's."""
    assert passes("trtllm-no-evict", waiting(A=(4, 5), B=(4, 5)), blocks(4), count=6) == [
        "A+4", "A", "A", "A", "A", "B+4",
    ]  # fmt: skip
    full = passes("trtllm-max-utilization", waiting(A=(4, 7), B=(4, 7)), blocks(4), count=7)
    assert full == ["A+4 B+4", "A B", "A B", "A B", "A B", "A -B", "A"]


def test_sglangs_prompts_go_first_and_interrupt_those_who_decode() -> None:
    """B's 13 tokens are cut to 8 and then 5; with those come C's 3, and only then does anybody decode."""
    queues, pool = waiting(A=(2, 9), B=(13, 9)), blocks(99)
    assert passes("sglang", queues, pool, count=1) == ["A+2 B+8"]
    queues.waiting.append(request("C", 3, 9))
    assert passes("sglang", queues, pool, count=2) == ["B+5 C+3", "A B C"]
    queues.waiting.append(request("D", 3, 9))
    assert passes("sglang", queues, pool, count=2) == ["D+3", "A B C D"]


def test_sglang_admits_nobody_after_the_cache_was_full_until_somebody_has_left() -> None:
    """8 blocks, 32 tokens. A keeps 0.7 of its 8 to come beside its own 8; B wants 8 + 12 of the rest, 18.4: too many.
    Even when A's share has fallen B waits for A's end, a pass longer than it must."""
    queues, pool = waiting(A=(8, 8)), blocks(8)
    assert passes("sglang", queues, pool, count=1) == ["A+8"]
    queues.waiting.append(request("B", 8, 12))
    assert passes("sglang", queues, pool, count=3) == ["A", "A", "A"]
    assert (queues.batch, POLICIES["sglang"].quiet(queues, pool, settings("sglang"))) == (1, 3)
    assert passes("sglang", queues, pool, count=5) == ["A", "A", "A", "A", "B+8"]


def test_sglang_retracts_the_shortest_answer_and_hopes_for_less() -> None:
    """4 blocks are full when A and B have 8 tokens each. B's answer is a token shorter: it goes, behind C, and A, who
    has said 5 of 31, is to last for 20 passes more, as 25 of 31 + 1."""
    queues, pool = Queues(running=[request("A", 4, 31), request("B", 5, 31)]), blocks(4)
    queues.running[0].generated = 1
    for sequence in queues.running:
        pool.grow(sequence, 4)
        sequence.computed = 4
    queues.waiting.append(request("C", 9, 31))
    assert passes("sglang", queues, pool, count=4) == ["A B", "A B", "A B", "A B"]
    assert passes("sglang", queues, pool, count=1) == ["A -B"]
    assert [chr(sequence.row) for sequence in queues.waiting] == ["C", "B"]
    assert queues.new_token_ratio == pytest.approx((5 + 20) / 32)


def settings(policy: Policy) -> Settings:
    return Settings(
        policy=policy, max_num_seqs=4, max_num_batched_tokens=10, max_model_len=100, asynchronous=False,
        chunked_prefill=policy in ("sglang", "sarathi"), prefix_caching=False, block_size=4, num_blocks=100,
    )  # fmt: skip


def waiting(**lengths: tuple[int, int]) -> Queues:
    """By letter, tokens of prompt and answer."""
    queues = Queues()
    queues.waiting.extend(request(name, *length) for name, length in lengths.items())
    return queues


def request(name: str, prompt: int, output: int) -> Sequence:
    return Sequence(row=ord(name), prompt=prompt, output=output, arrival=0.0)


def blocks(num_blocks: int) -> BlockPool:
    return BlockPool(num_blocks, block_size=4)


def passes(policy: Policy, queues: Queues, pool: BlockPool, *, count: int) -> list[str]:
    """So many passes, the tokens of each out before the next."""
    lines = []
    for _ in range(count):
        decision = POLICIES[policy].schedule(queues, pool, settings(policy))
        lines.append(text(decision))
        for sequence in [*decision.decodes, *(sequence for sequence, _ in decision.chunks)]:
            sequence.generated += sequence.awaited
            sequence.awaited = 0
            if sequence.generated == sequence.output:
                POLICIES[policy].finish(queues, pool, sequence)
    return lines


def text(decision: Decision) -> str:
    words = [chr(sequence.row) for sequence in decision.decodes]
    words += [f"{chr(sequence.row)}+{tokens}" for sequence, tokens in decision.chunks]
    lost = [f"-{chr(sequence.row)}" for sequence in decision.preempted]
    return " ".join(sorted(words) + lost + [f"({decision.padding})"] * (decision.padding > 0))
