"""What a step consists of, by name: how many of each kernel, collective and message, how long one takes alone, what it
does in that time, and what bounds it. The step is lowered to kernels for this, and not played.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Final, Literal

from sim.clock import clocked
from sim.detail import condenser
from sim.folding import fold
from sim.inventory.parts import Key as Key
from sim.inventory.parts import Mix as Mix
from sim.inventory.parts import Part, parts_of
from sim.inventory.parts import Resource as Resource
from sim.lowering import lower
from sim.plan import Plan
from sim.program import Program
from sim.scenario import Scenario
from sim.training import context_of, unequal
from topologies.hardware import Cluster, Origin

Family = Literal["attention", "products", "memory_bound", "recomputation"]
"""Kinds of kernels that a layer runs; what is recomputed counts as that, whatever it is."""

FAMILIES: Final[tuple[Family, ...]] = ("attention", "products", "memory_bound", "recomputation")
CORE: Final = ("flash", "scores", "softmax", "attention dropout", "context forward", "scale gradient", "mask gradient",
               "scale scores", "mask scores", "probability gradient", "value gradient", "query gradient",
               "key gradient")  # fmt: skip
"""How names of the kernels of the attention core begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """All that has one name: `count` a GPU and step (the mean), and the mean of one, alone: `seconds`, FLOPs, bytes.

    `key` is that of the breakdown (compute, optimizer, host, other) or the axis of a collective. `reached` is the share
    of the data sheet's rate of what it is bound by; `operation` and `origin` say what its seconds rest on.
    """

    name: str
    key: str
    family: Family | None
    is_kernel: bool
    count: float
    seconds: float
    mix: Mix
    flops: float
    nbytes: float
    reached: float
    operation: str
    origin: Origin

    @property
    def total(self) -> float:
        """Seconds of all of them on a GPU, each alone."""
        return self.count * self.seconds

    @property
    def bound_by(self) -> Resource:
        return largest(self.mix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The entries, largest first; and mixes of the kernels of each action, and of each axis' communication.

    `slow_gpus` are the seconds, a GPU's mean, that kernels of layers take longer because GPUs are not equally fast.
    """

    entries: tuple[Entry, ...]
    slow_gpus: float
    actions: Mapping[Key, Mix]
    axes: Mapping[str, Mix]

    def family_seconds(self) -> dict[Family, float]:
        """Seconds a GPU of the kernels of layers, each alone."""
        found = dict.fromkeys(FAMILIES, 0.0)
        for entry in self.entries:
            if entry.family is not None:
                found[entry.family] += entry.total
        return found


def largest(mix: Mix) -> Resource:
    """What bounds most of it."""
    return max(mix, key=lambda resource: mix[resource])


def inventory(scenario: Scenario, plan: Plan) -> Inventory:
    """The inventory of the scenario's step by this plan, lowered to kernels and not played."""
    program, cluster = lowered(scenario, plan)
    slower = _slower(scenario, plan)
    slow_gpus = 0.0
    sums: dict[tuple[str, str], _Sum] = {}
    actions: defaultdict[Key, defaultdict[Resource, float]] = defaultdict(_seconds)
    for one in parts_of(program, cluster, scenario.cluster):
        sums.setdefault((one.name, one.key), _Sum(first=one)).add(one)
        if one.key == "compute":
            slow_gpus += one.total * slower[one.rank // plan.stride]
        if one.is_kernel:
            _add(actions[one.action], one)
    entries = sorted((total.entry(plan.num_gpus) for total in sums.values()), key=lambda entry: -entry.total)
    axes: defaultdict[str, defaultdict[Resource, float]] = defaultdict(_seconds)
    for entry in entries:
        if not entry.is_kernel:
            _add(axes[entry.key], entry)
    return Inventory(
        entries=tuple(entries),
        slow_gpus=slow_gpus / plan.num_gpus,
        actions={key: normed(mix) for key, mix in actions.items()},
        axes={axis: normed(mix) for axis, mix in axes.items()},
    )


def lowered(scenario: Scenario, plan: Plan) -> tuple[Program, Cluster]:
    """The step's kernels and collectives, and the cluster at the clock that it keeps."""
    cluster = scenario.cluster
    context = context_of(scenario.model, cluster, plan, scenario.step, scenario.framework)
    at_clock = clocked(context, plan, cluster)
    return lower(
        context, plan, at_clock, fold(plan, cluster), condenser(at_clock, scenario.framework, "kernel")
    ), at_clock


def _slower(scenario: Scenario, plan: Plan) -> list[float]:
    """By which share of their time the kernels of each pipeline rank are slowed, the mean over its GPUs."""
    cluster = scenario.cluster
    context = context_of(scenario.model, cluster, plan, scenario.step, scenario.framework)
    found = unequal(context, plan, cluster, jitter=scenario.jitter, seed=scenario.seed, together=True)
    if found is None:
        return [0.0] * plan.pp
    return [fmean(found[first : first + plan.stride]) - 1 for first in range(0, plan.num_gpus, plan.stride)]


def normed(seconds: Mapping[Resource, float]) -> Mix:
    """Seconds as shares of their sum."""
    total = sum(seconds.values())
    return {resource: part / total for resource, part in seconds.items() if part} if total else {}


@dataclass(slots=True, kw_only=True)
class _Sum:
    """What all parts of one name come to so far."""

    first: Part
    count: float = 0.0
    sums: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    mix: defaultdict[Resource, float] = field(default_factory=lambda: defaultdict(float))
    rests: defaultdict[tuple[str, Origin], float] = field(default_factory=lambda: defaultdict(float))

    def add(self, one: Part) -> None:
        self.count += one.count
        for name, fact in (("seconds", one.seconds), ("flops", one.flops), ("nbytes", one.nbytes)):
            self.sums[name] += one.count * fact
        self.sums["reached"] += one.total * one.reached
        _add(self.mix, one)
        self.rests[one.operation, one.origin] += one.total

    def entry(self, num_gpus: int) -> Entry:
        total = self.sums["seconds"]
        operation, origin = max(self.rests, key=lambda rest: self.rests[rest])
        means = {name: self.sums[name] / self.count for name in ("seconds", "flops", "nbytes")}
        return Entry(
            name=self.first.name,
            key=self.first.key,
            family=_family(self.first.name, self.first.key, operation) if self.first.is_kernel else None,
            is_kernel=self.first.is_kernel,
            count=self.count / num_gpus,
            mix=normed(self.mix) or self.first.mix,
            reached=self.sums["reached"] / total if total else 0.0,
            operation=operation,
            origin=origin,
            **means,
        )


def _seconds() -> defaultdict[Resource, float]:
    return defaultdict(float)


def _add(seconds: defaultdict[Resource, float], one: Part | Entry) -> None:
    """What bounds its seconds, added to the seconds so far."""
    for resource, share in one.mix.items():
        seconds[resource] += one.total * share


def _family(name: str, key: str, operation: str) -> Family | None:
    if key != "compute":
        return None
    if name.startswith("recompute "):
        return "recomputation"
    if operation.startswith(("flash", "attention")) or name.startswith(CORE):
        return "attention"
    return "products" if "gemm" in operation else "memory_bound"
