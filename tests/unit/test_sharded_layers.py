"""Each sharded block gives on every rank what its unsharded reference gives there, forward and backward."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from calibrate.sharded import (
    attention,
    collectives,
    compression,
    flash,
    linear,
    mlp,
    moe,
    ring_attention,
    sequence_parallel,
    ulysses,
)
from calibrate.sharded.block import Block, Recorder, Shard
from calibrate.sharded.compression import SUM
from calibrate.verification.sizes import Sizes
from tests.sharded import difference_of, on_ranks, relative_difference

EXACT: tuple[Block, ...] = (
    *linear.BLOCKS,
    *attention.BLOCKS,
    *mlp.BLOCKS,
    *sequence_parallel.BLOCKS,
    *ring_attention.BLOCKS,
    *ulysses.BLOCKS,
    *moe.BLOCKS,
)
(INT8,) = compression.BLOCKS
ALL = (*EXACT, INT8)
pytestmark = pytest.mark.timeout(300)  # each process imports PyTorch

SIZES = Sizes(micro_batch=2, seq_len=32)
STEPS = 8

Checked = tuple[dict[str, float], dict[str, float], tuple[float, float], dict[str, float]]
"""Differences in fp32, in bf16, of sums in int8, and of blocks without a collective."""


def differences(shard: Shard) -> dict[str, float]:
    return {block.name: difference_of(block, shard, SIZES) for block in ALL}


def means(shard: Shard) -> tuple[float, float]:
    """How far the sums in int8 are from the true one: that of one step, and the mean of several."""
    step, expected = INT8.prepare(shard, SIZES), INT8.reference(shard, SIZES)[SUM]
    sums = [step()[SUM] for _ in range(STEPS)]
    return relative_difference(sums[0], expected), relative_difference(torch.stack(sums).mean(0), expected)


def all_checked(shard: Shard) -> Checked:
    """Everything that two processes are asked, in one start of them: it is the start that takes time."""
    narrow = replace(shard, dtype=torch.bfloat16)
    return differences(shard), differences(narrow), means(shard), mutated(shard)


def mutated(shard: Shard) -> dict[str, float]:
    """How far each block is from its reference when one collective does nothing: by the collective's name."""
    found = {}
    for name, (block, broken) in MUTATIONS.items():
        kept = {module: getattr(module, name) for module in MODULES if hasattr(module, name)}
        for module in kept:
            setattr(module, name, broken)
        found[name] = max((difference_of(one, shard, SIZES) for one in EXACT if one.name == block), default=math.nan)
        for module, original in kept.items():
            setattr(module, name, original)
    return found


MODULES = (collectives, linear, sequence_parallel, ring_attention, ulysses, moe)
Broken = Callable[..., object]
MUTATIONS: dict[str, tuple[str, Broken]] = {
    "all_reduce": ("column-parallel linear", lambda x, shard, name: x),
    "summed": ("row-parallel linear", lambda x, shard, name: x),
    "reduce_scatter": ("sequence parallelism", lambda x, shard, name: x.chunk(shard.num_ranks)[shard.rank]),
    "all_gather": ("sequence parallelism", lambda x, shard, name: torch.cat([x] * shard.num_ranks)),
    "summed_gradient": ("sequence parallelism", lambda weight, shard, name: weight),
    "exchange": ("ring attention", lambda x, shard, stream, name, hop=1: lambda: x),
    "all_to_all": ("ulysses", lambda x, shard, name: x),
}


@pytest.fixture(scope="module")
def of_two_ranks(
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Checked]:
    return on_ranks(all_checked, 2, tmp_path_factory.mktemp("ranks"))


@pytest.mark.slow
def test_every_block_is_what_one_process_makes_of_the_whole(of_two_ranks: list[Checked]) -> None:
    for found, *_ in of_two_ranks:
        assert {name: found[name] for name in found if found[name] >= tolerance(name, torch.float32)} == {}


@pytest.mark.slow
def test_in_bf16_it_is_that_but_for_rounding(of_two_ranks: list[Checked]) -> None:
    for _, found, *_ in of_two_ranks:
        assert {name: found[name] for name in found if found[name] >= tolerance(name, torch.bfloat16)} == {}


@pytest.mark.slow
@pytest.mark.parametrize("collective", MUTATIONS)
def test_without_one_of_its_collectives_a_block_is_far_off(collective: str, of_two_ranks: list[Checked]) -> None:
    assert max(broken[collective] for *_, broken in of_two_ranks) > 0.1


@pytest.mark.slow
def test_what_rounding_to_int8_leaves_out_comes_later(of_two_ranks: list[Checked]) -> None:
    """Of a gradient that stays the same, the sums of T steps miss only what the last one left out: their mean is T
    times nearer to the true sum than one step may be."""
    bound = INT8.tolerance(torch.float32)
    for _, _, (first, mean), _ in of_two_ranks:
        assert bound / 20 < first < bound
        assert mean < bound / STEPS


@pytest.mark.slow
def test_so_it_is_on_four_ranks(tmp_path: Path) -> None:
    for found in on_ranks(differences, 4, tmp_path):
        assert {name: found[name] for name in found if found[name] >= tolerance(name, torch.float32)} == {}


def tolerance(name: str, dtype: torch.dtype) -> float:
    return next(block.tolerance(dtype) for block in ALL if block.name == name)


@pytest.mark.parametrize("block", ALL, ids=lambda block: block.name)
def test_a_block_says_why_ranks_cannot_share_it(block: Block) -> None:
    assert block.fits(SIZES, 2) == ""
    indivisible = Sizes(seq_len=30, heads=3, head_dim=11, ffn=97, num_experts=5)
    assert "4 ranks" in block.fits(indivisible, 4)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("causal", [True, False])
def test_scores_in_memory_give_what_the_flash_kernel_gives(causal: bool) -> None:
    """On a GPU fp32 has no flash kernel, so that blocks are checked with this."""
    q, k, v, gradient = (drawn(2, 3, 16, 8) + shift for shift in (0.0, 0.1, 0.2, 0.3))
    output, lse = flash.forward(q, k, v, causal=causal)
    assert output.allclose(functional.scaled_dot_product_attention(q, k, v, is_causal=causal), atol=1e-6)
    for made, expected in zip(flash.unfused_forward(q, k, v, causal=causal), (output, lse), strict=True):
        assert made.allclose(expected, atol=1e-5)
    unfused = flash.unfused_backward(gradient, q, output, lse, k, v, causal=causal)
    for made, expected in zip(unfused, flash.backward(gradient, q, output, lse, k, v, causal=causal), strict=True):
        assert made.allclose(expected, atol=1e-5)


def test_the_kernel_of_a_gpu_takes_what_it_is_given() -> None:
    """Tensors without numbers: PyTorch checks the arguments of the GPU's kernel, forward and backward."""
    q = torch.empty(2, 3, 16, 64, dtype=torch.bfloat16, device="meta")
    k = q[:, :, :8]
    output, lse = flash.forward(q, k, k, causal=False)
    assert (output.shape, lse.shape) == (q.shape, q.shape[:3])
    gradients = flash.backward(output, q, output, lse, k, k, causal=False)
    assert [gradient.shape for gradient in gradients] == [q.shape, k.shape, k.shape]


def test_a_value_in_int8_is_off_by_half_a_step_at_most() -> None:
    """The scale of a block is max / 127; its largest value comes out as it went in, zeros as zeros."""
    values = torch.cat((drawn(256) * 1000, drawn(256), torch.zeros(256)))
    packed = compression.quantised(values)
    assert (packed.shape, packed.dtype) == ((3, 260), torch.uint8)
    found = compression.dequantised(packed)
    for block, made in zip(values.view(3, -1), found.view(3, -1), strict=True):
        assert (block - made).abs().max() <= block.abs().max() / 254 * 1.0001
        assert made.abs().max() == pytest.approx(float(block.abs().max()))


def test_a_recorder_notes_while_it_is_on() -> None:
    recorder = Recorder(rank=1, device=torch.device("cpu"))
    with recorder.span("compute", "not seen"):
        pass
    recorder.is_on = True
    recorder.begin()
    with recorder.span("tp", "outer"), recorder.span("compute", "inner"):
        pass
    inner, outer = recorder.spans
    assert [(span.rank, span.stream, span.name) for span in (inner, outer)] == [
        (1, "compute", "inner"),
        (1, "tp", "outer"),
    ]
    assert 0 <= outer.start <= inner.start <= inner.end <= outer.end


def test_on_a_gpu_a_span_lies_between_two_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events at 10, 12 and 15 ms: a span from 2 to 5 ms after the beginning. Nobody waits until all is done."""
    moments, waited = iter((10.0, 12.0, 15.0)), []
    monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: Event(next(moments)))
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    recorder = Recorder(rank=0, device=torch.device("cuda"), is_on=True)
    recorder.begin()
    with recorder.span("compute", "kernel"):
        pass
    assert not waited
    (span,) = recorder.spans
    assert (span.start, span.end) == pytest.approx((0.002, 0.005))
    assert len(waited) == 1


@dataclass(frozen=True)
class Event:
    moment: float

    def record(self) -> None:
        pass

    def elapsed_time(self, end: "Event") -> float:
        return end.moment - self.moment
