"""What holds for every way to spread a model: sequences, experts, shards of weights, halves and pairs of passes."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import topologies
from sim import frameworks
from sim.detail import DETAILS, Detail, shares_wires
from sim.frameworks import Framework
from sim.plan import Plan, pipeline
from sim.schedules.exchange import save
from sim.timeline import Timeline, breakdown, breakdown_by_rank
from tests.programs import assert_no_stream_overlaps_itself, plan, small, train
from topologies.hardware import Cluster

ALIKE = replace(frameworks.load("megatron-core"), gpu_spread=0.0)
"""GPUs of one speed: slower ones leave more of what is beside them, which in one piece is only estimated."""
DENSE, EXPERTS = "gpt-1.7b", "mixtral-8x7b"
OVERLAPS = ("overlap_grad_reduce", "overlap_param_gather", "overlap_tp", "overlap_input_gradient", "overlap_ep")

PLANS: dict[str, tuple[Plan, str]] = {
    "a ring": (plan(2, 1, 1, cp=4), DENSE),
    "all gather": (plan(1, 2, 1, cp=4, cp_kind="all-gather"), DENSE),
    "heads for tokens": (plan(2, 1, 2, cp=2, cp_kind="all-to-all", zero=1), DENSE),
    "experts": (plan(1, 1, 8, ep=8, zero=1), EXPERTS),
    "experts beside tp": (plan(2, 1, 4, ep=4, sp=True, zero=1), EXPERTS),
    "gradients sharded": (plan(1, 1, 8, zero=2), DENSE),
    "weights sharded": (plan(1, 1, 8, zero=3), DENSE),
    "shards in half a node": (plan(1, 1, 8, zero=3, shard=4), DENSE),
    "halves": (plan(1, 4, 1, schedule="zb-h2", num_microbatches=8), DENSE),
    "back and forth": (plan(1, 4, 2, vpp=2, schedule="v-half", num_microbatches=8), DENSE),
    "two models": (plan(1, 4, 2, schedule="dualpipe", num_microbatches=8), DENSE),
}
"""Plans and models, each on the GPUs that it needs."""


def cluster_for(layout: Plan) -> Cluster:
    return topologies.load("dgx-h100", max(8, layout.num_gpus))


def seconds(name: str, framework: Framework = ALIKE, detail: Detail = "layer", **how: object) -> float:
    layout, model = PLANS[name]
    return train(layout, cluster_for(layout), small(model, 8), framework=framework, detail=detail, **how).duration


@st.composite
def any_plans(draw: st.DrawFn) -> tuple[Plan, str]:
    """tp, cp, ep, pp and dp of at most 32 GPUs, with every schedule, sharding and way to see other tokens."""
    tp, cp, dp = draw(st.sampled_from([(1, 1, 4), (2, 2, 1), (1, 2, 2), (2, 1, 4), (4, 2, 1), (1, 4, 2), (1, 1, 8)]))
    name = draw(st.sampled_from(["1f1b", "interleaved", "looped", "zb-h1", "zb-v", "v-min", "dualpipe", "dualpipev"]))
    chunks = {"interleaved": 2, "looped": 2, "zb-v": 2, "v-min": 2, "dualpipev": 2}
    has_experts = draw(st.booleans())
    ep = draw(st.sampled_from([each for each in (1, 2, 4) if cp * dp % each == 0])) if has_experts else 1
    layout = plan(
        tp, 2, dp, cp=cp, ep=ep, sp=tp > 1, schedule=name, vpp=chunks.get(name, 1),
        cp_kind=draw(st.sampled_from(["ring", "all-gather", "all-to-all"])),
        zero=draw(st.sampled_from([0, 1, 2, 3])) if cp * dp > 1 else 0,
        recompute=draw(st.sampled_from(["none", "selective", "full"])),
        num_microbatches=draw(st.sampled_from([4, 6, 24])),
    )  # fmt: skip
    return layout, EXPERTS if has_experts else DENSE


@settings(max_examples=15)
@given(
    what=any_plans(),
    detail=st.sampled_from(DETAILS),
    overlaps=st.fixed_dictionaries(dict.fromkeys(OVERLAPS[:3], st.booleans())),
)
def test_a_step_of_any_plan_is_whole_and_neither_folding_nor_the_steady_state_changes_it(
    what: tuple[Plan, str], detail: Detail, overlaps: dict[str, bool]
) -> None:
    layout, model = what
    framework = replace(ALIKE, **overlaps)  # type: ignore[arg-type]
    step, *others = (
        train(layout, cluster_for(layout), small(model, 4), framework=framework, detail=detail, **how)
        for how in ({}, {"steady_state": False}, {"folded": False})
    )
    assert_no_stream_overlaps_itself(step)
    for parts in breakdown_by_rank(step).values():
        assert sum(parts.values()) == pytest.approx(step.duration, rel=1e-12)
        assert min(parts.values()) >= 0
    for other in others:
        assert step.duration == pytest.approx(other.duration, rel=1e-9)
        assert breakdown(step) == pytest.approx(breakdown(other), abs=1e-9)


@pytest.mark.parametrize("name", PLANS)
def test_kernel_layer_and_stage_detail_agree_where_wires_are_not_shared(name: str) -> None:
    """With gradients and weights behind layers, kernels are slowed by what is really beside them, a layer in one piece
    by as much in the mean; a stage in one piece hides more of it."""
    layout, _ = PLANS[name]
    assert not shares_wires(layout, cluster_for(layout))
    kernel, layer, stage = (seconds(name, detail=detail) for detail in DETAILS)
    behind = layout.zero >= 2
    assert layer == pytest.approx(kernel, rel=2e-2 if behind else 1e-6)
    assert stage == pytest.approx(kernel, rel=3e-2 if behind else 1e-6)


PAIRS_THAT_MAY_OVERLAP = [
    (name, fact)
    for name, (layout, _) in PLANS.items()
    for fact in OVERLAPS
    if fact != "overlap_ep" or (layout.ep > 1 and layout.schedule == "1f1b")
]


@pytest.mark.parametrize(("name", "fact"), PAIRS_THAT_MAY_OVERLAP)
def test_what_may_overlap_is_never_slower_by_more_than_half_a_percent(name: str, fact: str) -> None:
    """Cutting into buckets costs latency, and kernels share SMs and HBM with what runs beside them."""
    on, off = (seconds(name, replace(ALIKE, **{fact: said}), "kernel") for said in (True, False))  # type: ignore[arg-type]
    assert on <= off * 1.005


@pytest.mark.parametrize(
    ("name", "vpp", "count"), [("zb-h1", 1, 8), ("zb-v", 2, 8), ("interleaved", 2, 8), ("dualpipe", 1, 8)]
)
def test_a_schedule_of_a_file_is_played_as_the_one_of_that_name(
    name: str, vpp: int, count: int, tmp_path: Path
) -> None:
    layout = plan(1, 4, 2, vpp=vpp, schedule=name, num_microbatches=count)
    path = tmp_path / "orders.csv"
    save(pipeline(layout), path)
    named, read = (
        train(one, cluster_for(layout), small(DENSE, 8), framework=ALIKE)
        for one in (layout, replace(layout, schedule=str(path)))
    )
    assert read.duration == named.duration
    assert breakdown(read) == breakdown(named)


def test_a_tied_model_takes_as_long_wherever_a_file_puts_its_stages(tmp_path: Path) -> None:
    """In a node all GPUs are equally near, so the ends of the model may lie on any ranks."""
    layout, path = plan(1, 4, 2, num_microbatches=8), tmp_path / "orders.csv"
    save(pipeline(layout), path)
    rows = path.read_text().splitlines()
    path.write_text("\n".join(rows[stage] for stage in (1, 0, 3, 2)))
    tied = replace(small(DENSE, 8), tied_embedding=True)
    usual, moved = (
        train(one, cluster_for(layout), tied, framework=ALIKE).duration
        for one in (layout, replace(layout, schedule=str(path)))
    )
    assert moved == pytest.approx(usual, rel=1e-9)


@pytest.mark.parametrize("name", ["a ring", "experts", "weights sharded", "back and forth"])
def test_a_slow_gpu_slows_and_no_jitter_is_none(name: str) -> None:
    """A fifth slower in one place: a step waits for it, but for no longer than all of them would take."""
    layout, model = PLANS[name]
    usual = seconds(name)
    assert seconds(name, jitter=0.0, seed=3) == usual
    assert seconds(name, jitter=0.02, seed=3) > usual
    worn = replace(cluster_for(layout), degraded={"gpu 1": 0.8})
    slow = train(layout, worn, small(model, 8), framework=ALIKE).duration
    assert usual * 1.02 < slow <= usual * 1.25 * (1 + 1e-9)


@pytest.mark.parametrize("name", ["halves", "back and forth"])
def test_halves_of_a_backward_pass_last_as_long_as_the_whole(name: str) -> None:
    """Without communication: what a rank computes is the same in the schedule that does not cut it."""
    layout, model = PLANS[name]
    vpp, schedule = (2, "interleaved") if layout.vpp == 2 else (1, "1f1b")
    whole = replace(layout, vpp=vpp, schedule=schedule)
    both = (breakdown(t)["compute"] * t.duration for t in (played(layout, model), played(whole, model)))
    assert next(both) == pytest.approx(next(both), rel=2e-3)


def played(layout: Plan, model: str) -> Timeline:
    return train(layout, cluster_for(layout), small(model, 8), framework=ALIKE, detail="kernel")
