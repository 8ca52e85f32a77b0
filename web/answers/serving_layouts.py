"""The same load on the same GPUs laid out in other ways: tensor, pipeline, expert parallelism, replicas, prefill apart.

A few layouts, the ones that people weigh against each other; those that cannot be are left out, with the reason.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd
from typing import Final

from sim.deployment import Deployment, Disaggregation, Layout
from sim.reports.figures import number
from sim.scenario.serving import ServingScenario
from sim.scenario.serving.layout import problems
from sim.serving.simulation import simulate_serving
from topologies.document import Infeasible, InputError, Value
from topologies.quantity import MILLISECOND
from web import scenarios
from web.answers.serving_scenario import Trace, opened

MOST: Final = 6
"""Layouts: as many as a reader takes in at a glance, and waits for."""
_OF_LAYOUT: Final = ("tp", "pp", "dp", "ep", "cp", "cp_kind", "layers", "replicas", "prefill")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A way to lay the GPUs out: what it is called, what it is in short, and the scenario with it."""

    name: str
    layout: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Times in seconds, dollars per million output tokens (None without a price); `refused` says why there are none."""

    ttft: float = 0.0
    ttft_p99: float = 0.0
    tpot: float = 0.0
    throughput: float = 0.0
    cost: float | None = None
    busy: float = 0.0
    is_met: bool = False
    refused: str = ""


def candidates(text: str, trace: Trace | None) -> tuple[Candidate, ...]:
    """The layout that is asked for, and others of as many GPUs; raises InputError for an impossible scenario."""
    with opened(text, trace) as scenario:
        fields = scenarios.fields(text)
        found: dict[str, Candidate] = {}
        for name, deployment in (("as asked", scenario.deployment), *_others(scenario)):
            if deployment.num_gpus == scenario.num_gpus:
                short = in_short(deployment)
                found.setdefault(short, Candidate(name=name, layout=short, text=_with(fields, deployment)))
    return tuple(found.values())[:MOST]


def outcome(text: str, trace: Trace | None) -> Outcome:
    """What came of one of them."""
    try:
        with opened(text, trace) as scenario:
            report = simulate_serving(scenario, finds_knee=False)
    except (InputError, Infeasible) as error:
        return Outcome(refused=str(error))
    found, cost = report.result, report.result["cost_per_million_output_tokens_usd"]
    return Outcome(
        ttft=number(found, "median_ttft_ms") * MILLISECOND,
        ttft_p99=number(found, "p99_ttft_ms") * MILLISECOND,
        tpot=number(found, "mean_tpot_ms") * MILLISECOND,
        throughput=number(found, "output_throughput"),
        cost=cost if isinstance(cost, float) else None,
        busy=number(found, "gpu_busy_fraction"),
        is_met=report.is_met,
    )


def in_short(deployment: Deployment) -> str:
    """'2 x tp 4', 'tp 2 pp 4', '1 x tp 4 + prefill 1 x tp 4'."""
    said = _times(deployment.replicas, deployment.layout)
    apart = deployment.prefill
    return said if apart is None else f"{said} + prefill {_times(apart.replicas, apart.layout)}"


def _times(replicas: int, layout: Layout) -> str:
    degrees = {name: getattr(layout, name) for name in ("tp", "pp", "dp", "cp", "ep")}
    said = " ".join(f"{name} {degree}" for name, degree in degrees.items() if degree > 1) or "tp 1"
    return f"{replicas} x {said}" if replicas > 1 else said


def _others(scenario: ServingScenario) -> Iterator[tuple[str, Deployment]]:
    """Of tp as wide as the node and the heads allow; half of it and the rest otherwise."""
    gpus, asked = scenario.num_gpus, scenario.deployment
    tp = _widest(scenario)
    half = max(1, tp // 2)
    yield "tensor parallel", _spread(asked, Layout(tp=tp), gpus)
    if scenario.model.moe is not None:
        experts = gcd(gpus, scenario.model.moe.num_experts)
        yield "experts dealt", _spread(asked, Layout(tp=tp, ep=gcd(tp, experts)), gpus)
        yield "experts dealt, attention by request", _spread(asked, Layout(dp=gpus, ep=experts), gpus)
    elif gpus > 1 and gpus <= scenario.model.num_layers:
        yield "pipeline", _spread(asked, Layout(pp=gpus), gpus)
    if tp > 1:
        yield "tensor parallel in pipeline stages", _spread(asked, Layout(tp=half, pp=2), gpus)
        yield "more, smaller replicas", _spread(asked, Layout(tp=half), gpus)
        yield "prefill apart", _apart(asked, Layout(tp=half), gpus)


def _spread(asked: Deployment, layout: Layout, gpus: int) -> Deployment:
    """As many replicas of the layout as fill the GPUs."""
    return replace(asked, layout=layout, replicas=max(1, gpus // layout.num_gpus), prefill=None)


def _apart(asked: Deployment, layout: Layout, gpus: int) -> Deployment:
    """Half of the replicas for prompts, half for answers."""
    each = max(1, gpus // layout.num_gpus // 2)
    return replace(asked, layout=layout, replicas=each, prefill=Disaggregation(layout=layout, replicas=each))


def _widest(scenario: ServingScenario) -> int:
    """The largest power of two that divides the GPUs and the model, and stays in a node."""
    most = gcd(scenario.num_gpus, scenario.cluster.node.num_gpus)
    powers = [power for power in (1 << place for place in range(most.bit_length())) if most % power == 0]
    return max(tp for tp in powers if not any(problems(Layout(tp=tp), scenario.model)))


def _with(fields: Mapping[str, Value], deployment: Deployment) -> str:
    said = fields.get("deployment")
    kept = {name: value for name, value in said.items() if name not in _OF_LAYOUT} if isinstance(said, dict) else {}
    layout, apart = _layout(deployment.layout), deployment.prefill
    prefill = None if apart is None else {**_layout(apart.layout), "replicas": apart.replicas}
    return scenarios.text(
        {
            **fields,
            "gpus": deployment.num_gpus,
            "deployment": {**kept, **layout, "replicas": deployment.replicas, "prefill": prefill},
        }
    )


def _layout(layout: Layout) -> dict[str, Value]:
    said: dict[str, Value] = {"tp": layout.tp, "pp": layout.pp}
    return said | {name: degree for name in ("dp", "ep", "cp") if (degree := getattr(layout, name)) > 1}


def best(rows: Sequence[Outcome]) -> Mapping[str, float]:
    """By measure, the best value of those that could be played."""
    played = [row for row in rows if not row.refused]
    if not played:
        return {}
    least = {name: min(getattr(row, name) for row in played) for name in ("ttft", "ttft_p99", "tpot")}
    costs = [row.cost for row in played if row.cost is not None]
    most = {"throughput": max(row.throughput for row in played)}
    return {**least, **most, **({"cost": min(costs)} if costs else {})}
