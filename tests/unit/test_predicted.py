"""Blocks as the simulator plays them: the products and collectives that real ones have, on GPUs and on a processor."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import topologies
from calibrate.machines.machine import cluster_of
from calibrate.verification.ladder import LADDER, fitted, sizes_for
from calibrate.verification.predicted import PIPELINES, PLANS, predicted
from calibrate.verification.sizes import Sizes
from sim.costs.collectives import all_reduce, alone
from sim.costs.collectives.gloo import LAW, OPERATIONS
from sim.costs.gemm import product
from sim.costs.law import starting_fit
from sim.costs.memory_bound import step
from sim.layers import head
from sim.timeline import Timeline, breakdown
from tests.processor import CPU
from tests.programs import with_node
from topologies.hardware import Cluster, Gpu

NAMES = (
    "column-parallel linear",
    "row-parallel linear",
    "tensor-parallel attention",
    "tensor-parallel mlp",
    "sequence parallelism",
    "ring attention",
    "ulysses",
    "expert parallelism",
    "pipeline gpipe",
    "pipeline 1f1b",
    "pipeline interleaved",
    "data parallel",
    "zero 1",
    "zero 2",
    "zero 3",
    "int8 gradients",
)
LARGE = Sizes(seq_len=4096, heads=32, head_dim=128, ffn=14336, num_experts=8)


def gpus(count: int) -> Cluster:
    """So many H100s of one node."""
    return with_node(topologies.load("dgx-h100", 8), num_gpus=count, num_nics=count)


def names_of(timeline: Timeline) -> list[str]:
    """What the first rank ran on its compute stream, in order."""
    first = [
        timeline.labels[label].name for label, track in zip(timeline.label, timeline.track, strict=True) if not track
    ]
    return [name for name in first if name != "bubble"]


def test_the_blocks_have_the_names_and_the_order_that_results_promise() -> None:
    assert tuple(PLANS) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_ranks", [2, 4])
def test_every_block_can_be_played_on_gpus(name: str, num_ranks: int) -> None:
    timeline = predicted(name, fitted(LADDER[-1], num_ranks), gpus(num_ranks))
    assert timeline.duration > 0
    assert {track.rank for track in timeline.tracks} == set(range(num_ranks))


@pytest.mark.parametrize("name", NAMES)
def test_every_block_can_be_played_on_a_processor(name: str) -> None:
    assert predicted(name, fitted(LADDER[0], 2), cluster_of(CPU, {})).duration > 0


def test_a_column_parallel_linear_takes_its_three_products_and_one_sum() -> None:
    """On two processes: (4096 x 4096)(4096 x 7168) forward, the gradients of input and weight, and the sum of the
    input's 4096 x 4096 gradients of 2 bytes."""
    cluster = cluster_of(CPU, {})
    tokens, hidden, part = 4096, LARGE.hidden, LARGE.ffn // 2
    cold = partial(product, cluster.gpu, precision="bf16", cold_weights=True)
    forward = cold(tokens, part, hidden)
    of_input = cold(tokens, hidden, part, layout="input_gradient")
    of_weight = cold(part, hidden, tokens, layout="weight_gradient", output_nbytes=4)
    summed = alone(cluster, all_reduce(cluster, (0, 1), 2.0 * tokens * hidden))
    timeline = predicted("column-parallel linear", LARGE, cluster)
    assert timeline.duration == pytest.approx(forward + of_input + summed + of_weight)
    assert names_of(timeline) == [
        "linear forward",
        "linear input gradient",
        "linear input gradient sum",
        "linear weight gradient",
    ]


def test_more_ranks_share_the_products_of_a_tensor_parallel_block() -> None:
    two, four = (predicted("tensor-parallel mlp", LARGE, gpus(count)).duration for count in (2, 4))
    assert 0.5 < four / two < 0.7


def test_gpipe_and_1f1b_take_as_long_and_interleaving_shortens_the_bubble() -> None:
    gpipe, one_f_one_b, interleaved = (predicted(name, LARGE, gpus(2)) for name in PIPELINES)
    assert gpipe.duration == pytest.approx(one_f_one_b.duration, rel=1e-2)
    assert breakdown(interleaved)["bubble"] < 0.7 * breakdown(one_f_one_b)["bubble"]


@pytest.mark.parametrize("name", [*PIPELINES, "data parallel"])
def test_a_block_without_an_optimizer_ends_with_gradients(name: str) -> None:
    timeline = predicted(name, LARGE, gpus(2))
    assert not {"optimizer", "host", "gradient norm"} & {label.name for label in timeline.labels}
    assert (breakdown(timeline)["exposed_dp"] > 0) == (name == "data parallel")


@pytest.mark.parametrize("name", ["zero 1", "zero 2", "zero 3"])
def test_zero_ends_with_a_step_of_the_optimizer(name: str) -> None:
    assert breakdown(predicted(name, LARGE, gpus(2)))["optimizer"] > 0


def test_each_norm_of_a_layer_cut_along_the_sequence_has_its_gradient_summed() -> None:
    names = names_of(predicted("sequence parallelism", LARGE, gpus(2)))
    assert names[-2:] == ["mlp norm gradient sum", "attention norm gradient sum"]


def test_a_host_that_starts_kernels_slowly_is_waited_for() -> None:
    """Three products and a sum, each started in a second."""
    timeline = predicted("row-parallel linear", LARGE, gpus(2), launch_seconds=1.0)
    assert timeline.duration == pytest.approx(4.0, rel=1e-6)


def test_int8_gradients_are_quantised_sent_summed_and_gathered() -> None:
    assert names_of(predicted("int8 gradients", LARGE, gpus(2))) == [
        "gradient quantise",
        "int8 gradient exchange",
        "int8 gradient sum",
        "gradient quantise",
        "int8 gradient gather",
        "gradient dequantise",
    ]


def test_int8_is_as_wide_on_a_processor_as_on_a_gpu() -> None:
    """Of a quarter of the bytes of fp32 on the wire, and of the scales; not of twice that."""
    cluster = cluster_of(CPU, {})
    timeline = predicted("int8 gradients", LARGE, cluster)
    (sent,) = (
        end - start
        for label, track, start, end in zip(timeline.label, timeline.track, timeline.start, timeline.end, strict=True)
        if timeline.labels[label].name == "int8 gradient exchange" and track == 0
    )
    nbytes = LARGE.hidden * LARGE.ffn * (1 + 4 / 256)
    points = {"operation": OPERATIONS.index("all_to_all"), "num_gpus": 2, "nbytes": nbytes}
    columns = {name: np.array([float(value)]) for name, value in points.items()}
    assert sent == pytest.approx(float(LAW.seconds(cluster, starting_fit(LAW).values, columns)[0]))


def test_what_a_processor_computes_is_fp32_already_when_the_loss_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cast: 8 passes over 2 bytes, which stand for 4, a logit. On a GPU a cast, and 8 passes over 4."""
    moved: list[float] = []
    cast = step.cross_entropy_forward

    def noted(gpu: Gpu, num_logits: float, logits_nbytes: int) -> float:
        moved.append(logits_nbytes)
        return cast(gpu, num_logits, logits_nbytes)

    monkeypatch.setattr(head, "cross_entropy_forward", noted)
    predicted("data parallel", fitted(LADDER[0], 2), cluster_of(CPU, {}))
    predicted("data parallel", fitted(LADDER[0], 2), gpus(2))
    assert set(moved) == {2, 4}
    assert moved[0] == 2


def test_sizes_grow_with_the_machine_until_a_repetition_takes_long() -> None:
    slow, fast = cluster_of(CPU, {}), gpus(2)
    for name in ("tensor-parallel attention", "pipeline 1f1b"):
        assert sizes_for(name, slow).hidden < sizes_for(name, fast).hidden
    assert sizes_for("tensor-parallel attention", fast).hidden == LADDER[-1].hidden


def test_sizes_are_such_that_all_ranks_can_share_them() -> None:
    sizes = fitted(replace(LADDER[0], num_experts=4), 6)
    assert (sizes.heads, sizes.seq_len, sizes.ffn) == (6, 132, 258)
    assert (sizes.num_layers, sizes.num_microbatches, sizes.num_experts) == (12, 12, 6)
