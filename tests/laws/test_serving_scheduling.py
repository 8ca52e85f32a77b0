"""Laws of every scheduler, for loads drawn at random: each pass conserves blocks and keeps its budget, everybody ends,
and passes that are stepped over leave what the same passes leave one by one."""

from collections import deque
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sim.deployment import Policy
from sim.serving.block_pool import BlockPool, new_pool
from sim.serving.scheduling import POLICIES, Decision
from sim.serving.sequence import Queues, Sequence
from sim.serving.settings import Settings
from tests.scheduled import check

SETTINGS = Settings(
    policy="vllm", max_num_seqs=5, max_num_batched_tokens=20, max_model_len=60, chunked_prefill=True,
    asynchronous=False, prefix_caching=True, block_size=4, num_blocks=17,
)  # fmt: skip
LOADS = st.lists(
    st.tuples(st.integers(1, 20), st.integers(1, 25), st.lists(st.integers(0, 1), max_size=6)), min_size=1, max_size=9
)
CHOICES = st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans())
Load = list[tuple[int, int, list[int]]]


@pytest.mark.parametrize("policy", list(POLICIES))
@hypothesis_settings(max_examples=40, deadline=None)
@given(load=LOADS, choices=CHOICES)
def test_blocks_are_conserved_budgets_kept_and_everybody_ends(
    policy: Policy, load: Load, choices: tuple[bool, bool, bool, bool]
) -> None:
    setting = chosen(policy, choices)
    queues, pool, flights = Queues(), new_pool(setting, content_tokens=4), deque[list[Sequence]]()
    queues.waiting.extend(requests(load))
    for _ in range(3000):
        decision = POLICIES[policy].schedule(queues, pool, setting)
        check(decision, queues, pool, setting)
        flights.append(sampled(decision))
        if len(flights) == setting.depth:
            out(flights.popleft(), queues, pool, setting)
        if not queues.waiting and not queues.running:
            break
    assert not queues.waiting
    assert not queues.running
    assert pool.num_free == pool.num_blocks


@pytest.mark.parametrize("policy", list(POLICIES))
@hypothesis_settings(max_examples=25, deadline=None)
@given(load=LOADS, choices=CHOICES)
def test_quiet_passes_at_once_leave_what_they_leave_one_by_one(
    policy: Policy, load: Load, choices: tuple[bool, bool, bool, bool]
) -> None:
    setting = replace(chosen(policy, choices), asynchronous=False, depth=1)
    assert history(policy, load, setting, at_once=True) == history(policy, load, setting, at_once=False)


def history(policy: Policy, load: Load, setting: Settings, *, at_once: bool) -> list[object]:
    """What each pass that is not quiet decides, and what the quiet ones before it left."""
    rules, queues, pool = POLICIES[policy], Queues(), new_pool(setting, content_tokens=4)
    queues.waiting.extend(requests(load))
    seen: list[object] = []
    while queues.waiting or queues.running:
        num_passes = rules.quiet(queues, pool, setting)
        if at_once and num_passes:
            rules.advance(queues, pool, setting, num_passes)
        for _ in range(0 if at_once else num_passes):
            decision = rules.schedule(queues, pool, setting)
            assert decision.decodes == queues.running
            assert not decision.chunks
            out(sampled(decision), queues, pool, setting)
        state = [(each.row, each.computed, each.generated, each.blocks) for each in queues.running]
        seen.append((num_passes, state, pool.num_free, round(queues.new_token_ratio or 0.0, 9)))
        decision = rules.schedule(queues, pool, setting)
        seen.append([(each.row, tokens, each.cached) for each, tokens in decision.chunks])
        out(sampled(decision), queues, pool, setting)
    return seen


def chosen(policy: Policy, choices: tuple[bool, bool, bool, bool]) -> Settings:
    chunked, ahead, caching, whole = choices
    return replace(
        SETTINGS, policy=policy, chunked_prefill=chunked, asynchronous=ahead, depth=1 + ahead, prefix_caching=caching,
        whole_prompts=whole, max_num_batched_tokens=20 if chunked else 50,
    )  # fmt: skip


def requests(load: Load) -> list[Sequence]:
    return [
        Sequence(row=row, prompt=prompt, output=output, arrival=0.0, contents=tuple(contents))
        for row, (prompt, output, contents) in enumerate(load)
    ]


def sampled(decision: Decision) -> list[Sequence]:
    """Those to whom the pass, just scheduled, gives a token: who computed the last one of its prompt waits for it."""
    return decision.decodes + [sequence for sequence, _ in decision.chunks if sequence.awaited]


def out(sequences: list[Sequence], queues: Queues, pool: BlockPool, setting: Settings) -> None:
    """The pass is done."""
    for sequence in sequences:
        sequence.awaited -= 1
        sequence.generated += 1
        if sequence.generated == sequence.output:
            POLICIES[setting.policy].finish(queues, pool, sequence)
