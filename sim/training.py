"""One optimizer step from start to finish: choose the plan, lower it, play it, read the timeline.

The plan is the first that fits in memory; the timeline's breakdown, rates and memory make the report.
"""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sim import limits
from sim import timeline as timelines
from sim.critical_path import critical_path
from sim.default_plan import PartialPlan, options
from sim.detail import Detail, condenser, needed, shares_wires
from sim.engine import Engine
from sim.folding import fold, unfolded
from sim.frameworks import Framework
from sim.layers.context import Context
from sim.lowering import lower
from sim.memory import ALLOCATOR_RESERVE, MemoryUse, memory_use
from sim.models import Transformer
from sim.models.flops import hardware_flops, model_flops
from sim.plan import Plan, check
from sim.scenario import Scenario, with_plan
from sim.timeline import Timeline
from sim.workload import TrainingStep
from topologies.document import Infeasible, InputError
from topologies.fabric import nic_of
from topologies.hardware import Cluster
from topologies.quantity import GIB, TERA


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """What one step came to. `result` has the keys of docs/design.md, section 6; memory is per pipeline rank."""

    scenario: Mapping[str, object]
    model: Transformer
    cluster: Cluster
    plan: Plan
    command: str
    result: Mapping[str, object]
    memory: tuple[Mapping[str, float], ...]
    memory_capacity_gib: float
    rank_busy: tuple[Mapping[str, float], ...]
    critical_path: tuple[tuple[str, float], ...]
    timeline: Timeline
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether every rank's peak is within its GPU's memory."""
        return bool(self.result["fits"])


def resolve(scenario: Scenario) -> Scenario:
    """The scenario with the whole plan, as it is run.

    Raises InputError for an impossible scenario, Infeasible where no plan fits in memory.
    """
    limits.check_gpus(scenario.num_gpus)
    return with_plan(scenario, _chosen(scenario))


def _chosen(scenario: Scenario) -> Plan:
    model, cluster, step = scenario.model, scenario.cluster, scenario.step
    return choose_plan(scenario.plan, model, cluster, scenario.num_gpus, step, scenario.framework)


def run_scenario(scenario: Scenario, *, detail: Detail | None = None) -> TrainingReport:
    """Choose what the scenario leaves open, play it, and report; `detail` None is the coarsest that loses nothing.

    Raises InputError for an impossible scenario, Infeasible where no plan fits in memory.
    """
    model, cluster, step, framework = scenario.model, scenario.cluster, scenario.step, scenario.framework
    plan = _chosen(scenario)
    if detail is None:
        detail = needed(plan, cluster)
        detail = "layer" if limits.is_too_long(plan, model, cluster, detail) else detail
    limits.check_play(plan, model, cluster, detail)
    timeline = simulate_training(model, cluster, plan, step, framework, detail=detail)
    command = _command(scenario, plan, detail)
    return summarize(timeline, model, cluster, plan, step, framework, command)


def choose_plan(
    partial: PartialPlan, model: Transformer, cluster: Cluster, num_gpus: int, step: TrainingStep, framework: Framework
) -> Plan:
    """The first plan of `default_plan.options` that fits in memory.

    Where degrees were given and nothing fits, the plan that needs least, so that the report can say by how much.
    Raises InputError for an impossible plan, Infeasible where a rule may choose freely and nothing fits.
    """
    plans = options(partial, model, cluster, num_gpus, step.seq_len)
    given = any(degree is not None for degree in (partial.tp, partial.pp, partial.vpp, partial.dp))
    if given and len(plans) == 1:
        return plans[0]
    needs = {}
    short = [plan for plan in plans if not limits.is_long_schedule(plan)]
    for plan in short:
        needs[plan] = max(use.reserved for use in memory_use(_context(model, cluster, plan, step, framework), plan))
        if needs[plan] <= cluster.gpu.memory_nbytes:
            return plan
    for plan in plans:
        limits.check_schedule(plan)
    least = min(needs, key=lambda plan: needs[plan])
    if given:
        return least
    raise Infeasible(_nothing_fits(least, needs[least], len(plans), model, cluster, num_gpus))


def _command(scenario: Scenario, plan: Plan, detail: Detail) -> str:
    """The command line that gives this result again."""
    said = asdict(plan) | {"seq_len": scenario.step.seq_len, "precision": scenario.step.precision}
    said |= {"framework": scenario.framework.name, "detail": detail}
    words = ["shardsim", "train", scenario.model_reference, scenario.cluster_reference, "--gpus", str(plan.num_gpus)]
    for name, value in said.items():
        flag = name.replace("_", "-")
        words += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return shlex.join(words)


def _nothing_fits(least: Plan, need: float, num_plans: int, model: Transformer, cluster: Cluster, num_gpus: int) -> str:
    closest = f"the smallest, tp={least.tp} pp={least.pp} dp={least.dp} recompute={least.recompute}"
    room = f"{need / GIB:.1f} GiB of {cluster.gpu.memory_nbytes / GIB:.1f} GiB on a rank"
    tried = f"none of {num_plans} plans of {model.name} on {num_gpus} GPUs of {cluster.name} fits"
    return f"{tried}: {closest}, needs {room}; use more GPUs, a shorter sequence, or a smaller micro-batch"


def simulate_training(
    model: Transformer,
    cluster: Cluster,
    plan: Plan,
    step: TrainingStep,
    framework: Framework,
    *,
    detail: Detail = "layer",
    folded: bool = True,
    steady_state: bool = True,
) -> Timeline:
    """Play one training step.

    `folded` plays one of several equal ranks, `steady_state` skips what repeats; neither changes the result by more
    than 1e-9 of it. Raises InputError for an impossible plan.
    """
    check(plan, model, cluster, step.seq_len)
    context = _context(model, cluster, plan, step, framework)
    folding = fold(plan, cluster) if folded else unfolded(plan)
    program = lower(context, plan, cluster, folding, condenser(cluster, detail))
    return Engine(cluster, steady_state=steady_state).play(program)


def summarize(
    timeline: Timeline,
    model: Transformer,
    cluster: Cluster,
    plan: Plan,
    step: TrainingStep,
    framework: Framework,
    command: str = "",
) -> TrainingReport:
    """What a played step comes to, with the memory that it needs."""
    uses = memory_use(_context(model, cluster, plan, step, framework), plan)
    shares = timelines.breakdown(timeline)
    return TrainingReport(
        scenario=_described(model, cluster, plan, step, framework),
        model=model,
        cluster=cluster,
        plan=plan,
        command=command,
        result=_rates(timeline.duration, model, cluster, plan, step)
        | {
            "bubble_fraction": shares["bubble"],
            "breakdown": shares,
            "peak_memory_gib": [use.total / GIB for use in uses],
            "peak_reserved_gib": [use.reserved / GIB for use in uses],
            "fits": all(use.reserved <= cluster.gpu.memory_nbytes for use in uses),
            "interval": {"p10_s": None, "p50_s": timeline.duration, "p90_s": None},
            "parameters": _origins(shares, cluster),
        },
        memory=tuple(use.by_holding() for use in uses),
        memory_capacity_gib=cluster.gpu.memory_nbytes / GIB,
        rank_busy=_busy_by_pipeline_rank(timeline, plan),
        critical_path=critical_path(timeline),
        timeline=timeline,
        notes=_notes(uses, cluster, plan, framework),
    )


def _context(model: Transformer, cluster: Cluster, plan: Plan, step: TrainingStep, framework: Framework) -> Context:
    if step.precision not in cluster.gpu.peak_flops:
        known = ", ".join(cluster.gpu.peak_flops)
        raise InputError(f"{cluster.gpu.name} has no {step.precision}; use one of {known}")
    return Context(
        model=model,
        gpu=cluster.gpu,
        framework=framework,
        tp=plan.tp,
        sp=plan.sp,
        recompute=plan.recompute,
        micro_batch=plan.micro_batch,
        seq_len=step.seq_len,
        precision=step.precision,
    )


def _rates(duration: float, model: Transformer, cluster: Cluster, plan: Plan, step: TrainingStep) -> dict[str, object]:
    """Times and rates of a step; utilisation is against the dense peak of the precision of the large products."""
    tokens = plan.global_batch * step.seq_len
    per_gpu = 1 / (duration * plan.num_gpus)
    peak = cluster.gpu.peak_flops[step.precision]
    useful = model_flops(model, plan.global_batch, step.seq_len) * per_gpu
    causal = model_flops(model, plan.global_batch, step.seq_len, causal=True) * per_gpu
    executed = hardware_flops(model, plan.global_batch, step.seq_len, plan.recompute) * per_gpu
    return {
        "step_time_s": duration,
        "tokens_per_s": tokens / duration,
        "tokens_per_s_per_gpu": tokens * per_gpu,
        "model_tflops_per_gpu": useful / TERA,
        "hardware_tflops_per_gpu": executed / TERA,
        "mfu": useful / peak,
        "mfu_causal": causal / peak,
        "hfu": executed / peak,
    }


def _origins(shares: Mapping[str, float], cluster: Cluster) -> dict[str, float]:
    """Shares of the busy time by what the parameters behind it rest on."""
    node = cluster.node
    nic = nic_of(node).fit
    parts = {"exposed_tp": node.scale_up.fit, "exposed_pp": nic, "exposed_dp": nic}
    origins = {"measured": 0.0, "interpolated": 0.0, "extrapolated": 0.0, "datasheet": 0.0}
    for key, share in shares.items():
        if key != "bubble":
            origins[parts.get(key, node.gpu.fit).origin] += share
    return {origin: share / sum(origins.values()) for origin, share in origins.items()}


def _busy_by_pipeline_rank(timeline: Timeline, plan: Plan) -> tuple[Mapping[str, float], ...]:
    """The breakdown of each pipeline rank, in fractions of the step, the mean over its played ranks."""
    sums: list[dict[str, float]] = [{} for _ in range(plan.pp)]
    counts = [0] * plan.pp
    for rank, seconds in timelines.breakdown_by_rank(timeline).items():
        place = rank // (plan.tp * plan.dp)
        counts[place] += 1
        for key, part in seconds.items():
            sums[place][key] = sums[place].get(key, 0.0) + part / timeline.duration
    return tuple({key: part / count for key, part in one.items()} for one, count in zip(sums, counts, strict=True))


def _described(
    model: Transformer, cluster: Cluster, plan: Plan, step: TrainingStep, framework: Framework
) -> dict[str, object]:
    """The scenario as it was run, in the names of a scenario file."""
    degrees = asdict(plan)
    batch = {"global": degrees.pop("global_batch"), "micro": degrees.pop("micro_batch"), "seq_len": step.seq_len}
    return {
        "kind": "training",
        "model": model.name,
        "cluster": cluster.name,
        "gpus": plan.num_gpus,
        "plan": degrees,
        "batch": batch,
        "precision": step.precision,
        "framework": framework.name,
    }


def _notes(uses: tuple[MemoryUse, ...], cluster: Cluster, plan: Plan, framework: Framework) -> tuple[str, ...]:
    """What the figures rest on, in sentences."""
    node, nic, shared = cluster.node, nic_of(cluster.node), shares_wires(plan, cluster)
    over = [rank for rank, use in enumerate(uses) if use.reserved > cluster.gpu.memory_nbytes]
    worst = max(uses, key=lambda use: use.reserved)
    out_of_memory = (
        f"Out of memory on pipeline rank {', '.join(map(str, over[:8]))}: {worst.reserved / GIB:.1f} GiB needed of "
        f"{cluster.gpu.memory_nbytes / GIB:.1f} GiB; use more tp or pp, more recomputation, or a smaller micro-batch.",
    )
    return (
        *(out_of_memory if over else ()),
        "No prediction interval yet: the parameters are data-sheet values and published achievable rates, not fits.",
        f"GEMM reaches {node.gpu.fit['gemm_efficiency']:.0%} of peak: {node.gpu.fit.sources['gemm_efficiency']}.",
        f"HBM reaches {node.gpu.fit['memory_efficiency']:.0%}: {node.gpu.fit.sources['memory_efficiency']}.",
        f"{node.scale_up.name} reaches {node.scale_up.fit['bandwidth_efficiency']:.0%}: "
        f"{node.scale_up.fit.sources['bandwidth_efficiency']}.",
        f"{nic.name} reaches {nic.fit['bandwidth_efficiency']:.0%}: {nic.fit.sources['bandwidth_efficiency']}.",
        f"Software as of {framework.description}; gradients are summed after the backward pass, not beside it.",
        f"Memory reserved is taken as {ALLOCATOR_RESERVE:.0%} above what is allocated, an assumption.",
        "Clocks under a power limit, stragglers and data loading are not modelled yet: "
        "the 20 published A100 runs that were compared took 5 to 19 % longer than simulated.",
        *(
            ("tp collectives and pipeline messages share wires here: only --detail kernel counts it fully.",)
            if shared
            else ()
        ),
    )
