"""What bounds a step: its critical path by resource, what it consists of, and what it would gain from better parts.

Each piece of the path takes the bounds of the kernel or collective that it is; a layer or stage that was put in one
piece takes those of the kernels of its pass, in the mean.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sim import limits
from sim.critical_path import Span, spans, words_of
from sim.detail import Detail, needed
from sim.inventory import Entry, Inventory, Mix, Resource, inventory, largest, normed
from sim.scenario import Scenario, with_plan
from sim.sensitivity import Gain, gains
from sim.timeline import KINDS, NO_ACTION, Label
from sim.training import TrainingReport

WAITING: Mix = {"waiting": 1.0}
HOST: Mix = {"host": 1.0}
LATENCY: Mix = {"latency": 1.0}
"""Of communication that the lowered step does not know: nothing to move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathPart:
    """So many seconds of the critical path, in words, and by what bounds them."""

    what: str
    seconds: float
    mix: Mix

    @property
    def bound_by(self) -> Resource:
        return largest(self.mix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a step takes as long as it does. `resources` are the seconds of the path by what bounds them, largest first;
    they sum to the step, and so do the `parts`."""

    report: TrainingReport
    resources: Mapping[Resource, float]
    parts: tuple[PathPart, ...]
    entries: tuple[Entry, ...]
    gains: tuple[Gain, ...]

    @property
    def bound_by(self) -> Resource:
        return largest(self.resources)


def explain(
    scenario: Scenario,
    report: TrainingReport,
    *,
    detail: Detail | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Explanation:
    """Explain the report of a scenario, played at this detail; `tell` is told what is under way."""
    said = with_plan(scenario, report.plan)
    if detail is None:
        cluster = report.cluster
        detail = limits.finest(report.plan, report.model, cluster, needed(report.plan, cluster))
    tell("counting kernels and collectives")
    found = inventory(said, report.plan)
    parts = path_parts(report, found)
    return Explanation(
        report=report,
        resources=by_resource(parts),
        parts=parts,
        entries=found.entries,
        gains=gains(said, report, detail, tell),
    )


def path_parts(report: TrainingReport, found: Inventory) -> tuple[PathPart, ...]:
    """The critical path by what the time was spent on, largest first."""
    seconds: dict[str, defaultdict[Resource, float]] = {}
    names = {(entry.name, entry.key): entry.mix for entry in found.entries}
    for span in spans(report.timeline):
        label = report.timeline.labels[span.label]
        keys = [key for key, _ in label.parts] if label.parts else [span.category]
        said = list(words_of(label, span))
        if len(said) != len(keys):
            keys = [span.category]
        for key, (words, length) in zip(keys, said, strict=True):
            into = seconds.setdefault(words, defaultdict(float))
            for resource, share in _mix(key, label, span, found, names).items():
                into[resource] += length * share
    parts = [PathPart(what=words, seconds=sum(mix.values()), mix=normed(mix)) for words, mix in seconds.items() if mix]
    return tuple(sorted((part for part in parts if part.mix), key=lambda part: -part.seconds))


def by_resource(parts: tuple[PathPart, ...]) -> dict[Resource, float]:
    """Seconds of the path by what bounds them, largest first."""
    seconds: defaultdict[Resource, float] = defaultdict(float)
    for part in parts:
        for resource, share in part.mix.items():
            seconds[resource] += part.seconds * share
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def _mix(key: str, label: Label, span: Span, found: Inventory, names: Mapping[tuple[str, str], Mix]) -> Mix:
    """What bounds a piece of a label: as the entry of its name, or else as the mean of its pass, or of its axis."""
    if key == "bubble":
        return WAITING
    if key in ("host", "other"):
        return HOST
    axis = key.removeprefix("exposed_")
    known = names.get((label.name, axis))
    if known is not None:
        return known
    if axis in found.axes:
        return found.axes[axis]
    action = None if span.kind == NO_ACTION else (KINDS[span.kind], span.stage)
    return found.actions.get(action, LATENCY)
