"""Latent attention in a pass: decodes read small caches, prompts make keys and values again."""

from dataclasses import replace

import numpy as np
import pytest

import topologies
from sim import models
from sim.deployment import Deployment, Layout, Speculation
from sim.frameworks import serving
from sim.models import LayerKind
from sim.serving.costs.forward import pass_costs
from sim.serving.costs.latent import latent_core
from sim.serving.costs.parts import Rank
from sim.serving.passes import Shape

H100 = topologies.load("dgx-h100")
LITE = models.load("deepseek-v2-lite")
V3 = replace(models.load("deepseek-v3"), num_layers=4)
VLLM = serving.load("vllm-0.19")


def rank(tp: int, **said: object) -> Rank:
    deployment = Deployment(layout=Layout(tp=tp), **said)  # type: ignore[arg-type]
    return Rank(model=V3, cluster=H100, gpus=tuple(range(tp)), deployment=deployment, framework=VLLM)


def decoded(of: Rank, contexts: list[float]) -> list[float]:
    lengths = np.array(contexts)
    return [float(one) for one in latent_core(of, LayerKind()).decodes(np.full_like(lengths, 32.0), lengths, None)]


def test_every_cached_token_of_a_decode_costs_the_same() -> None:
    one, two, three = decoded(rank(8), [10_000, 20_000, 30_000])
    assert three - two == pytest.approx(two - one)


def test_with_many_heads_products_bind_and_with_few_the_bytes() -> None:
    """3.2e6 tokens: with 128 heads 2 x 128 x 1088 FLOPs each at 660e12; with 64, or 16, 1,152 bytes each at 3e12."""
    whole, half, eighth = (decoded(rank(tp), [100_000])[0] for tp in (1, 2, 8))
    assert whole == pytest.approx(3.2e6 * 2 * 128 * 1088 / 660e12, rel=0.02)
    assert half == pytest.approx(3.2e6 * 1152 / 3e12, rel=0.02)
    assert eighth == pytest.approx(half, rel=0.02)


def test_proposed_tokens_are_verified_by_more_rows_on_the_same_latents() -> None:
    """128 heads are bound by products: three more rows a head are four times the time. Grouped heads only read."""
    plain, proposed = rank(1), rank(1, speculation=Speculation(tokens=3, acceptance=0.8))
    assert decoded(proposed, [100_000])[0] == pytest.approx(4 * decoded(plain, [100_000])[0], rel=0.01)


def test_a_chunk_projects_again_what_is_cached_before_it() -> None:
    """512 new tokens after 32,768: keys and values of all of these are made again, 2 x 32768 x 512 x 32768 FLOPs."""
    core = latent_core(rank(1), LayerKind())
    one = np.ones(1)
    after, first = (float(core.chunks(one, 512 * one, cached * one)[0]) for cached in (32768.0, 0.0))
    assert after - first > 2 * 32768 * 512 * 128 * 256 / 989e12


def test_every_stage_of_a_latent_model_has_its_parts() -> None:
    costs = pass_costs(LITE, H100, Deployment(layout=Layout(tp=2, pp=2)), VLLM)
    first, last = costs.stages(Shape(8, 8000, ((512, 0),), 9))
    assert min(first.compute, first.attention, first.prefill, first.tp, first.send) > 0
    assert last.send == 0
