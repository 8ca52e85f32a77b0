"""What a scenario file may say. What a later version brings is refused by name, everything else that is unknown too."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, JsonValue

import topologies
from sim import frameworks, models
from sim.default_plan import PartialPlan
from sim.scenario.cluster import ClusterSection, opened
from sim.scenario.fields import Count, Dollars, Length, ModelReference, One, Section, Text, Tokens, known, not_yet
from topologies import sheets
from topologies.document import Document, InputError, Value, error_at


class PlanSection(Section):
    """How the model is spread. Where any degree is said, the others are 1 and dp fills the GPUs."""

    tp: Count | None = None
    """Tensor parallelism: every matrix split over so many GPUs."""
    sp: bool | None = None
    """Megatron's sequence parallelism; on where tp > 1."""
    pp: Count | None = None
    """Pipeline parallelism: the layers split over so many ranks."""
    vpp: Count | None = None
    """Model chunks per pipeline rank; more than 1 needs schedule interleaved."""
    cp: One = 1
    """Context parallelism; only 1 so far."""
    ep: One = 1
    """Expert parallelism; only 1 so far."""
    dp: Count | None = None
    """Data parallelism: replicas; fills the GPUs."""
    zero: Annotated[Literal[0, 1] | None, not_yet("zero")] = None
    """1: the optimizer's state is divided over the replicas (distributed optimizer)."""
    schedule: Annotated[Literal["none", "gpipe", "1f1b", "interleaved"] | None, not_yet("schedule")] = None
    """The order of forward and backward passes; none is for pp = 1, as tables of runs write it."""
    recompute: Literal["none", "selective", "full"] | None = None
    """Which activations are computed again in the backward pass; the least that fits."""


class BatchSection(Section):
    """How much one step works on."""

    global_batch: Annotated[Count | None, Field(alias="global")] = None
    """Sequences per step; about 4 million tokens where it is not said."""
    micro: Count | None = None
    """Sequences per microbatch; 1 where it is not said."""
    seq_len: Length | None = None
    """Tokens per sequence; the model's own length where it is not said."""


class ScenarioFile(Section):
    """One training step for ShardSim to simulate: a model, run by a plan, on a cluster."""

    kind: Annotated[Literal["training"], not_yet("kind")]
    """What is simulated."""
    model: ModelReference
    """A model of the catalogue, a model file or a Hugging Face config.json; or a mapping: its name, and fields laid
    over it, such as {name: llama3-70b, num_layers: 16}."""
    cluster: Annotated[ClusterSection, BeforeValidator(opened, json_schema_input_type=Text | ClusterSection)]
    """A cluster of the catalogue or a cluster file; or a mapping."""
    gpus: Count | None = None
    """How many GPUs run the step; all of the nodes where it is not said."""
    plan: PlanSection = PlanSection()
    batch: BatchSection = BatchSection()
    precision: Annotated[Literal["bf16", "fp16"], not_yet("precision")] = "bf16"
    """That of the large products."""
    framework: Annotated[str, known(frameworks.load)] = frameworks.DEFAULT
    """The training software: megatron-core or megatron-lm."""
    tokens: Tokens = None
    """Tokens of the whole run, such as 15T, for its days and dollars."""
    price: Dollars = None
    """Dollars per GPU-hour, or which list price: on-demand or reserved."""

    def num_gpus(self) -> int:
        """As said, else all of the nodes, else as the degrees make."""
        if self.gpus is not None:
            return self.gpus
        if self.cluster.nodes is not None:
            return self.cluster.nodes * self.cluster.num_gpus_per_node()
        if self.plan.dp is not None:
            return (self.plan.tp or 1) * (self.plan.pp or 1) * self.plan.dp
        raise InputError(f"gpus: how many GPUs of {self.cluster.title()} is not said; write for example gpus: 64")

    def partial_plan(self) -> PartialPlan:
        plan = self.plan.model_dump(exclude={"cp", "ep"})
        return PartialPlan(**plan, micro_batch=self.batch.micro, global_batch=self.batch.global_batch)


def schema() -> dict[str, JsonValue]:
    """The JSON Schema of a scenario file, for editors, with the catalogue's names as examples."""
    made: dict[str, JsonValue] = ScenarioFile.model_json_schema()
    sections = made["$defs"]
    assert isinstance(sections, dict)
    _add_examples(made, {"model": models.names(), "cluster": topologies.names(), "framework": frameworks.names()})
    links = {field: sheets.known(field) for field in sheets.LINKS}
    _add_examples(sections["ClusterSection"], {"name": topologies.names(), "gpu": topologies.names("gpus"), **links})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def _add_examples(section: JsonValue, known: Mapping[str, list[str]]) -> None:
    assert isinstance(section, dict)
    fields = section["properties"]
    assert isinstance(fields, dict)
    for name, names in known.items():
        field = fields[name]
        assert isinstance(field, dict)
        field["examples"] = list(names)


def refuse_sweeps(document: Document) -> None:
    """Raises InputError where a field holds several values, which a later version runs one by one."""
    for location, value in _fields(document.data):
        if isinstance(value, dict) and ("choices" in value or "range" in value):
            raise error_at(document, location, "several values (a sweep) are not supported yet; write one")


def _fields(data: Value) -> Iterator[tuple[tuple[str, ...], Value]]:
    for name, value in data.items() if isinstance(data, dict) else ():
        yield (name,), value
        if isinstance(value, dict):
            for inner in value:
                yield (name, inner), value[inner]
