"""Weights of few bits in a pass: fewer bytes to read, the same products."""

import numpy as np
import pytest

import topologies
from sim import models
from sim.costs.expert_routing import expected_load
from sim.costs.grouped_gemm import expert_layer
from sim.deployment import Deployment, Layout, WeightPrecision
from sim.frameworks import serving
from sim.serving.costs.formats import bytes_per_number, expert_format, product_format
from sim.serving.costs.forward import pass_costs
from sim.serving.passes import Shape

H100 = topologies.load("dgx-h100")
A100 = topologies.load("dgx-a100")
VLLM = serving.load("vllm-0.19")


def layer(kind: str, tokens: float) -> float:
    load = expected_load(np.array([tokens]), np.full((1, 8), 2 / 8))
    column = type(load)(rows=load.rows[:, 0], active=load.active[:, 0], tiles=tuple(each[:, 0] for each in load.tiles))
    seconds = expert_layer(
        H100.gpu, column, np.array([tokens]), hidden=6144, width=16384, num_experts=8, precision=kind
    )
    return float(seconds[0])


def test_experts_of_few_bits_take_the_time_of_their_bytes_and_that_of_the_kernels() -> None:
    """16 tokens of Mixtral 8x22B meet 8 x 3 x 6144 x 16384 weights: 4.8 GB in 16 bits, 1.2 in int4, 0.04 of scales."""
    saved = layer("bf16", 16) - layer("int4_weight", 16)
    assert saved > 0.9 * (4.83e9 - 1.25e9) / 3.35e12
    assert 0.26 < layer("int4_weight", 16) / layer("bf16", 16) < 0.4
    assert 0.5 < layer("int8_weight", 16) / layer("bf16", 16) < 0.6


def test_with_many_tokens_unpacked_weights_gain_nothing() -> None:
    assert layer("int4_weight", 16384) > layer("bf16", 16384)


def test_only_experts_are_in_mxfp4() -> None:
    gpt_oss, llama = models.load("gpt-oss-120b"), models.load("llama3-8b")
    assert expert_format(H100.gpu, "mxfp4") == "mxfp4_weight"
    assert product_format(H100.gpu, "mxfp4", gpt_oss) == "bf16"
    assert product_format(H100.gpu, "mxfp4", llama) == "mxfp4_weight"
    assert bytes_per_number("mxfp4_weight") == 0.5 + 1 / 32


@pytest.mark.parametrize(("weights", "there", "elsewhere"), [("fp8", "fp8", "int8_weight"), ("bf16", "bf16", "bf16")])
def test_a_gpu_that_does_not_multiply_a_format_unpacks_it(weights: WeightPrecision, there: str, elsewhere: str) -> None:
    assert (expert_format(H100.gpu, weights), expert_format(A100.gpu, weights)) == (there, elsewhere)


def test_a_model_of_a_trillion_parameters_decodes_from_four_bits_on_sixteen_a100() -> None:
    """32 tokens meet most of the 1e12 weights: 120 GB of a GPU's, or 34 in int4."""
    kimi, cluster = models.load("kimi-k2"), topologies.load("dgx-a100", num_gpus=16)
    shape = Shape(32, 32768, (), 32)
    int4, bf16 = (
        sum(stage.compute for stage in pass_costs(kimi, cluster, each, VLLM).stages(shape))
        for each in (Deployment(layout=Layout(tp=8, pp=2, ep=8), weights=weights) for weights in ("int4", "bf16"))
    )
    assert int4 < 0.5 * bf16
