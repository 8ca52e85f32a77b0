"""Rank grid, groups, layers of stages, and what is refused."""

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, combinations_with_replacement, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import topologies
from sim import models
from sim.models.transformer import Mla, Moe
from sim.plan import (
    Axis,
    ContextKind,
    Plan,
    balanced_layers,
    check,
    cost_balanced_layers,
    group_of,
    groups,
    pipeline,
    rank,
    split_layers,
    split_note,
    stage_layers,
    tensor_problems,
)
from sim.schedules.exchange import save
from topologies.document import InputError

PLAN = Plan(
    tp=2,
    sp=True,
    pp=4,
    vpp=1,
    dp=2,
    zero=1,
    recompute="none",
    schedule="1f1b",
    micro_batch=1,
    global_batch=16,
)
LLAMA = models.load("llama3-70b")
CLUSTER = topologies.load("dgx-h100", 64)


def test_ranks_count_tp_first_then_dp_then_pp() -> None:
    """Narayanan et al. 2021, appendix A of the code (parallel_state): 16 GPUs, tp 2, pp 4, dp 2."""
    assert groups(PLAN, "tp") == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11), (12, 13), (14, 15)]
    assert groups(PLAN, "dp") == [(0, 2), (1, 3), (4, 6), (5, 7), (8, 10), (9, 11), (12, 14), (13, 15)]
    assert groups(PLAN, "pp") == [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)]
    assert groups(PLAN, "embedding") == [(0, 12), (1, 13), (2, 14), (3, 15)]


def test_without_a_pipeline_no_ranks_share_an_embedding() -> None:
    assert groups(dataclasses.replace(PLAN, pp=1), "embedding") == []


@pytest.mark.parametrize(("name", "vpp"), [("zb-v", 2), ("v-half", 2), ("dualpipev", 2), ("dualpipe", 1)])
def test_where_the_last_stage_comes_back_to_the_first_rank_no_two_share_an_embedding(name: str, vpp: int) -> None:
    assert groups(dataclasses.replace(PLAN, schedule=name, vpp=vpp), "embedding") == []


def test_of_a_schedule_in_a_file_the_ranks_of_the_first_and_the_last_stage_share_an_embedding(tmp_path: Path) -> None:
    """Stages 1, 0, 2, 3 on pipeline ranks 0, 1, 2, 3 of four ranks each: the ends are on the second and the fourth."""
    plan = dataclasses.replace(PLAN, schedule=str(tmp_path / "own.csv"))
    save(pipeline(PLAN), tmp_path / "own.csv")
    rows = (tmp_path / "own.csv").read_text().splitlines()
    (tmp_path / "own.csv").write_text("\n".join(rows[stage] for stage in (1, 0, 2, 3)))
    assert groups(plan, "embedding") == [(4, 12), (5, 13), (6, 14), (7, 15)]
    assert [group_of(plan, "embedding", member) for member in (0, 6, 9, 14)] == [(), (6, 14), (), (6, 14)]


DEGREE = st.integers(1, 4)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Any rank grid, its experts dealt and its replicas parted in any way that divides."""
    tp, cp, dp, pp = (draw(DEGREE) for _ in range(4))
    ep = draw(st.sampled_from([degree for degree in range(1, 65) if tp * cp * dp % degree == 0]))
    etp = draw(st.sampled_from([degree for degree in range(1, 65) if tp * cp * dp // ep % degree == 0]))
    shard = draw(st.sampled_from([None, *(degree for degree in range(1, 17) if cp * dp % degree == 0)]))
    return dataclasses.replace(PLAN, tp=tp, cp=cp, dp=dp, pp=pp, ep=ep, etp=etp, shard=shard)


@given(
    plan=plans(),
    axis=st.sampled_from(["tp", "cp", "dp", "ep", "etp", "edp", "shard", "replica", "eshard", "ereplica", "pp"]),
)
def test_the_groups_of_an_axis_part_the_ranks(plan: Plan, axis: Axis) -> None:
    """All equally large, and each the same for all of its members."""
    found = groups(plan, axis)
    assert sorted(chain(*found)) == list(range(plan.num_gpus))
    sizes = {"tp": plan.tp, "cp": plan.cp, "dp": plan.cp * plan.dp, "pp": plan.pp, "ep": plan.ep, "etp": plan.expert_tp}
    sizes |= {"edp": plan.expert_dp, "shard": plan.num_sharing, "replica": plan.num_replicas // plan.num_sharing}
    sizes |= {"eshard": plan.expert_sharing, "ereplica": plan.expert_dp // plan.expert_sharing}
    assert {len(group) for group in found} == {sizes[axis]}
    assert all(group_of(plan, axis, member) == group for group in found for member in group)
    assert rank(plan, plan.tp - 1, plan.dp - 1, plan.pp - 1, plan.cp - 1) == plan.num_gpus - 1


@given(plan=plans(), member=st.integers(0, 255))
def test_ranks_of_a_shard_and_of_a_replica_make_the_ranks_that_sum_a_gradient(plan: Plan, member: int) -> None:
    """Each of a shard's ranks with its replicas: all of dp, once; so do etp, ep and edp all of a pipeline rank."""
    member %= plan.num_gpus
    replicas = [group_of(plan, "replica", other) for other in group_of(plan, "shard", member)]
    assert sorted(chain(*replicas)) == sorted(group_of(plan, "dp", member))
    experts = [
        other
        for inner in group_of(plan, "etp", member)
        for middle in group_of(plan, "ep", inner)
        for other in group_of(plan, "edp", middle)
    ]
    first = member // plan.stride * plan.stride
    assert sorted(experts) == list(range(first, first + plan.stride))


def test_ranks_count_cp_between_tp_and_dp() -> None:
    """Megatron's order tp-cp-ep-dp-pp: 8 GPUs, tp 2, cp 2, dp 2; with ep 4 and etp 1 experts are dealt to ranks 0-3."""
    plan = dataclasses.replace(PLAN, cp=2, pp=1, ep=4)
    assert groups(plan, "cp") == [(0, 2), (1, 3), (4, 6), (5, 7)]
    assert groups(plan, "dp") == [(0, 2, 4, 6), (1, 3, 5, 7)]
    assert groups(plan, "ep") == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert groups(plan, "edp") == [(0, 4), (1, 5), (2, 6), (3, 7)]
    assert groups(dataclasses.replace(plan, shard=2), "shard") == [(0, 2), (1, 3), (4, 6), (5, 7)]


def test_layers_are_split_evenly() -> None:
    assert stage_layers(dataclasses.replace(PLAN, vpp=5), 80) == (4,) * 20


def test_embedding_and_loss_count_as_layers_where_only_that_divides() -> None:
    """Llama-3-405B: 126 + 2 = 128 layers on 16 stages are 8 each, of which the first and the last have 7 real ones."""
    assert stage_layers(dataclasses.replace(PLAN, pp=16), 126) == (7, *(8,) * 14, 7)
    assert stage_layers(dataclasses.replace(PLAN, pp=16, vpp=8), 126) == (0, *(1,) * 126, 0)


@given(num_layers=st.integers(1, 130), num_stages=st.integers(1, 130))
def test_no_layer_is_lost(num_layers: int, num_stages: int) -> None:
    layers = split_layers(num_layers, num_stages)
    assert layers is None or (sum(layers) == num_layers and len(layers) == num_stages and min(layers) >= 0)


def test_layers_that_do_not_divide_are_split_as_evenly_as_can_be_and_that_is_told() -> None:
    """61 layers of DeepSeek-V3, embedding and loss are 63 on 16 stages: 3.9 each, so 4 but for one stage."""
    plan = dataclasses.replace(PLAN, pp=16)
    assert stage_layers(plan, 61) == (3, *(4,) * 13, 3, 3)
    assert split_note(plan, 61) == (
        "61 layers, embedding and loss counted as one each, do not divide into 16 stages: "
        "they have 3, 13 x 4, 2 x 3 (--layers says otherwise)."
    )
    assert split_note(plan, 126) is None
    assert split_note(dataclasses.replace(plan, layers=(0, *(4,) * 13, 9, 0)), 61) is None


def test_layers_are_as_given() -> None:
    plan = dataclasses.replace(PLAN, layers=(19, 21, 21, 19))
    check(plan, LLAMA, CLUSTER, 8192)
    assert stage_layers(plan, 80) == (19, 21, 21, 19)


def test_balancing_by_cost_gives_the_last_stage_fewer_layers_where_the_head_is_large() -> None:
    """Llama 3 8B, head 128,256 x 4096 = 525M against 218M weights of a layer: 2.4 layers. 32 + 2.4 on 4 stages is 8.6
    each: 9 layers but in the last stage, which has 5 or 6."""
    layers = cost_balanced_layers(models.load("llama3-8b"), 4, 8192)
    assert sum(layers) == 32
    assert max(layers) == 9
    assert layers[-1] in (5, 6)


COSTS = st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.25]), min_size=1, max_size=7)


@given(costs=COSTS, num_stages=st.integers(1, 5), first=st.sampled_from([0.0, 1.0, 2.5]), last=st.floats(0, 4))
def test_no_split_has_a_cheaper_costliest_stage_than_the_balanced_one(
    costs: list[float], num_stages: int, first: float, last: float
) -> None:
    num_stages = min(num_stages, len(costs) + 2)
    found = balanced_layers(costs, num_stages, first, last)
    assert (len(found), sum(found)) == (num_stages, len(costs))
    assert min(found) >= 0
    assert 0 not in found[1:-1]
    best = min(_costliest(costs, split, first, last) for split in _splits(len(costs), num_stages))
    assert _costliest(costs, found, first, last) <= best * (1 + 1e-8) + 1e-12


def _splits(num_layers: int, num_stages: int) -> Iterator[tuple[int, ...]]:
    for cuts in combinations_with_replacement(range(num_layers + 1), num_stages - 1):
        yield tuple(end - start for start, end in pairwise((0, *cuts, num_layers)))


def _costliest(costs: Sequence[float], split: Sequence[int], first: float, last: float) -> float:
    ends = [0, *accumulate(split)]
    stages = [sum(costs[start:end]) for start, end in pairwise(ends)]
    stages[0] += first
    stages[-1] += last
    return max(stages)


def test_too_many_stages_are_refused_with_the_most_that_there_can_be() -> None:
    with pytest.raises(InputError, match="pp x vpp = 83 stages are too many for 80 layers; use at most 82"):
        stage_layers(dataclasses.replace(PLAN, pp=83), 80)


def test_a_good_plan_passes() -> None:
    check(PLAN, LLAMA, CLUSTER, 8192)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tp": 3}, "tp=3 does not divide num_heads=64 of llama3-70b; use 1, 2, 4, 8"),
        ({"tp": 16}, "tp=16 does not divide num_kv_heads=8 of llama3-70b; use 1, 2, 4, 8"),
        ({"dp": 64}, "2 x 1 x 4 x 64 = 512 GPUs, but dgx-h100 has 64; use fewer, or more nodes"),
        ({"tp": 1}, "sp .* needs tp > 1; use sp=false, or tp=2 or more"),
        ({"vpp": 2}, "schedule 1f1b holds one chunk per rank, not vpp=2; use vpp=1, or interleaved"),
        ({"pp": 1, "vpp": 2}, "vpp=2 needs pp > 1"),
        ({"schedule": "interleaved"}, "schedule=interleaved needs vpp > 1; use vpp=2 or more"),
        ({"global_batch": 7}, "global_batch=7 is not a multiple of micro_batch x dp = 1 x 2 = 2; use 6 or 8"),
        (
            {"schedule": "interleaved", "vpp": 2, "global_batch": 12},
            "groups of 4 leave 2 of 6 .*global_batch=12, 2 sequences",
        ),
        ({"micro_batch": 0}, "micro_batch=0 is not possible; use a whole number from 1 to 10,000,000"),
        ({"global_batch": 10**9}, "global_batch=1000000000 is not possible"),
        ({"cp": 3}, "sp needs seq_len=8192 to be a multiple of tp x cp = 2 x 3 = 6; use 8190 or 8196"),
        ({"cp": 3, "tp": 1, "sp": False}, "seq_len=8192 is not a multiple of 2 x cp = 6; use 8190 or 8196"),
        (
            {"cp": 64, "tp": 2, "pp": 1, "dp": 1, "cp_kind": "all-to-all", "num_gpus": 128},
            "cp=64 does not divide the 32 heads of a tp rank, as cp_kind=all-to-all needs; use cp=1, 2, 4, 8, 16, 32",
        ),
        ({"ep": 2}, "ep=2 needs a model with experts, and llama3-70b has none; take it out"),
        ({"etp": 1}, "etp=1 needs a model with experts"),
        ({"shard": 3, "zero": 3}, "shard=3 does not divide cp x dp = 1 x 2 = 2; use 1, 2"),
        ({"shard": 2, "zero": 1, "compression": "int8"}, "compression=int8 sums over all replicas at once"),
        ({"zero": 3, "compression": "low-rank"}, "compression=low-rank needs whole gradients on every rank"),
        ({"shard": 2, "zero": 0}, "shard=2 says among how many ranks zero divides; use zero=1, 2 or 3"),
        ({"group": 8}, "group=8 is for schedule interleaved, not 1f1b; leave it out"),
        ({"layers": (40, 40)}, "layers are said of 2 stages, but pp x vpp = 4 x 1 = 4 stages; write one number for"),
        ({"layers": (20, 20, 20, 21)}, "layers=20, 20, 20, 21 sum to 81; write numbers from 0 that sum to 80"),
        ({"layers": (40, 0, 20, 20)}, "layers: stage 1 has none; only the first and the last stage may be without"),
        ({"recompute_layers": 2}, "recompute_layers=2 needs recompute=full or selective; use one of them"),
        ({"recompute_layers": 81, "recompute": "full"}, "recompute_layers=81: there are 80 layers"),
        ({"recompute_layers": 0, "recompute": "full"}, "recompute_layers=0 is not possible"),
        ({"recompute_modules": ("mlp",)}, "recompute_modules=mlp needs recompute=selective, not none; use that, or"),
        (
            {"recompute_modules": ("mlp", "mla_up_proj"), "recompute": "selective"},
            "recompute_modules=mlp,mla_up_proj: llama3-70b has no latent attention, which mla_up_proj computes again",
        ),
        (
            {"recompute_modules": ("shared_experts",), "recompute": "selective"},
            "llama3-70b has no shared experts, which shared_experts computes again; take it out",
        ),
        ({"schedule": "zb-v"}, "schedule zb-v holds two chunks per rank, not vpp=1; use vpp=2"),
        ({"schedule": "zb-v", "vpp": 2, "pp": 1}, "schedule=zb-v needs pp > 1; use pp=2 or more, or schedule=1f1b"),
        ({"schedule": "dualpipe", "pp": 5}, "schedule dualpipe needs an even pp, not pp=5; use 6, or dualpipev"),
        ({"schedule": "looped"}, "schedule=looped needs vpp > 1; use vpp=2 or more, or schedule=1f1b"),
    ],
)
def test_an_impossible_plan_is_refused_with_the_fix(change: dict[str, object], message: str) -> None:
    cluster = topologies.load("dgx-h100", int(str(change.get("num_gpus", 64))))
    change = {name: value for name, value in change.items() if name != "num_gpus"}
    plan = Plan(**(dataclasses.asdict(PLAN) | change))
    with pytest.raises(InputError, match=message):
        check(plan, LLAMA, cluster, 8192)


EXPERTS = models.load("mixtral-8x7b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ep": 3}, "ep=3 does not divide num_experts=8 of mixtral-8x7b; use 1, 2, 4, 8"),
        ({"ep": 8}, "ep x etp = 8 x 1 = 8 does not divide tp x cp x dp = 2 x 1 x 2 = 4; use ep x etp = 1, 2, 4"),
        ({"ep": 2, "sp": False}, "ep=2 with tp=2 needs sp, else all tp ranks would send the same tokens; use sp=true"),
        ({"etp": 3}, "etp=3 does not divide moe.ffn=14336 of mixtral-8x7b; use 1, 2, 4, 7, 8"),
    ],
)
def test_experts_that_cannot_be_dealt_so_are_refused(change: dict[str, object], message: str) -> None:
    plan = Plan(**(dataclasses.asdict(PLAN) | change))
    check(dataclasses.replace(PLAN, ep=2), EXPERTS, CLUSTER, 8192)
    with pytest.raises(InputError, match=message):
        check(plan, EXPERTS, CLUSTER, 8192)


@pytest.mark.parametrize("cp_kind", ["ring", "all-gather", "all-to-all"])
def test_a_sequence_is_split_over_ranks_of_any_kind(cp_kind: ContextKind) -> None:
    check(dataclasses.replace(PLAN, cp=4, dp=2, pp=4, cp_kind=cp_kind), LLAMA, topologies.load("dgx-h100", 64), 8192)


def test_tp_divides_the_width_of_experts_and_of_a_dense_mlp_only_where_there_is_one() -> None:
    """30 layers with experts 1408 = 2^7 x 11 wide, shared ones 2816; the dense width of 10944 = 2^6 x 171 is met by the
    first layers only."""
    experts = Moe(num_experts=64, top_k=6, ffn=1408, shared_ffn=2816, num_dense_layers=1)
    model = dataclasses.replace(LLAMA, ffn=10_944, moe=experts, num_heads=256, num_kv_heads=256)
    assert not list(tensor_problems(64, model))
    assert list(tensor_problems(128, model)) == [
        "tp=128 does not divide ffn=10944 of llama3-70b; use 1, 2, 4, 8, 16, 32, 64"
    ]
    all_experts = dataclasses.replace(model, moe=dataclasses.replace(experts, num_dense_layers=0))
    assert not list(tensor_problems(128, all_experts))
    assert [problem.split(" of ")[0] for problem in tensor_problems(256, all_experts)] == [
        "tp=256 does not divide moe.ffn=1408"
    ]
    assert not list(tensor_problems(256, all_experts, expert_tp=64))


def test_latent_attention_has_no_key_and_value_heads_to_divide() -> None:
    latent = Mla(q_lora_rank=1536, kv_lora_rank=512, nope_head_dim=128, rope_head_dim=64, v_head_dim=128)
    model = dataclasses.replace(LLAMA, num_kv_heads=1)
    assert list(tensor_problems(8, model))
    assert not list(tensor_problems(8, dataclasses.replace(model, mla=latent)))


def test_sequence_parallelism_needs_a_sequence_that_divides() -> None:
    with pytest.raises(InputError, match=r"seq_len=8191 to be a multiple of tp=2; use 8190 or 8192"):
        check(PLAN, LLAMA, CLUSTER, 8191)


def test_learned_positions_end() -> None:
    with pytest.raises(InputError, match="seq_len=4096 is more than the 2048 learned positions"):
        check(PLAN, models.load("gpt-175b"), CLUSTER, 4096)
