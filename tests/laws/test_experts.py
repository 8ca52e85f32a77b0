"""Laws of experts: work is neither made nor lost by dealing it out, and uneven work never ends sooner."""

import itertools
from dataclasses import replace

import pytest

import topologies
from sim import frameworks, models
from sim.instructions import Collective, Compute
from sim.layers import Context, moe
from sim.layers.moe import rows
from sim.models.transformer import LayerKind
from sim.workload import ExpertLoad

PLAIN = replace(frameworks.load("megatron-core"), moe_sync_seconds=0.0)
FRAMEWORKS = {
    "all-gather": replace(PLAIN, token_dispatcher="all-gather"),
    "all-to-all": replace(PLAIN, token_dispatcher="all-to-all"),
    "deepep": replace(PLAIN, token_dispatcher="deepep"),
}
WAYS = tuple(FRAMEWORKS)
BASE = Context(
    model=models.load("qwen3-30b-a3b"),
    gpu=topologies.gpu("h100-80gb-sxm"),
    framework=FRAMEWORKS["all-to-all"],
    tp=1,
    sp=False,
    recompute="none",
    micro_batch=1,
    seq_len=4096,
    precision="bf16",
    kind=LayerKind(has_experts=True),
)


def seconds(context: Context) -> float:
    both = (moe.forward(context), moe.backward(context))
    return sum(i.duration for one in both for block in one.values() for i in block if isinstance(i, Compute))


def sent(context: Context) -> list[float]:
    both = (moe.forward(context), moe.backward(context))
    found = [i for one in both for block in one.values() for i in block if isinstance(i, Collective)]
    return [i.nbytes if i.tokens is None else i.tokens.num_tokens for i in found]


@pytest.mark.parametrize("ep", [1, 2, 4, 16, 128])
@pytest.mark.parametrize("tp", [1, 2])
@pytest.mark.parametrize("etp", [1, 2])
@pytest.mark.parametrize("exponent", [0.0, 1.01])
def test_all_ranks_together_have_every_token_as_often_as_it_has_experts(
    ep: int, tp: int, etp: int, exponent: float
) -> None:
    """ep x etp ranks bring 4,096 / tp tokens each, and etp of them work on every row."""
    load = ExpertLoad(kind="power_law", exponent=exponent)
    context = replace(BASE, tp=tp, sp=tp > 1, ep=ep, etp=etp, experts=load)
    ranks = rows.rows_by_rank(context)
    total = sum(map(sum, ranks)) * (ep // len(ranks))
    assert total == ep * etp * (4096 // tp) * 8


@pytest.mark.parametrize("way", WAYS)
def test_a_power_law_of_exponent_0_is_balanced(way: str) -> None:
    context = replace(BASE, framework=FRAMEWORKS[way], ep=8)
    flat = replace(context, experts=ExpertLoad(kind="power_law", exponent=0.0))
    assert moe.forward(flat) == moe.forward(context)
    assert moe.backward(flat) == moe.backward(context)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ep", [1, 8, 64])
def test_room_for_just_the_even_share_is_balanced_routing(way: str, ep: int) -> None:
    """4,096 x 8 / 128 = 256 rows for each expert of each rank: nothing dropped, nothing padded."""
    context = replace(BASE, framework=FRAMEWORKS[way], ep=ep)
    padded = replace(context, experts=ExpertLoad(capacity_factor=1.0))
    assert rows.rows_by_rank(padded) == rows.rows_by_rank(context)
    assert seconds(padded) == seconds(context)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ep", [2, 8, 64])
def test_skew_never_makes_it_faster(way: str, ep: int) -> None:
    """More of it makes it slower; the draws of one exponent and another differ by a few per cent."""
    context = replace(BASE, framework=FRAMEWORKS[way], ep=ep)
    loads = [ExpertLoad(kind="power_law", exponent=exponent) for exponent in (0.0, 0.5, 1.01, 1.3)]
    times = [seconds(replace(context, experts=load)) for load in loads]
    assert times[0] == min(times)
    assert all(later >= 0.97 * sooner for sooner, later in itertools.pairwise(times))
    for load in loads:
        pairs = zip(sent(replace(context, experts=load)), sent(context), strict=True)
        assert all(skewed >= balanced for skewed, balanced in pairs)


@pytest.mark.parametrize("exponent", [0.0, 1.2])
def test_one_rank_with_all_experts_waits_for_nobody(exponent: float) -> None:
    alone = replace(BASE, experts=ExpertLoad(kind="power_law", exponent=exponent))
    assert rows.fullness(alone) == 1
    assert not any(i.parts for block in moe.forward(alone).values() for i in block if isinstance(i, Compute))


@pytest.mark.parametrize("ep", [1, 4, 32])
def test_all_ranks_hold_each_expert_once(ep: int) -> None:
    whole = moe.expert_parameters(BASE)
    assert ep * moe.expert_parameters(replace(BASE, ep=ep)) == whole
    assert 2 * ep * moe.expert_parameters(replace(BASE, ep=ep, etp=2)) == whole
