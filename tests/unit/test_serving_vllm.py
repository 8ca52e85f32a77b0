"""vLLM's decisions worked by hand from its source, without a clock: a line a pass, of letters that decode, letters with
the tokens of their prompts, and letters that lost their blocks. Blocks of 4 tokens, passes of at most 10."""

from dataclasses import replace

import pytest

from sim.deployment import Speculation
from sim.serving.block_pool import BlockPool, new_pool
from sim.serving.scheduling import POLICIES
from sim.serving.scheduling.decision import Decision
from sim.serving.sequence import Queues, Sequence
from sim.serving.settings import Settings

RULES = POLICIES["vllm"]
SETTINGS = Settings(
    policy="vllm", max_num_seqs=4, max_num_batched_tokens=10, max_model_len=1000, chunked_prefill=True,
    asynchronous=False, prefix_caching=True, block_size=4, num_blocks=101,
)  # fmt: skip


def test_those_who_run_come_first_and_a_prompt_takes_what_the_budget_leaves() -> None:
    """A is 8 tokens: 2 are left of 10 for B's first ones. Then A decodes and 9 are left for B's 11, then 2 to go and 7
    for C, who decodes with B from then on."""
    assert passes(waiting(A=(8, 5), B=(13, 4), C=(7, 3)), count=5) == [
        "A+8 B+2",
        "A B+9",
        "A B+2 C+7",
        "A B C",
        "A B C",
    ]


def test_without_chunked_prefill_a_prompt_is_admitted_whole_or_not_and_holds_up_the_next() -> None:
    whole = replace(SETTINGS, chunked_prefill=False)
    assert passes(waiting(A=(8, 3), B=(9, 2), C=(1, 2)), whole, count=3) == ["A+8", "A B+9", "A B C+1"]


def test_no_more_run_than_max_num_seqs() -> None:
    assert passes(waiting(A=(2, 2), B=(2, 3), C=(2, 2)), replace(SETTINGS, max_num_seqs=2), count=4) == [
        "A+2 B+2", "A B", "B C+2", "C",
    ]  # fmt: skip


def test_where_blocks_run_out_the_last_admitted_loses_its_own_and_nobody_is_admitted_in_that_pass() -> None:
    """4 blocks: A and B hold 2 each with 8 tokens. A's ninth takes B's; C, who would fit, waits behind B. B's 9 known
    tokens are 3 blocks of which A leaves 2: B waits until A has ended, and then finds one block of its own."""
    pool, queues = blocks(4), waiting(A=(7, 6), B=(8, 5))
    queues.waiting[1].prompt = 7
    tight = replace(SETTINGS, max_num_batched_tokens=14, whole_prompts=True)
    assert passes(queues, tight, pool, count=3) == ["A+7 B+7", "A B", "A -B"]
    queues.waiting.append(request("C", 1, 2))
    assert passes(queues, tight, pool, count=5) == ["A", "A", "A", "B+5 C+1", "B C"]
    assert conserved(queues, pool)


def test_an_admission_needs_blocks_for_its_first_chunk_or_where_so_set_for_the_whole_prompt() -> None:
    """4 blocks hold 16 tokens; B has 13 and A holds one block: 2 are enough for the first 6 tokens."""
    half = passes(waiting(A=(4, 9), B=(13, 4)), SETTINGS, blocks(4), count=2)
    assert half == ["A+4 B+6", "A -B"]
    whole = replace(SETTINGS, whole_prompts=True)
    assert passes(waiting(A=(4, 9), B=(13, 4)), whole, blocks(4), count=2) == ["A+4", "A"]


def test_who_cannot_have_a_block_even_so_gives_up_its_own() -> None:
    """Two blocks; A and B hold them with 4 tokens. B, who was admitted last, goes; A takes its block and all in it, so
    that B has 4 + 1 tokens to compute again."""
    assert passes(waiting(A=(4, 4), B=(4, 4)), SETTINGS, blocks(2), count=5) == ["A+4 B+4", "A -B", "A", "A", "B+5"]


def test_a_token_under_way_is_counted_on_only_where_scheduling_is_asynchronous() -> None:
    """Two passes under way: A's second token is decided before the first is known; of two wanted, no third is.

    The last token of B's prompt is a decode like any other."""
    queues = waiting(A=(8, 2))
    ahead = replace(SETTINGS, asynchronous=True)
    pool = new_pool(ahead)
    assert [text(RULES.schedule(queues, pool, ahead)) for _ in range(3)] == ["A+8", "A", ""]
    queues = waiting(A=(8, 2), B=(3, 2))
    assert [text(RULES.schedule(queues, new_pool(SETTINGS), SETTINGS)) for _ in range(3)] == ["A+8 B+2", "B", ""]


def test_who_ends_while_it_waits_leaves_no_block_behind() -> None:
    ahead, pool = replace(SETTINGS, asynchronous=True), blocks(2)
    queues = waiting(A=(4, 4), B=(4, 2))
    first = RULES.schedule(queues, pool, ahead)
    second = RULES.schedule(queues, pool, ahead)
    assert text(second) == "A -B"
    out(first, queues, pool)
    assert text(RULES.schedule(queues, pool, ahead)) == "A"
    queues.waiting[0].output = 1
    RULES.finish(queues, pool, queues.waiting[0])
    assert not queues.waiting
    assert conserved(queues, pool)


def test_a_cached_prefix_is_neither_computed_nor_charged_to_the_budget() -> None:
    """Contents of 4 tokens. A's two full blocks are found by B in the same pass: 3 of its 11 tokens are left."""
    queues = waiting(A=(9, 2), B=(11, 2))
    for sequence in queues.waiting:
        sequence.contents = (1, 2)
    wide = replace(SETTINGS, max_num_batched_tokens=12)
    assert passes(queues, wide, new_pool(wide, content_tokens=4), count=1) == ["A+9 B+3"]
    assert [sequence.cached for sequence in queues.running] == [0, 8]


def test_a_cache_that_came_from_elsewhere_needs_blocks_but_no_prefill() -> None:
    queues, pool = waiting(A=(9, 4)), blocks(3)
    queues.waiting[0].computed, queues.waiting[0].generated = 9, 1
    pool.grow(queues.waiting[0], 9)
    assert text(RULES.schedule(queues, pool, SETTINGS)) == "A+1"
    assert (queues.running[0].blocks, queues.running[0].awaited) == (3, 1)


def test_draft_tokens_take_budget_and_blocks() -> None:
    """3 drafts: a decode is 4 of the 10 tokens, so the third can check one; A's 8 tokens and 4 more are 3 blocks. Of 9
    tokens it can check none, and 8 have no room for it."""
    drafts = replace(SETTINGS, speculation=Speculation(tokens=3, acceptance=0.5))
    queues, pool = waiting(A=(8, 9), B=(1, 9), C=(1, 9)), blocks(99)
    assert passes(queues, drafts, pool, count=2) == ["A+8 B+1 C+1", "A B C"]
    assert [sequence.blocks for sequence in queues.running] == [3, 2, 1]
    assert RULES.quiet(queues, pool, drafts) == 0
    for budget, checked in ((10, 1), (9, 0)):
        decision = RULES.schedule(queues, pool, replace(drafts, max_num_batched_tokens=budget))
        assert (text(decision), decision.cut) == ("A B C", (queues.running[2], checked))
        out(decision, queues, pool)
    assert passes(queues, replace(drafts, max_num_batched_tokens=8), pool, count=1) == ["A B"]


@pytest.mark.parametrize(
    ("num_blocks", "outputs", "quiet"),
    [(99, (9, 6), 4), (99, (6, 9), 4), (99, (2, 9), 0), (4, (30, 30), 4), (3, (30, 30), 2), (2, (30, 30), 0)],
)
def test_quiet_passes_end_before_somebody_does_or_blocks_run_out(
    num_blocks: int, outputs: tuple[int, int], quiet: int
) -> None:
    """After the first pass A has 4 and B 2 tokens in a block each, and a token of their answers. A's next takes a
    block, B's third does, A's fifth does: 0, 2 and 4 passes with none, one and two blocks left."""
    queues, pool = waiting(A=(4, outputs[0]), B=(2, outputs[1])), blocks(num_blocks)
    passes(queues, SETTINGS, pool, count=1)
    assert RULES.quiet(queues, pool, SETTINGS) == quiet


def test_quiet_passes_at_once_are_the_same_passes_one_by_one() -> None:
    states = []
    for at_once in (True, False):
        queues, pool = waiting(A=(4, 30), B=(2, 30)), blocks(9)
        passes(queues, SETTINGS, pool, count=1)
        num_passes = RULES.quiet(queues, pool, SETTINGS)
        if at_once:
            RULES.advance(queues, pool, SETTINGS, num_passes)
        else:
            assert passes(queues, SETTINGS, pool, count=num_passes) == ["A B"] * num_passes
        states.append([(s.computed, s.generated, s.blocks) for s in queues.running] + [(pool.num_free, 0, 0)])
        assert text(RULES.schedule(queues, pool, SETTINGS)) == "A -B"
    assert states[0] == states[1]


def test_nothing_is_quiet_while_a_prompt_is_unfinished_or_somebody_could_be_admitted() -> None:
    queues, pool = waiting(A=(4, 9), B=(13, 9)), blocks(99)
    passes(queues, SETTINGS, pool, count=1)
    assert RULES.quiet(queues, pool, SETTINGS) == 0
    passes(queues, SETTINGS, pool, count=1)
    assert RULES.quiet(queues, pool, SETTINGS) == 6
    queues.waiting.append(request("C", 5, 2))
    assert RULES.quiet(queues, pool, SETTINGS) == 0
    assert RULES.quiet(queues, pool, replace(SETTINGS, max_num_seqs=2)) == 6


def waiting(**lengths: tuple[int, int]) -> Queues:
    """By letter, tokens of prompt and answer."""
    queues = Queues()
    queues.waiting.extend(request(name, *length) for name, length in lengths.items())
    return queues


def request(name: str, prompt: int, output: int) -> Sequence:
    return Sequence(row=ord(name), prompt=prompt, output=output, arrival=0.0)


def blocks(num_blocks: int) -> BlockPool:
    return BlockPool(num_blocks, block_size=4, caching=True)


def passes(queues: Queues, settings: Settings = SETTINGS, pool: BlockPool | None = None, *, count: int) -> list[str]:
    """So many passes, the tokens of each out before the next."""
    pool = new_pool(settings) if pool is None else pool
    lines = []
    for _ in range(count):
        decision = RULES.schedule(queues, pool, settings)
        lines.append(text(decision))
        assert conserved(queues, pool)
        out(decision, queues, pool)
    return lines


def text(decision: Decision) -> str:
    words = [chr(sequence.row) for sequence in decision.decodes]
    words += [f"{chr(sequence.row)}+{tokens}" for sequence, tokens in decision.chunks]
    return " ".join(sorted(words) + [f"-{chr(sequence.row)}" for sequence in decision.preempted])


def out(decision: Decision, queues: Queues, pool: BlockPool) -> None:
    for sequence in [*decision.decodes, *(sequence for sequence, _ in decision.chunks)]:
        sequence.generated += sequence.awaited
        sequence.awaited = 0
        if sequence.generated == sequence.output:
            RULES.finish(queues, pool, sequence)


def conserved(queues: Queues, pool: BlockPool) -> bool:
    twice = sum(holders - 1 for holders in pool.holders.values())
    held = sum(sequence.blocks for sequence in [*queues.running, *queues.waiting])
    return pool.num_free + held - twice == pool.num_blocks and pool.num_free == pool.loose + sum(pool.order.values())
