"""Prompts on replicas of their own: the cache goes over the wires, and the answer goes on where it arrives."""

from collections import deque
from dataclasses import replace

import numpy as np
import pytest

import topologies
from sim import models
from sim.deployment import Deployment, Layout
from sim.requests import Requests
from sim.serving.block_pool import BlockPool
from sim.serving.disaggregation import Apart
from sim.serving.record import CAUSES, Record
from sim.serving.scheduling.remote import enqueue, taken_in
from sim.serving.sequence import Queues, Sequence
from sim.serving.service import serve
from sim.serving.settings import Settings
from sim.serving.transfer import Ways, parts
from tests.pass_costs import Linear
from tests.served import SMALL, ahead, alike, poisson

LLAMA, DGX = models.load("llama3-70b"), topologies.load("dgx-h100", 32)
ROOMY = replace(SMALL, max_num_batched_tokens=8192, max_model_len=8192, num_blocks=2001)
NDR = 0.94 * 50e9
"""A NIC of 400 Gbit/s, less 6 % for headers."""


def ways(prefill: int = 1, decode: int = 1, replicas: int = 1, first: int = 8) -> Ways:
    """Prompts with tp `prefill`, which begin at the GPU `first`: of the nodes of 8, as the decoding ones fill them."""
    return Ways(
        model=LLAMA,
        cluster=DGX,
        prefill=Deployment(layout=Layout(tp=prefill), replicas=replicas),
        decode=Deployment(layout=Layout(tp=decode), replicas=first // decode),
    )


def apart(settings: Settings, costs: Linear, **said: object) -> Apart:
    return replace(Apart(settings=settings, costs=costs, ways=ways()), **said)


def played(requests: Requests, costs: Linear, other: Apart, settings: Settings = ROOMY, **said: bool) -> Record:
    return serve(requests, settings, costs, apart=other, **said)


@pytest.mark.parametrize("source", [(1, 1), (8, 1), (2, 2), (4, 1)])
@pytest.mark.parametrize("target", [(1, 1), (16, 1), (4, 2), (2, 3)])
@pytest.mark.parametrize("model", ["llama3-70b", "deepseek-v3", "gpt-oss-120b"])
def test_every_gpu_that_decodes_gets_its_heads_of_its_layers_once(
    model: str, source: tuple[int, int], target: tuple[int, int]
) -> None:
    """Of Llama 3 70B 80 layers x 8 heads x 128 x keys and values x 2 bytes are 320 KiB a token; with 16 ranks there are
    two of each head. A latent is on every rank."""
    one, other = (Deployment(layout=Layout(tp=tp, pp=pp)) for tp, pp in (source, target))
    loaded = models.load(model)
    found = parts(loaded, one, other, 512)
    for gpu in range(other.layout.num_gpus):
        assert any(message.target == gpu for message in found)
    total = sum(message.nbytes for message in found)
    assert total == pytest.approx(Ways(model=loaded, cluster=DGX, prefill=one, decode=other).nbytes(512))
    if model == "llama3-70b":
        assert total == 512 * 320 * 1024 * max(1, target[0] // 8)
        by_gpu = np.bincount([each.target for each in found], [each.nbytes for each in found])
        assert by_gpu.max() == pytest.approx(total / other.layout.num_gpus, rel=0.02)


def test_a_prompt_of_4096_tokens_takes_29_ms_over_a_400_gigabit_nic() -> None:
    """1.25 GiB at 47 GB/s; with tp = 8 on both sides an eighth of it over each of eight NICs."""
    single, eight = ways().flow(0, 0, 4096), ways(8, 8).flow(0, 0, 4096)
    assert single.seconds - single.latency == pytest.approx(4096 * 320 * 1024 / NDR)
    assert eight.seconds - eight.latency == pytest.approx(4096 * 320 * 1024 / NDR / 8)
    assert ways(1, 1, first=1).flow(0, 0, 4096).seconds < single.seconds / 5


def test_the_first_token_comes_a_prompt_a_transfer_and_a_pass_after_the_request() -> None:
    """vLLM computes the last token of the prompt again where it decodes: 1 s there, 2 s here, 10 s between them."""
    flow = ways().flow(0, 0, 1000)
    record = played(alike(1, 1000, 3), Linear(fixed=2.0), apart(ROOMY, Linear(fixed=1.0), relay=10.0))
    assert record.first_token[0] == pytest.approx(1 + 10 + flow.seconds + 2)
    assert record.finished[0] == pytest.approx(1 + 10 + flow.seconds + 2 * 3)
    causes = dict(zip(CAUSES, record.causes[0], strict=True))
    assert causes["transfer"] == pytest.approx(flow.seconds)
    assert causes["host"] == pytest.approx(10)
    assert record.prefill is not None
    assert record.prefill.nbytes.tolist() == [1000 * 320 * 1024]
    assert record.prefill.stage_busy.tolist() == [[1.0]]
    assert (record.scheduled[0], record.replica[0], set(record.steps.replica)) == (0.0, 0, {0, 1})


def test_sglang_sends_the_first_token_with_the_cache() -> None:
    sglang = replace(ROOMY, policy="sglang")
    flow = ways().flow(0, 0, 1000)
    record = played(alike(2, 1000, 2, 100.0), Linear(fixed=2.0), apart(sglang, Linear(fixed=1.0)), sglang)
    assert record.first_token == pytest.approx(record.sent + 1 + flow.seconds)
    assert record.finished == pytest.approx(record.first_token + 2)
    single = played(alike(1, 1000, 1), Linear(fixed=2.0), apart(sglang, Linear(fixed=1.0)), sglang)
    assert single.finished[0] == single.first_token[0]


@pytest.mark.parametrize(("decoding", "times"), [(1, 2), (2, 1)])
def test_two_caches_over_one_nic_take_twice_as_long(decoding: int, times: int) -> None:
    """Two replicas for prompts, with a NIC each, are done at once. One that decodes has one NIC; two have two."""
    flow = ways().flow(0, 0, 1000)
    other = apart(ROOMY, Linear(fixed=1.0), ways=ways(replicas=2), replicas=2)
    record = serve(alike(2, 1000, 2), ROOMY, Linear(fixed=2.0), replicas=decoding, apart=other)
    assert record.prefill is not None
    assert record.prefill.seconds == pytest.approx(flow.latency + times * (flow.seconds - flow.latency))


@pytest.mark.parametrize("settings", [SMALL, ahead(SMALL), replace(SMALL, policy="sglang")])
def test_a_stretch_is_cut_where_a_cache_comes_and_everything_adds_up(settings: Settings) -> None:
    """Stepping over quiet passes changes nothing, though blocks run out on both sides; all is answered, all blocks are
    free again, and causes sum to the latency."""
    load, costs = poisson(60, 20.0, 1, prompt=600), Linear(fixed=0.01, per_token=1e-4)
    settings = replace(settings, num_blocks=81)
    one, other = (
        played(load, costs, apart(replace(settings, asynchronous=False, depth=1), costs), settings, stretches=stretches)
        for stretches in (True, False)
    )
    for name in ("scheduled", "first_token", "finished", "causes", "stage_busy"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-9)
    assert one.preemptions.sum() > 0 or settings.policy == "sglang"
    np.testing.assert_allclose(one.causes.sum(axis=1), one.finished - one.sent, atol=1e-9)
    np.testing.assert_allclose(one.first_causes.sum(axis=1), one.first_token - one.sent, atol=1e-9)
    decoded = one.steps.decodes[one.steps.replica == 0].sum()
    assert decoded <= load.output.sum()


def test_prompts_apart_disturb_nobody_who_decodes() -> None:
    """Beside prompts, the slowest gaps are as long as a pass with one; apart, as a pass of decodes. The first token is
    later by the transfer and a pass."""
    load, costs = poisson(80, 2.0, 3, prompt=2000), Linear(fixed=0.01, per_token=1e-4)
    beside = serve(load, ROOMY, costs)
    away = played(load, costs, apart(ROOMY, costs))
    assert away.gap_seconds.max() < 0.03 < beside.gap_seconds.max()
    assert np.mean(away.first_token - beside.first_token) > 0


def test_blocks_are_taken_first_come_first_and_behind_whoever_was_preempted() -> None:
    queues, pool = Queues(), BlockPool(10, 16)
    coming = [Sequence(row=row, prompt=80, output=2, arrival=0.0) for row in range(3)]
    arriving = deque(coming)
    assert taken_in(arriving, queues, pool, SMALL) == coming[:2]
    assert (pool.num_free, [each.blocks for each in coming]) == (0, [5, 5, 0])
    lost = Sequence(row=9, prompt=16, output=2, arrival=0.0)
    queues.waiting.append(lost)
    enqueue(queues, coming[1])
    enqueue(queues, coming[0])
    assert list(queues.waiting) == [coming[1], coming[0], lost]
    pool.free(coming[1])
    assert taken_in(arriving, queues, pool, SMALL) == []
