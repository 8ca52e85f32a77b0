"""Attention over decodes of unequal lengths, from the longest context beside the mean."""

import numpy as np
import pytest

import topologies
from sim import models
from sim.costs.attention import paged_decode
from sim.deployment import Deployment
from sim.frameworks import serving
from sim.serving.costs.attention import LENGTHS, decode_rows
from sim.serving.costs.decoding import Decoding
from sim.serving.costs.forward import Forward, pass_costs
from sim.serving.costs.skew import MEANS, RATIOS, skews
from sim.serving.passes import PassCosts, Shape
from tests.pass_costs import one_by_one

MODEL = models.load("llama3-8b")


def costs_on(gpu: str) -> PassCosts:
    cluster = topologies.build(gpu=gpu, gpus_per_node=1, nodes=1)
    return pass_costs(MODEL, cluster, Deployment(), serving.load("vllm"))


def attention(costs: PassCosts, lengths: list[int], longest: int) -> float:
    shape = Shape(len(lengths), sum(lengths), (), len(lengths), longest)
    return costs.stages(shape)[0].attention


@pytest.mark.parametrize("gpu", ["a100-80gb-sxm", "h100-80gb-sxm", "rtx-4090"])
def test_the_longest_context_tells_what_unequal_lengths_cost(gpu: str) -> None:
    """Within 15 % of the law with every length, of chats, of a few long ones, and of one of 131k among short ones."""
    costs, random = costs_on(gpu), np.random.default_rng(1)
    chats = [[int(one) + 1 for one in random.lognormal(7, sigma, count)] for sigma in (0.5, 1.2) for count in (16, 64)]
    for lengths in (*chats, [8192] * 4 + [256] * 28, [131072] + [512] * 31):
        heads = {"num_heads": 32, "num_kv_heads": 8, "head_dim": 128}
        told = 32 * paged_decode(topologies.gpu(gpu), tuple(lengths), **heads)
        assert attention(costs, lengths, max(lengths)) == pytest.approx(told, rel=0.15)


def test_equal_lengths_cost_what_they_cost_without_a_longest() -> None:
    costs = costs_on("a100-80gb-sxm")
    assert attention(costs, [3000] * 40, 3000) == pytest.approx(attention(costs, [3000] * 40, 0), rel=1e-12)


def test_a_longer_longest_context_never_costs_less() -> None:
    costs = costs_on("a100-80gb-sxm")
    times = [attention(costs, [2000] * 64, longest) for longest in range(2000, 100_000, 3000)]
    assert times == pytest.approx(np.maximum.accumulate(times), rel=0.02)
    assert times[-1] > 2 * times[0]


def test_consecutive_decodes_of_unequal_lengths_equal_one_after_the_other() -> None:
    costs = costs_on("a100-80gb-sxm")
    many = one_by_one(costs.decodes(7, 7 * 900, 200, 4000))
    single = [costs.stages(Shape(7, 7 * (900 + at), (), 7, 4000 + at)) for at in range(200)]
    assert np.array(many) == pytest.approx(np.array(single), rel=1e-12)


@pytest.mark.parametrize(
    ("mean", "longest"),
    [(900.5, 4000), (30.25, 40), (3.0, 900), (5000.0, 5000), (70.0, 60), (6e5, 700_000), (4095.5, 3_000_000), (900, 0)],
)
def test_decodes_lie_on_straight_lines_between_the_points_of_the_tables(mean: float, longest: int) -> None:
    """Of lengths, times those of the mean and of the longest over it; beyond their ends factors are held."""
    random = np.random.default_rng(2)
    row = np.add.accumulate(random.random(len(LENGTHS)) * 1e-6)
    factors = np.column_stack([np.ones(len(MEANS)), 1 + random.random((len(MEANS), len(RATIOS) - 1))])
    found = Decoding(row.tolist(), factors.tolist()).seconds(mean, longest, 300)
    assert len(found) == 300
    for step, seconds in enumerate(found):
        length, ratio = mean + step, (longest + step) / (mean + step) if longest else 1.0
        by_mean = [np.interp(ratio, RATIOS, line) for line in factors]
        told = np.interp(length, LENGTHS, row) * np.interp(length, MEANS, by_mean)
        assert seconds == pytest.approx(told, rel=1e-12)


@pytest.mark.parametrize("num_decodes", [1, 16, 17, 40])
def test_tables_of_many_numbers_of_decodes_are_those_of_each(num_decodes: int) -> None:
    costs = costs_on("h100-80gb-sxm")
    assert isinstance(costs, Forward)
    (core,) = costs.cores
    alone, number = core.decodes(num_decodes), np.array([float(num_decodes)])
    assert np.array(alone.row) == pytest.approx(decode_rows(core.cores, number)[0], rel=1e-12)
    assert np.array(alone.skews) == pytest.approx(skews(core.cores, number)[0], rel=1e-12)
