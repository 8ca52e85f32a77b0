"""Experts in a pass: which are touched, where they lie, who waits, and how tokens come to them."""

from dataclasses import replace

import numpy as np
import pytest

import topologies
from sim import models
from sim.costs import ELEMENT
from sim.costs.collectives import all_gather, alone, reduce_scatter
from sim.costs.expert_load import HEIGHTS, Load
from sim.costs.expert_routing import chances, expected_load, fullest_load
from sim.costs.law import Array
from sim.deployment import Deployment, ExpertPlacement, Layout
from sim.frameworks import serving
from sim.models import Moe
from sim.serving.costs.carrying import carried
from sim.serving.costs.experts import expert_seconds, numbered
from sim.serving.costs.forward import pass_costs
from sim.serving.costs.parts import TOKENS, Rank
from sim.serving.costs.placement import copied, packed, placed
from sim.serving.costs.stages import stage_layers
from sim.serving.passes import Shape
from sim.serving.weights import stage_weights
from sim.workload import ROUTED, ExpertLoad
from topologies.document import InputError

DGX = topologies.load("dgx-h100", num_gpus=16)
QWEN = models.load("qwen3-30b-a3b")
VLLM = serving.load("vllm-0.19")
BALANCED, SKEWED = ExpertLoad(), ExpertLoad(kind="power_law", exponent=1.2)
AT = {tokens: int(np.searchsorted(TOKENS, tokens)) for tokens in (1, 64, 128, 512, 8192)}


def rank(layout: Layout, load: ExpertLoad = BALANCED, **said: object) -> Rank:
    deployment = Deployment(layout=layout, **said)  # type: ignore[arg-type]
    return Rank(model=QWEN, cluster=DGX, gpus=tuple(range(layout.tp)), deployment=deployment, framework=VLLM, load=load)


def fullest(tokens: Array, ranks: Array) -> Load:
    return fullest_load(tokens, ranks, expected_load(tokens, ranks))


def test_few_tokens_touch_few_experts() -> None:
    """Of n = 128 experts, t tokens that choose k = 8 each touch n (1 - (1 - k/n)^t): 8, 15.5, 126 for t = 1, 2, 64."""
    tokens = np.array([1.0, 2.0, 64.0])
    load = expected_load(tokens, np.full((1, 128), 8 / 128))
    assert load.active[:, 0] == pytest.approx(128 * (1 - (1 - 8 / 128) ** tokens))
    assert load.active[:2, 0] == pytest.approx([8, 15.5])
    assert load.rows[:, 0] == pytest.approx(8 * tokens)


def test_an_expert_has_a_tile_for_few_rows_and_on_average_half_a_tile_too_much_for_many() -> None:
    load = expected_load(np.array([1.0, 65536.0]), np.full((1, 128), 8 / 128))
    for place, height in enumerate(HEIGHTS):
        few, many = load.tiles[place][:, 0]
        assert few == pytest.approx(load.active[0, 0], rel=1e-3)
        assert many == pytest.approx(128 * (4096 / height + 0.5), rel=1e-3)


def test_chances_add_up_to_the_experts_of_a_token() -> None:
    for load in (BALANCED, SKEWED):
        ranks = chances(load, 128, 8, 16)
        assert sum(map(sum, ranks)) == pytest.approx(8)
        assert max(map(max, ranks)) <= 1


def test_popularity_is_spread_as_it_was_measured() -> None:
    """Qwen3-30B-A3B on prose, code and mathematics: 65 of 128 experts take 90 % of the choices, whose entropy is 11.1 %
    short of even ones [gpu-container, handbook, derisk]. Mixtral 8x7B: each of 8 has about 5 to 25 % [Jiang et al.
    2024, figure 7]."""
    shares = np.array(chances(ROUTED, 128, 8, 1)[0]) / 8
    assert np.searchsorted(np.cumsum(shares), 0.9) + 1 == pytest.approx(65, abs=3)
    assert 1 + (shares @ np.log(shares)) / np.log(128) == pytest.approx(0.111, abs=0.01)
    few = np.array(chances(ROUTED, 8, 2, 1)[0]) / 2
    assert 0.04 < few[-1] < few[0] < 0.26


def test_few_tokens_touch_most_of_the_experts_that_even_routing_touches() -> None:
    """16 tokens touch 82 of 128 experts if routing is even; four touch 5.5 of 8."""
    for num_experts, top_k, tokens, even in ((128, 8, 16.0, 82.4), (8, 2, 4.0, 5.5)):
        touched = expected_load(np.array([tokens]), np.array(chances(ROUTED, num_experts, top_k, 1))).active[0, 0]
        assert 0.7 * even < touched < 0.97 * even


def test_a_balanced_load_of_many_tokens_has_no_straggler_and_a_skewed_one_has() -> None:
    for load, waits in ((BALANCED, False), (SKEWED, True)):
        mean, fullest = expert_seconds(rank(Layout(tp=8, ep=8), load))
        assert (fullest[AT[8192]] > 1.2 * mean[AT[8192]]) == waits
        if not waits:
            assert fullest[AT[8192]] == pytest.approx(mean[AT[8192]])


def test_one_token_fills_the_ranks_that_it_goes_to() -> None:
    """With 8 experts on 8 ranks, 2 of which a token meets: two ranks read one whole expert, and all wait for them. Of
    128 on 8 ranks 8 are met, one a rank in the mean; thrown like dice, the fullest has 2.5 [20,000 draws: 2.47]."""
    whole = fullest(np.array([1.0, 4.0, 4096.0]), np.full((8, 1), 2 / 8))
    assert whole.active == pytest.approx(1)
    assert whole.rows == pytest.approx([1, 1, 1024])
    some = fullest(np.array([1.0, 4096.0]), np.full((8, 16), 8 / 128))
    assert some.active == pytest.approx([2.5, 16], rel=0.02)


def test_favourites_spare_the_weights_of_others() -> None:
    """64 tokens that prefer some experts touch fewer than 64 that do not: less is read."""
    even, skewed = (expert_seconds(rank(Layout(tp=8), load))[0] for load in (BALANCED, SKEWED))
    assert skewed[AT[64]] < even[AT[64]]


def test_copies_of_the_busiest_lower_the_straggler() -> None:
    """Of 4, 2, 1, 1 the two copies go to 4 and then, 2 a copy, to the first of 2 and 2; ranks of three end alike."""
    assert sorted(copied([0.4, 0.2, 0.1, 0.1], 1)) == pytest.approx([0.1, 0.1, 0.2, 0.2, 0.2])
    ranks = packed(copied([0.4, 0.2, 0.1, 0.1], 2), 2)
    assert [sum(each) for each in ranks] == pytest.approx([0.4, 0.4])
    stragglers = []
    for placement in (ExpertPlacement(), ExpertPlacement(rebalanced=1000), ExpertPlacement(redundant=16)):
        mean, fullest = expert_seconds(rank(Layout(tp=8, ep=8), SKEWED, experts=placement))
        stragglers.append(float((fullest - mean)[AT[8192]]))
    assert stragglers[0] > 2 * stragglers[1] > stragglers[2]


def test_rebalancing_moves_weights_the_more_often_the_longer() -> None:
    seconds = [
        pass_costs(QWEN, DGX, rank(Layout(tp=8, ep=8), experts=ExpertPlacement(rebalanced=each)).deployment, VLLM)
        .stages(Shape(8, 8000, (), 8))[0]
        .ep
        for each in (100, 1000)
    ]
    assert seconds[0] == pytest.approx(10 * seconds[1])


def test_experts_that_cannot_be_dealt_evenly_are_told() -> None:
    with pytest.raises(InputError, match="128 experts evenly; take redundant=7"):
        placed(BALANCED, Moe(num_experts=128, top_k=8, ffn=768), 9, ExpertPlacement())


def test_each_of_the_ranks_has_its_part_of_the_experts() -> None:
    """128 experts of 3 x 2048 x 768 weights in 48 layers are 29.0e9: of 8 dp ranks each has an eighth, be it of the
    experts or of each of them [vLLM 0.19, fused_moe/config.py: tp is flattened over dp]."""
    kinds = stage_layers(QWEN, Deployment())[0]
    whole, dealt, mixed, split = (
        stage_weights(QWEN, Deployment(layout=layout), kinds, is_first=True, is_last=True)
        for layout in (Layout(), Layout(dp=8, ep=8), Layout(dp=8, ep=2), Layout(dp=8))
    )
    assert whole - split == pytest.approx(2 * 48 * 128 * 3 * 2048 * 768 * 7 / 8)
    assert split == mixed == dealt


def test_experts_that_are_not_dealt_are_split_over_the_tokens_of_all_dp_ranks() -> None:
    """Two dp ranks of tp 4, 64 tokens each: the products of tp 8 with 128 tokens."""
    both, one = expert_seconds(rank(Layout(tp=4, dp=2))), expert_seconds(rank(Layout(tp=8)))
    for two, eight in zip(both, one, strict=True):
        assert two[AT[64]] == eight[AT[128]] > eight[AT[64]]


def test_without_ep_each_tp_rank_gathers_whole_tokens_from_the_other_dp_ranks() -> None:
    """512 tokens of 2048 numbers each of two nodes, a node being tp 8: GPU 0 hears GPU 8 through its NIC, all the
    1,024 tokens; where experts are dealt, each of the 16 an eighth of its own."""
    split, dealt = (rank(Layout(tp=8, dp=2, ep=ep)) for ep in (1, 16))
    nbytes = ELEMENT * 2048 * 1024.0
    for one, gpus in ((split, (0, 8)), (dealt, tuple(range(16)))):
        ways = all_gather(DGX, gpus, nbytes), reduce_scatter(DGX, gpus, nbytes)
        assert carried(one, graph=True)[AT[512]] == pytest.approx(sum(alone(DGX, way) for way in ways), rel=0.05)
    assert not carried(rank(Layout(tp=8)), graph=True).any()


def test_tp_ranks_that_gather_at_once_share_the_wires_of_a_box_without_nvlink() -> None:
    """Eight L40S on PCIe, tp 4 x dp 2: four pairs cross the link between the processors together."""
    box = topologies.load("l40s-pcie", 8)
    four = replace(rank(Layout(tp=4, dp=2)), cluster=box)
    nbytes = ELEMENT * 2048 * 2 * 8192.0
    pair = alone(box, all_gather(box, (0, 4), nbytes)) + alone(box, reduce_scatter(box, (0, 4), nbytes))
    assert carried(four, graph=False)[AT[8192]] > 1.5 * pair


def test_experts_that_cannot_be_split_evenly_are_told() -> None:
    with pytest.raises(InputError, match=r"1 x 5 / 1 = 5 does not divide the 768 columns .* take more ep, or replicas"):
        pass_costs(QWEN, DGX, Deployment(layout=Layout(dp=5)), VLLM)


@pytest.mark.parametrize("ep", [1, 8])
def test_a_prompt_on_one_rank_keeps_those_waiting_whose_experts_it_meets(ep: int) -> None:
    """Seven ranks decode, one has 4,096 tokens: experts meet a mean of 568, not of 64 and not of 4,096."""
    costs = pass_costs(QWEN, DGX, Deployment(layout=Layout(dp=8, ep=ep)), VLLM, BALANCED)
    decode, prompt = Shape(64, 64000, (), 64), Shape(0, 0, ((4096, 0),), 1)
    alone = costs.stages(decode)[0].seconds
    one, *_, busy = (stages[0].seconds for stages in costs.together([decode] * 7 + [prompt]))
    (every,) = costs.stages(prompt)
    assert alone < one < busy < every.seconds
    assert all(stages == costs.stages(decode) for stages in costs.together([decode] * 8))
    assert costs.together([Shape(0, 0), decode])[0][0].seconds < alone


def test_a_prompt_leaves_through_the_wires_of_its_rank() -> None:
    """16 ranks in 2 nodes, one of which has 2,048 tokens: DeepEP sends them through its own NIC, as where all have as
    many; gathered, every rank receives the sum of what all have."""
    decode, prompt = Shape(32, 32 * 2048, (), 32), Shape(0, 0, ((2048, 0),), 1)
    for kind, is_whole in (("deepep", True), ("all-gather", False)):
        costs = pass_costs(QWEN, DGX, Deployment(layout=Layout(dp=16, ep=16, ep_kind=kind)), VLLM, BALANCED)
        busy = costs.together([decode] * 15 + [prompt])[15][0].ep
        assert (busy == pytest.approx(costs.stages(prompt)[0].ep)) == is_whole


def test_over_many_ranks_it_pays_to_send_tokens_only_where_they_go() -> None:
    """16 ranks in 2 nodes: gathered, a rank's 512 tokens go to all; by DeepEP to the ranks of at most 8 experts."""
    deployments = [Deployment(layout=Layout(dp=16, ep=16, ep_kind=kind)) for kind in ("all-gather", "deepep")]
    shape = Shape(512, 512_000, (), 512)
    gathered, sent = (pass_costs(QWEN, DGX, each, VLLM, BALANCED).stages(shape)[0].ep for each in deployments)
    assert 0 < sent < gathered
    assert pass_costs(QWEN, DGX, Deployment(layout=Layout(tp=8, ep=8)), VLLM).stages(shape)[0].ep == 0


def test_layers_with_histograms_of_their_own_wait_for_their_own_fullest_rank() -> None:
    """Two of four layers favour the first rank's experts: half the waiting of a model all of whose layers do."""
    model = replace(QWEN, num_layers=4)
    even, first = (1.0,) * 128, (3.0,) * 16 + (1.0,) * 112
    waits = []
    for histograms in ((even, first, even, first), (first,) * 4):
        load = ExpertLoad(kind="histogram", histograms=histograms)
        assert {kind.histogram for kinds in numbered(stage_layers(model, Deployment()), load) for kind in kinds} <= {
            0,
            1,
        }
        costs = pass_costs(model, DGX, Deployment(layout=Layout(tp=8, ep=8)), VLLM, load)
        waits.append(costs.stages(Shape(0, 0, ((4096, 0),), 1))[0].straggler)
    assert waits[1] == pytest.approx(2 * waits[0], rel=1e-6)
