"""Replicas with sharded gradients, optimizer and weights come to what one model comes to on all their microbatches."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch

from calibrate.sharded import ddp, fsdp, llama, zero
from calibrate.sharded.block import ROUNDING, Block, Shard
from calibrate.sharded.flat import flatten, taken_gradients, unflatten, when_all_have_gradients
from calibrate.sharded.share import EPSILON, RATE, adamw_of, step
from calibrate.verification.sizes import Sizes
from calibrate.verification.spans import RealSpan
from tests.sharded import difference_of, largest_difference, on_ranks

SIZES = Sizes(seq_len=16, heads=2, head_dim=16, ffn=48, vocab=64, num_layers=3, num_microbatches=2)
NUM_PARTS = 5
"""Embedding, three layers, head."""
BLOCKS = (*ddp.BLOCKS, *zero.BLOCKS)
NAMES = tuple(block.name for block in BLOCKS)


class Checked(NamedTuple):
    """What one rank found: of each block its distance from the reference in fp32 and bf16, of a second step's gradients
    from the first's, and the second's spans; and the bytes of weights that FSDP holds between two passes."""

    differences: Mapping[str, float]
    in_bf16: Mapping[str, float]
    again: Mapping[str, float]
    spans: Mapping[str, list[RealSpan]]
    held_nbytes: int


def checked(shard: Shard) -> Checked:
    differences = {block.name: difference_of(block, shard, SIZES) for block in BLOCKS}
    narrow = replace(shard, dtype=torch.bfloat16)
    in_bf16 = {block.name: difference_of(block, narrow, SIZES) for block in BLOCKS}
    again, spans = {}, {}
    shard.recorder.is_on = True
    for block in BLOCKS:
        step = block.prepare(shard, SIZES)
        first = {name: tensor.clone() for name, tensor in step().items()}
        shard.recorder.begin()
        again[block.name] = largest_difference(step(), first)
        spans[block.name] = shard.recorder.spans
    return Checked(differences, in_bf16, again, spans, held_nbytes(shard))


def held_nbytes(shard: Shard) -> int:
    units = [fsdp.unit_of(shard, part) for part in llama.parts(shard, SIZES)]
    loss = fsdp.forward(shard, units, *llama.batches(shard, SIZES, 1)[0])
    assert loss.isfinite()
    return sum(leaf.untyped_storage().nbytes() for unit in units for leaf in unit.part.leaves)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[Checked]:
    return on_ranks(checked, 2, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", NAMES)
def test_replicas_come_to_gradients_and_weights_of_the_whole_batch(name: str, ranks: list[Checked]) -> None:
    assert max(rank.differences[name] for rank in ranks) < ROUNDING[torch.float32]
    assert max(rank.in_bf16[name] for rank in ranks) < ROUNDING[torch.bfloat16]


def test_gradients_alone_leave_nothing_to_the_next_step(ranks: list[Checked]) -> None:
    assert max(rank.again["data parallel"] for rank in ranks) == 0


@pytest.mark.parametrize("block", zero.BLOCKS, ids=lambda block: block.name)
def test_an_optimizer_goes_on_from_the_step_before(block: Block, ranks: list[Checked]) -> None:
    """The reference takes two steps; a single one is further from it than rounding."""
    assert block.num_steps == 2
    assert min(rank.again[block.name] for rank in ranks) > 10 * ROUNDING[torch.float32]


@pytest.mark.parametrize(
    ("name", "collectives"),
    [
        ("data parallel", {"gradient sum": NUM_PARTS}),
        ("zero 1", {"gradient reduce-scatter": NUM_PARTS, "weight gather": 1}),
        ("zero 2", {"gradient reduce-scatter": 2 * NUM_PARTS, "weight gather": 1}),
        ("zero 3", {"gradient reduce-scatter": 2 * NUM_PARTS, "weight gather": 4 * NUM_PARTS}),
    ],
)
def test_collectives_are_as_many_as_the_simulator_plays(
    name: str, collectives: Mapping[str, int], ranks: list[Checked]
) -> None:
    """Gradients are summed part by part, with ZeRO 2 and 3 in each of two backward passes, else in the last. Weights
    are gathered once, or with ZeRO 3 part by part in each of four passes."""
    for rank in ranks:
        assert Counter(span.name for span in rank.spans[name] if span.stream == "dp") == collectives


@pytest.mark.parametrize("name", ["data parallel", "zero 1"])
def test_sums_of_gradients_begin_within_the_last_backward_pass(name: str, ranks: list[Checked]) -> None:
    for rank in ranks:
        (last,) = (span for span in rank.spans[name] if span.name == "0B1")
        sums = [span for span in rank.spans[name] if span.name.startswith("gradient")]
        assert all(last.start < span.start < last.end for span in sums)


def test_with_fsdp_no_part_keeps_its_weights_after_its_pass(ranks: list[Checked]) -> None:
    assert [rank.held_nbytes for rank in ranks] == [0, 0]


def test_a_flat_tensor_is_filled_up_and_gives_its_tensors_back() -> None:
    """2 x 3 and 1 numbers make 7; for 4 ranks 8."""
    tensors = [torch.arange(6.0).view(2, 3), torch.tensor([9.0])]
    flat = flatten(tensors, 4)
    assert flat.tolist() == [0, 1, 2, 3, 4, 5, 9, 0]
    assert all(torch.equal(one, other) for one, other in zip(unflatten(flat, tensors), tensors, strict=True))


def test_gradients_are_taken_when_the_last_of_so_many_passes_is_done() -> None:
    """y = a b c, so of a the gradient is b c; twice that in two passes, and half of it for the mean over 2 ranks."""
    a, b, c = (torch.tensor([number], requires_grad=True) for number in (2.0, 3.0, 5.0))
    taken: list[list[float]] = []
    when_all_have_gradients([a, b], lambda: taken.append(taken_gradients([a, b], 2).tolist()), num_passes=2)
    for _ in range(4):
        torch.autograd.backward(a * b * c)
    assert taken == [[15, 10], [15, 10]]
    assert a.grad is None
    assert b.grad is None


def test_a_first_step_of_adamw_goes_as_far_as_its_rate() -> None:
    """Both moments are one gradient, so it goes by rate x g / (|g| + epsilon); weights decay by rate x 0.1 before."""
    weights, gradient = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 1e-5])
    expected = weights * (1 - RATE * 0.1) - RATE * gradient / (gradient.abs() + EPSILON)
    state = adamw_of(weights)
    step(state, gradient)
    assert torch.allclose(state.weights, expected, atol=1e-7)
    assert weights.tolist() == [1.0, -2.0]
