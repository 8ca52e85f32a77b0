"""A scenario: everything that a simulation is told, from a YAML file, from flags, or from both, with the same names.

This is the only place that reads one. What is not said has a default; what a later version brings is refused by name.
Importing this module loads pydantic, so whoever must start fast imports it late.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

import topologies
from sim import frameworks, models
from sim.default_plan import PartialPlan
from sim.frameworks import Framework
from sim.models import Transformer
from sim.plan import Plan
from sim.workload import TrainingStep
from topologies.document import Document, InputError, Value, parse, read, shorten, validate
from topologies.hardware import Cluster

_MOST_DOTS = 3

# A flag of the command line (--micro-batch) and the field of a scenario that it sets.
FLAGS: Mapping[str, str] = {
    "model": "model",
    "cluster": "cluster",
    "gpus": "gpus",
    "tp": "plan.tp",
    "sp": "plan.sp",
    "pp": "plan.pp",
    "vpp": "plan.vpp",
    "cp": "plan.cp",
    "ep": "plan.ep",
    "dp": "plan.dp",
    "zero": "plan.zero",
    "schedule": "plan.schedule",
    "recompute": "plan.recompute",
    "micro_batch": "batch.micro",
    "global_batch": "batch.global",
    "seq_len": "batch.seq_len",
    "precision": "precision",
    "framework": "framework",
}
_WORD = re.compile(r"(?!true$|false$|null$)[a-z][a-z0-9.-]*|1f1b")
_LATER = {
    "kind": ("serving",),
    "precision": ("fp8", "mxfp8", "nvfp4", "fp32", "tf32", "int8"),
    "schedule": (
        "zb-h1",
        "zb-h2",
        "zb-v",
        "zbv",
        "v-half",
        "v-min",
        "dualpipe",
        "dualpipev",
        "looped",
        "breadth-first",
    ),
    "zero": (2, 3),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One training step to simulate; `plan` as far as it was said. The references are what the user wrote."""

    model: Transformer
    cluster: Cluster
    num_gpus: int
    plan: PartialPlan
    step: TrainingStep
    framework: Framework
    model_reference: str
    cluster_reference: str


def load(path: Path, flags: Mapping[str, Value] | None = None, sets: Sequence[str] = ()) -> Scenario:
    """The scenario in a file, with flags and then `--set plan.tp=4` texts laid over it.

    Raises InputError that names file, line and field.
    """
    return _scenario(_overridden(read(path), flags or {}, sets))


def from_flags(flags: Mapping[str, Value], sets: Sequence[str] = ()) -> Scenario:
    """The scenario that flags alone describe (keys of FLAGS; None is a flag not given), with `--set` texts over them.

    Raises InputError that names the field.
    """
    return _scenario(_overridden(Document(name="command line", data={"kind": "training"}, lines={}), flags, sets))


def with_plan(scenario: Scenario, plan: Plan) -> Scenario:
    """The scenario with the whole plan that was found for it, as a run is written down."""
    return dataclasses.replace(scenario, plan=PartialPlan(**dataclasses.asdict(plan)))


def dump(scenario: Scenario) -> str:
    """The scenario as a YAML file that `load` reads back to the same scenario."""
    plan = dataclasses.asdict(scenario.plan)
    batch = {"global": plan.pop("global_batch"), "micro": plan.pop("micro_batch"), "seq_len": scenario.step.seq_len}
    fields = {
        "kind": "training",
        "model": _text(scenario.model_reference),
        "cluster": _flow({"name": scenario.cluster_reference, "nodes": scenario.cluster.num_nodes}),
        "gpus": scenario.num_gpus,
        "plan": _flow(plan),
        "batch": _flow(batch),
        "precision": scenario.step.precision,
        "framework": scenario.framework.name,
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items())


def _flow(values: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{name}: {_text(value)}" for name, value in values.items() if value is not None) + "}"


def _text(value: object) -> str:
    """YAML of a scalar: words such as llama3-70b plain, any other text in quotes."""
    is_word = isinstance(value, str) and _WORD.fullmatch(value)
    return str(value) if is_word else json.dumps(value, ensure_ascii=False)


def _scenario(document: Document) -> Scenario:
    _refuse_sweeps(document)
    file = validate(document, _File)
    model = models.load(file.model)
    try:
        num_gpus = file.num_gpus()
        cluster = file.cluster_at_hand(num_gpus)
    except InputError as error:
        raise InputError(f"{document.name}: {error}") from None
    return Scenario(
        model=model,
        cluster=cluster,
        num_gpus=num_gpus,
        plan=file.partial_plan(),
        step=TrainingStep(seq_len=file.batch.seq_len or model.max_seq_len, precision=file.precision),
        framework=frameworks.load(file.framework),
        model_reference=file.model,
        cluster_reference=file.cluster.name,
    )


def _overridden(document: Document, flags: Mapping[str, Value], sets: Sequence[str]) -> Document:
    """The document with other values in some fields; those no longer stand on a line of the file."""
    changes: dict[str, Value] = {FLAGS[flag]: value for flag, value in flags.items() if value is not None}
    changes.update(_parse_set(text) for text in sets)
    if not changes or not isinstance(document.data, dict):
        return document
    data, lines = dict(document.data), dict(document.lines)
    for path, value in changes.items():
        parts = tuple(path.split("."))
        _put(data, parts, value)
        for end in range(1, len(parts) + 1):
            lines.pop(parts[:end], None)
    return Document(name=document.name, data=data, lines=lines)


def _parse_set(text: str) -> tuple[str, Value]:
    path, separator, value = text.partition("=")
    if not separator or not path.strip() or not value.strip():
        raise InputError(f"--set {shorten(text)}: write FIELD=VALUE, for example --set plan.tp=4")
    if path.count(".") > _MOST_DOTS:
        raise InputError(f"--set {shorten(path)}: no field lies that deep; write for example --set plan.tp=4")
    return path.strip(), parse(value, f"--set {shorten(path.strip())}").data


def _put(data: dict[str, Value], parts: Sequence[str], value: Value) -> None:
    """Set data[part][part]... in a copy of each level; `cluster: NAME` opens to `{name: NAME}`."""
    first, *rest = parts
    if not rest:
        data[first] = value
        return
    inner = data.get(first)
    section = _opened(inner) if first == "cluster" else inner
    if section is not None and not isinstance(section, dict):
        raise InputError(f"--set {'.'.join(parts)}: {first} is {shorten(section)}, which has no field {rest[0]}")
    data[first] = copy = dict(section or {})
    _put(copy, rest, value)


def _opened(cluster: Value) -> Value:
    return {"name": cluster} if isinstance(cluster, str) else cluster


def _refuse_sweeps(document: Document) -> None:
    for location, value in _fields(document.data):
        if isinstance(value, dict) and ("choices" in value or "range" in value):
            line = document.lines.get(location)
            where = f"{document.name}:{line}" if line else document.name
            raise InputError(
                f"{where}: {'.'.join(location)}: several values (a sweep) are not supported yet; write one"
            )


def _fields(data: Value) -> Iterator[tuple[tuple[str, ...], Value]]:
    for name, value in data.items() if isinstance(data, dict) else ():
        yield (name,), value
        if isinstance(value, dict):
            for inner in value:
                yield (name, inner), value[inner]


_Value = TypeVar("_Value")


def _not_yet(field: str) -> BeforeValidator:
    """Refuses by name the values that a later version brings."""

    def refuse(value: _Value) -> _Value:
        if isinstance(value, (str, int)) and value in _LATER[field]:
            raise ValueError(f"{value} is not supported yet")
        return value

    return BeforeValidator(refuse)


def _only_one(degree: int) -> int:
    if degree != 1:
        raise ValueError(f"{degree} is not supported yet; use 1")
    return degree


def _known(look_up: Callable[[str], object]) -> AfterValidator:
    """Checks a name where it stands, so that the message can say on which line."""

    def check(name: str) -> str:
        look_up(name)
        return name

    return AfterValidator(check)


_Count = Annotated[int, Field(ge=1, le=10_000_000)]
_One = Annotated[_Count, AfterValidator(_only_one)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Cluster(_Section):
    name: Annotated[str, Field(min_length=1), _known(topologies.load)]
    nodes: _Count | None = None


class _Plan(_Section):
    tp: _Count | None = None
    sp: bool | None = None
    pp: _Count | None = None
    vpp: _Count | None = None
    cp: _One = 1
    ep: _One = 1
    dp: _Count | None = None
    zero: Annotated[Literal[0, 1] | None, _not_yet("zero")] = None
    schedule: Annotated[Literal["none", "gpipe", "1f1b", "interleaved"] | None, _not_yet("schedule")] = None
    recompute: Literal["none", "selective", "full"] | None = None


class _Batch(_Section):
    global_batch: Annotated[_Count | None, Field(alias="global")] = None
    micro: _Count | None = None
    seq_len: _Count | None = None


class _File(_Section):
    kind: Annotated[Literal["training"], _not_yet("kind")]
    model: Annotated[str, Field(min_length=1), _known(models.load)]
    cluster: Annotated[_Cluster, BeforeValidator(_opened)]
    gpus: _Count | None = None
    plan: _Plan = _Plan()
    batch: _Batch = _Batch()
    precision: Annotated[Literal["bf16", "fp16"], _not_yet("precision")] = "bf16"
    framework: Annotated[str, _known(frameworks.load)] = frameworks.DEFAULT

    def num_gpus(self) -> int:
        """As said, else all of the nodes, else as the degrees make."""
        if self.gpus is not None:
            return self.gpus
        if self.cluster.nodes is not None:
            return self.cluster.nodes * topologies.load(self.cluster.name).node.num_gpus
        if self.plan.dp is not None:
            return (self.plan.tp or 1) * (self.plan.pp or 1) * self.plan.dp
        raise InputError(f"gpus: how many GPUs of {self.cluster.name} is not said; write for example gpus: 64")

    def cluster_at_hand(self, num_gpus: int) -> Cluster:
        """With as many nodes as said, else as the GPUs need."""
        if self.cluster.nodes is None:
            return topologies.load(self.cluster.name, num_gpus)
        return topologies.load(self.cluster.name, self.cluster.nodes * topologies.load(self.cluster.name).node.num_gpus)

    def partial_plan(self) -> PartialPlan:
        plan = self.plan.model_dump(exclude={"cp", "ep"})
        return PartialPlan(**plan, micro_batch=self.batch.micro, global_batch=self.batch.global_batch)
