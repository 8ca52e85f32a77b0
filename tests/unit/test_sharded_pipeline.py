"""Real pipelines execute the simulator's schedules, and come to what the unsharded model comes to."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from calibrate.sharded import pipeline
from calibrate.sharded.block import ROUNDING, Shard
from calibrate.verification.sizes import Sizes
from calibrate.verification.spans import RealSpan
from sim.schedules import schedule_of
from tests.sharded import difference_of, largest_difference, on_ranks

SIZES = Sizes(seq_len=16, heads=2, head_dim=16, ffn=48, vocab=64, num_layers=8, num_microbatches=8)
NAMES = tuple(block.name for block in pipeline.BLOCKS)


class Checked(NamedTuple):
    """What one rank found: of each block its distance from the reference in fp32 and bf16, of a second step from the
    first, and the second's spans."""

    differences: Mapping[str, float]
    in_bf16: Mapping[str, float]
    again: Mapping[str, float]
    spans: Mapping[str, list[RealSpan]]


def checked(shard: Shard) -> Checked:
    differences = {block.name: difference_of(block, shard, SIZES) for block in pipeline.BLOCKS}
    narrow = replace(shard, dtype=torch.bfloat16)
    in_bf16 = {block.name: difference_of(block, narrow, SIZES) for block in pipeline.BLOCKS}
    again, spans = {}, {}
    shard.recorder.is_on = True
    for block in pipeline.BLOCKS:
        run = block.prepare(shard, SIZES)
        first = {name: tensor.clone() for name, tensor in run().items()}
        shard.recorder.begin()
        again[block.name] = largest_difference(run(), first)
        spans[block.name] = shard.recorder.spans
    return Checked(differences, in_bf16, again, spans)


def four_checked(shard: Shard) -> dict[str, float]:
    """GPipe has the stages and messages of 1F1B."""
    return {
        block.name: difference_of(block, shard, SIZES) for block in pipeline.BLOCKS if block.name != "pipeline gpipe"
    }


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Checked]:
    return on_ranks(checked, 2, tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("name", NAMES)
def test_a_pipeline_comes_to_the_loss_and_gradients_of_the_model_on_one_rank(name: str, two: list[Checked]) -> None:
    assert max(rank.differences[name] for rank in two) < ROUNDING[torch.float32]
    assert max(rank.in_bf16[name] for rank in two) < ROUNDING[torch.bfloat16]


@pytest.mark.slow
def test_four_ranks_come_to_the_same(tmp_path: Path) -> None:
    for rank in on_ranks(four_checked, 4, tmp_path):
        assert max(rank.values()) < ROUNDING[torch.float32]


@pytest.mark.parametrize("name", NAMES)
def test_a_step_leaves_nothing_to_the_next(name: str, two: list[Checked]) -> None:
    assert max(rank.again[name] for rank in two) == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_rank_does_what_its_row_of_the_schedule_says_in_that_order(name: str, two: list[Checked]) -> None:
    schedule = pipeline.schedule(name.removeprefix("pipeline "), SIZES, 2)
    for row, rank in zip(schedule.rows, two, strict=True):
        computed = [span for span in rank.spans[name] if span.stream == "compute"]
        assert [span.name for span in computed] == [str(action) for action in row]
        assert all(one.end <= other.start for one, other in pairwise(computed))


def test_a_rank_waits_for_its_sends_unless_they_overlap(two: list[Checked]) -> None:
    """Of 8 microbatches rank 0 sends 8 activations, and the last rank 8 gradients, all of which it waits for."""
    for name, waits in (("pipeline gpipe", 8), ("pipeline 1f1b", 8), ("pipeline interleaved", 0)):
        for rank in two:
            assert sum(span.name.startswith("send") for span in rank.spans[name]) == waits


def test_a_lane_brings_messages_in_the_order_in_which_they_were_sent() -> None:
    """Two ranks, two stages each, two microbatches. Rank 0's row is 0F0 0F1 2F0 2F1 2B0 2B1 0B0 0B1: to rank 1 it sends
    activations for stages 1 and 3, then gradients for stage 1; what it needs of rank 1 comes in its own row's order."""
    schedule = schedule_of("interleaved", 2, 2, 2)
    lanes = [
        {sender: [str(one) for one in lane] for sender, lane in pipeline.coming(schedule, rank).items()}
        for rank in (0, 1)
    ]
    assert lanes[1] == {0: ["1F0", "1F1", "3F0", "3F1", "1B0", "1B1"], 1: []}
    assert lanes[0] == {0: [], 1: ["2F0", "2F1", "2B0", "2B1", "0B0", "0B1"]}


def test_stages_share_the_layers_and_have_embedding_and_head_at_the_ends() -> None:
    schedule = schedule_of("interleaved", 2, 2, 2)
    places = [list(pipeline.places(Sizes(num_layers=8), schedule, stage)) for stage in range(4)]
    assert places == [[0, 1, 2], [3, 4], [5, 6], [7, 8, 9]]


@pytest.mark.parametrize(
    ("name", "sizes", "num_ranks", "words"),
    [
        ("pipeline 1f1b", Sizes(), 1, "a pipeline needs 2 ranks or more"),
        ("pipeline gpipe", Sizes(num_layers=4), 3, "3 stages do not divide num_layers=4"),
        ("pipeline interleaved", Sizes(num_layers=4), 4, "8 stages do not divide num_layers=4"),
        ("pipeline interleaved", Sizes(num_layers=8, num_microbatches=2), 4, "2 microbatches are fewer than pp=4"),
    ],
)
def test_what_cannot_be_dealt_to_the_ranks_is_said(name: str, sizes: Sizes, num_ranks: int, words: str) -> None:
    (block,) = (block for block in pipeline.BLOCKS if block.name == name)
    assert words in block.fits(sizes, num_ranks)
    assert not block.fits(Sizes(num_layers=8), 2)
