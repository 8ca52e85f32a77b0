"""Ranks that share a prompt's tokens."""

from dataclasses import replace

import pytest

import topologies
from sim import models
from sim.deployment import ContextKind, Deployment, Layout
from sim.frameworks import serving
from sim.serving.costs.context import part_of
from sim.serving.costs.forward import pass_costs
from sim.serving.passes import PassCosts, Shape
from tests.pass_costs import one_by_one
from topologies.document import InputError

H100 = topologies.load("dgx-h100")
MODEL = replace(models.load("llama3-70b"), num_layers=8)
LONG = Shape(0, 0, ((65536, 0),), 1)


def costs(tp: int, cp: int, kind: ContextKind = "ring") -> PassCosts:
    return pass_costs(MODEL, H100, Deployment(layout=Layout(tp=tp, cp=cp, cp_kind=kind)), serving.load("vllm-0.19"))


def test_each_rank_has_its_part_of_the_scores() -> None:
    """1,024 new tokens after 4,096: 1024 x (4096 + 512) scores; a fourth of them are 256 x (4480 + 128)."""
    shape = part_of(Shape(4, 4000, ((1024, 4096),), 5), 4)
    assert shape == Shape(4, 1000, ((256, 4480),), 5)
    assert 4 * 256 * (4480 + 128) == 1024 * (4096 + 512)


def test_a_long_prompt_takes_half_as_long_on_two_ranks_that_hide_their_ring() -> None:
    (alone,), (shared,) = (costs(2, cp).stages(LONG) for cp in (1, 2))
    assert shared.seconds == pytest.approx(alone.seconds / 2, rel=0.05)
    assert shared.cp == 0


def test_eight_ranks_are_at_most_eight_times_as_quick_at_attention() -> None:
    """However much longer the clock of one holds out under shorter kernels."""
    chunk = Shape(0, 0, ((8192, 122880),), 1)
    (alone,), (shared,) = (costs(1, cp).stages(chunk) for cp in (1, 8))
    assert shared.attention >= alone.attention / 8
    assert alone.seconds / shared.seconds <= 8


def test_what_attention_is_too_short_for_shows() -> None:
    """A short chunk after a long prompt passes all the keys round for little work, by the ring; heads for tokens are
    exchanged for the new ones alone, which always shows."""
    chunk = Shape(0, 0, ((64, 65536),), 1)
    ring, ulysses = (costs(2, 4, kind) for kind in ("ring", "all-to-all"))
    assert ring.stages(chunk)[0].cp > ulysses.stages(chunk)[0].cp > 0
    assert ulysses.stages(LONG)[0].cp > ring.stages(LONG)[0].cp == 0


def test_consecutive_decodes_are_as_each_of_them() -> None:
    two = costs(2, 2)
    steps = one_by_one(two.decodes(4, 4000, 3))
    each = [two.stages(Shape(4, 4000 + 4 * step, (), 4)) for step in range(3)]
    assert steps == each


def test_heads_that_cannot_be_exchanged_are_told() -> None:
    with pytest.raises(InputError, match="cp=3 does not divide the 32 heads"):
        costs(2, 3, "all-to-all")
