"""What a step would gain from better hardware: the same plan, played again on a changed cluster.

One thing is changed at a time. The clock stays what the unchanged step keeps, and nothing limits the power: asked is
what a faster part is worth, not what cooling it would take. Fits are shares of the data sheet, so they go along.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from sim.costs.laws import COLLECTIVE_LAWS, KERNEL_LAWS
from sim.costs.power import at_clock, cold_clock
from sim.detail import Detail
from sim.frameworks import Framework
from sim.scenario import Scenario
from sim.training import TrainingReport, run_scenario
from topologies.hardware import Fit, Gpu, Link, Node, Pool

Change = Literal["compute", "hbm", "scale_up", "nic", "latency", "host"]
CHANGES: Final[Mapping[Change, str]] = {
    "compute": "twice the FLOP/s",
    "hbm": "twice the HBM bandwidth",
    "scale_up": "twice the bandwidth inside nodes",
    "nic": "twice the network bandwidth",
    "latency": "half of all latencies",
    "host": "a host twice as fast",
}
"""What is changed, by the resource that it makes better; these are the keys of `gains`."""

STARTS: Final = ("start", "floor")
"""Parameters of kernels that are the seconds of one that has nothing to do."""
HOST: Final = (
    "launch_seconds",
    "expert_launch_seconds",
    "scaled_launch_seconds",
    "host_seconds",
    "data_seconds",
    "moe_sync_seconds",
)
"""Times of a framework that the host takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """The step's seconds after a change, and the share of the step that this saves."""

    change: Change
    step_time: float
    gain: float


def gains(
    scenario: Scenario, report: TrainingReport, detail: Detail, tell: Callable[[str], None] = lambda _: None
) -> tuple[Gain, ...]:
    """What each change would bring the step of a report, whose scenario says the whole plan, largest gain first.

    A gain may be below zero by what scheduling anomalies cost: work that gets faster can arrive in a worse order.
    """
    clock = report.result["sm_clock"]
    assert isinstance(clock, float)
    fixed = held(scenario, clock)
    found = []
    for change, words in CHANGES.items():
        tell(f"playing the step with {words}")
        seconds = run_scenario(changed(fixed, change), detail=detail).timeline.duration
        found.append(Gain(change=change, step_time=seconds, gain=1 - seconds / report.timeline.duration))
    return tuple(sorted(found, key=lambda one: -one.gain))


def held(scenario: Scenario, clock: float) -> Scenario:
    """The scenario with its GPUs at a clock, whatever power they draw there; as unequal as they were at that clock."""
    limited = clock < cold_clock(scenario.cluster.gpu)
    framework = scenario.framework if limited else replace(scenario.framework, gpu_spread=0.0)
    fixed = replace(scenario, framework=framework)
    return _with_gpus(fixed, lambda gpu: replace(at_clock(gpu, clock), power_limit=math.inf))


def changed(scenario: Scenario, change: Change) -> Scenario:
    """The scenario with one thing better, twice the rate or half the time.

    "compute" is the arithmetic of all precisions (what feeds the SMs stays); "hbm" the L2 too, whose rate is given in
    the HBM's; "scale_up" all that joins GPUs of a node; "latency" the starts of kernels and collectives and the steps
    of links; "host" the times in a framework.
    """
    match change:
        case "compute":
            return _with_gpus(scenario, lambda gpu: replace(gpu, peak_flops=_twice(gpu.peak_flops)))
        case "hbm":
            return _with_gpus(scenario, lambda gpu: replace(gpu, memory_bandwidth=2 * gpu.memory_bandwidth))
        case "scale_up":
            return _with_nodes(scenario, lambda node: _with_links(node, _wider, inside=True, outside=False))
        case "nic":
            return _with_nodes(scenario, lambda node: _with_links(node, _wider, inside=False, outside=True))
        case "latency":
            quick = _with_nodes(scenario, lambda node: _with_links(node, _quicker, inside=True, outside=True))
            return _with_gpus(quick, _starting_soon)
        case "host":
            return replace(scenario, framework=_hosted(scenario.framework))


def _twice(rates: Mapping[str, float]) -> dict[str, float]:
    return {name: 2 * rate for name, rate in rates.items()}


def _with_gpus(scenario: Scenario, change: Callable[[Gpu], Gpu]) -> Scenario:
    return _with_nodes(scenario, lambda node: replace(node, gpu=change(node.gpu)))


def _with_nodes(scenario: Scenario, change: Callable[[Node], Node]) -> Scenario:
    cluster = scenario.cluster
    pools = tuple(Pool(node=change(pool.node), num_nodes=pool.num_nodes) for pool in cluster.pools)
    return replace(scenario, cluster=replace(cluster, pools=pools))


def _with_links(node: Node, change: Callable[[Link], Link], *, inside: bool, outside: bool) -> Node:
    if inside:
        bridge, socket = node.bridge and change(node.bridge), node.socket_link and change(node.socket_link)
        node = replace(node, scale_up=change(node.scale_up), bridge=bridge, socket_link=socket)
    return replace(node, nic=change(node.nic)) if outside and node.nic else node


def _wider(link: Link) -> Link:
    return replace(link, bandwidth=2 * link.bandwidth)


def _quicker(link: Link) -> Link:
    """Ratios of a link's fits are of its latencies; those that are in seconds are halved too."""
    fits = {operation: _halved(fit, _in_seconds(operation)) for operation, fit in link.fits.items()}
    fit = _halved(link.fit, ("launch_latency",))
    return replace(link, latency=link.latency / 2, fit=fit, fits=fits)


def _in_seconds(operation: str) -> tuple[str, ...]:
    law = COLLECTIVE_LAWS.get(operation)
    parameters = {} if law is None else law.parameters
    return tuple(name for name, parameter in parameters.items() if parameter.meaning.startswith("seconds"))


def _starting_soon(gpu: Gpu) -> Gpu:
    fits = {operation: _halved(fit, _starts(operation)) for operation, fit in gpu.fits.items()}
    return replace(gpu, fit=_halved(gpu.fit, ("kernel_latency",)), fits=fits)


def _starts(operation: str) -> tuple[str, ...]:
    """A start that the law gives as a share of the GPU's is halved with that."""
    law = KERNEL_LAWS.get(operation)
    parameters = {} if law is None else law.parameters
    return tuple(name for name in STARTS if name in parameters and parameters[name].meaning.startswith("seconds"))


def _halved(fit: Fit, names: tuple[str, ...]) -> Fit:
    return replace(fit, values={name: value / 2 if name in names else value for name, value in fit.values.items()})


def _hosted(framework: Framework) -> Framework:
    times = {name: getattr(framework, name) / 2 for name in HOST}
    return replace(framework, **times)
