"""What holds of every server, whatever its scheduler guesses, prepares ahead, shares among ranks or is short of."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import topologies
from sim import models
from sim.deployment import Deployment, Policy, Speculation
from sim.frameworks import serving as frameworks
from sim.requests import Requests
from sim.serving.block_pool import BlockPool
from sim.serving.costs.forward import pass_costs
from sim.serving.defaults import settings
from sim.serving.memory import num_blocks
from sim.serving.record import CAUSES, Record
from sim.serving.scheduling import POLICIES, Decision
from sim.serving.sequence import Queues
from sim.serving.service import serve
from sim.serving.settings import Settings
from sim.serving.simulation import Server
from tests.pass_costs import Linear
from tests.scheduled import check
from tests.served import SMALL, ahead, alike, poisson, staged

KINDS = {
    "one by one": (SMALL, 1),
    "ahead": (ahead(SMALL), 1),
    "two stages": (staged(SMALL, 2), 2),
    "three stages, one pass at a time": (replace(ahead(SMALL), depth=3), 3),
}
GUESSES = st.builds(Speculation, tokens=st.integers(1, 8), acceptance=st.sampled_from([0.0, 0.5, 0.9, 1.0]))
COSTS = Linear(fixed=0.01, per_token=2e-5, per_key=1e-7, host_seconds=0.002, send=1e-4)


@pytest.mark.parametrize("policy", list(POLICIES))
@hypothesis_settings(max_examples=25)
@given(
    kind=st.sampled_from(list(KINDS)),
    guesses=st.none() | GUESSES,
    dp=st.sampled_from([1, 2]),
    room=st.sampled_from([24, 41, 2001]),
    budget=st.sampled_from([11, 33, 256]),
    users=st.sampled_from([None, 1, 7]),
    rate=st.sampled_from([5.0, 60.0]),
    seed=st.integers(0, 999),
    caching=st.booleans(),
)
def test_tokens_blocks_and_seconds_are_conserved(
    policy: Policy, kind: str, guesses: Speculation | None, dp: int, room: int, budget: int, users: int | None,
    rate: float, seed: int, *, caching: bool,
) -> None:  # fmt: skip
    config, num_stages = KINDS[kind]
    cuts = policy not in ("orca", "static", "trtllm-no-evict", "trtllm-max-utilization")
    config = replace(
        config, policy=policy, speculation=guesses, num_blocks=room, prefix_caching=caching, chunked_prefill=cuts,
        max_num_batched_tokens=budget if cuts else 300,
    )  # fmt: skip
    load = replace(beginning_alike(poisson(40, rate, seed)), concurrency=users)
    record = checked(load, config, replace(COSTS, num_stages=num_stages), dp)
    assert not record.refused
    assert_tokens_are_all_there(record, guesses)
    assert_seconds_add_up(record)
    if users is not None:
        assert (record.finished - record.sent).sum() <= users * record.duration + 1e-9


def checked(load: Requests, config: Settings, costs: Linear, dp: int) -> Record:
    """The record of the load, each of whose decisions is checked; at its end all blocks are free."""
    rules, pools = POLICIES[config.policy], dict[int, BlockPool]()

    def schedule(queues: Queues, pool: BlockPool, setting: Settings) -> Decision:
        decision = rules.schedule(queues, pool, setting)
        check(decision, queues, pool, setting)
        pools[id(pool)] = pool
        return decision

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(POLICIES, config.policy, replace(rules, schedule=schedule))
        record = serve(load, config, costs, dp=dp)
    assert len(pools) == dp
    assert all(pool.num_free == pool.num_blocks for pool in pools.values())
    return record


def assert_tokens_are_all_there(record: Record, guesses: Speculation | None) -> None:
    """Each prompt is computed, but for what the cache has of it, and each token of an answer but the last, which may
    come with others in a pass where they are guessed. More is computed only for who lost its blocks."""
    steps, requests = record.steps, record.requests
    further = requests.output - 1
    passes = further if guesses is None else -(-further // (1 + guesses.tokens))
    assert steps.prefill.min() >= 0
    assert steps.decodes.min() >= 0
    assert (steps.tokens == steps.prefill + steps.decodes).all()
    assert steps.used_blocks.min() >= 0
    assert steps.used_blocks.max() <= record.num_blocks
    assert passes.sum() <= record.gap_counts.sum() <= further.sum()
    least = (requests.prompt - record.cached + passes).sum()
    assert steps.tokens.sum() >= least
    if guesses is None and not record.preemptions.any():
        assert steps.tokens.sum() == least


def assert_seconds_add_up(record: Record) -> None:
    """Causes to latencies, gaps between tokens to the time from the first to the last."""
    assert record.gap_seconds.min(initial=0.0) >= 0
    answering = (record.finished - record.first_token).sum()
    assert (record.gap_seconds * record.gap_counts).sum() == pytest.approx(answering)
    assert record.first_causes.min() > -1e-9
    assert (record.causes - record.first_causes).min() > -1e-9
    np.testing.assert_allclose(record.causes.sum(axis=1), record.finished - record.sent, atol=1e-9)
    np.testing.assert_allclose(record.first_causes.sum(axis=1), record.first_token - record.sent, atol=1e-9)


def beginning_alike(load: Requests) -> Requests:
    """Three kinds of prompts, each of which the cache may know from others."""
    contents = tuple(
        tuple(range(row % 3 * 100, row % 3 * 100 + prompt // 16)) for row, prompt in enumerate(load.prompt.tolist())
    )
    return replace(load, contents=contents)


@pytest.mark.parametrize("users", [1, 3])
def test_no_more_requests_are_on_their_way_than_there_are_users(users: int) -> None:
    """As its clients see a server, who are far from it: throughput x mean latency is all of them [Little]."""
    model, cluster, deployment, framework = (
        models.load("llama3-8b"), topologies.load("dgx-h100"), Deployment(), frameworks.load("vllm"),
    )  # fmt: skip
    asked = model, cluster, deployment, framework
    memory = num_blocks(*asked)
    server = Server(
        settings=settings(deployment, framework, model, cluster, num_blocks=memory.num_blocks), memory=memory,
        costs=pass_costs(*asked), deployment=deployment, request_seconds=0.2,
    )  # fmt: skip
    record = server.play(replace(alike(4 * users, 128, 8), concurrency=users))
    assert (record.finished - record.sent).sum() == pytest.approx(users * record.duration, rel=1e-6)


def test_what_a_static_batch_waits_for_is_interference() -> None:
    """The short answer's second and last token is computed in the second of six passes, and is out with the batch's."""
    load = replace(alike(2, 10, 6), output=np.array([2, 6]))
    record = serve(load, replace(SMALL, policy="static", chunked_prefill=False), Linear(fixed=0.01))
    assert record.finished == pytest.approx(0.06)
    assert record.first_token == pytest.approx(0.01)
    further = record.causes[0] - record.first_causes[0]
    assert further[CAUSES.index("interference")] == pytest.approx(0.04)
    assert sorted(np.repeat(record.gap_seconds, record.gap_counts)) == pytest.approx([0.01] * 5 + [0.05])
