"""What a data sheet may say, in the catalogue and in a user's file alike, and the JSON Schema of it for editors.

Figures are text with a unit, and `sources` says for each figure where it was read. `achievable` holds the parameters of
the part's Fit, which start from published fractions (origin "datasheet") until a calibration lies over them.
"""

from collections.abc import Mapping
from math import prod
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema

from topologies import catalogue, parts
from topologies.document import Document, InputError, Value, error_at, validate
from topologies.hardware import Cluster, Gpu, Link, Wiring
from topologies.quantity import Unit, example, parse, pattern
from topologies.wiring import problems

Kind = Literal["gpu", "link", "cluster"]


def _checked(unit: Unit) -> BeforeValidator:
    return BeforeValidator(lambda text: parse(text, unit))


def _as_text(unit: Unit) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern(unit), "examples": [example(unit)]})


Size = Annotated[float, _checked("B"), _as_text("B")]
Bandwidth = Annotated[float, _checked("B/s"), _as_text("B/s")]
Time = Annotated[float, _checked("s"), _as_text("s")]
Rate = Annotated[float, _checked("FLOP/s"), _as_text("FLOP/s")]
Power = Annotated[float, _checked("W"), _as_text("W")]
Fraction = Annotated[float, Field(ge=0.001, le=1)]
Count = Annotated[int, Field(ge=1, le=100_000)]
CountOrNone = Annotated[int, Field(ge=0, le=100_000)]
Name = Annotated[str, Field(min_length=1, max_length=80)]
WiringWord = Annotated[Wiring, BeforeValidator(lambda word: parts.WIRINGS.get(word, word))]
NcclVersion = Annotated[
    str, BeforeValidator(parts.version), WithJsonSchema({"type": ["string", "number"], "pattern": parts.VERSION})
]
UplinkCount = Annotated[int, Field(ge=0, le=1024)]
ConnectionCount = Annotated[int, Field(ge=1, le=128)]
Share = Annotated[float, Field(ge=0, le=0.99)]
Degraded = Annotated[dict[Name, Fraction], Field(max_length=1000)]
Precision = Literal["fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "fp6", "fp4", "int8", "int4"]

Title = Annotated[Name, Field(description="What it is called in results.")]
Aliases = Annotated[list[Name], Field(description="Other spellings of the name.")]
Sources = Annotated[dict[str, str], Field(description="For each figure, by its field's name, where it was read.")]

_CONFIG = ConfigDict(extra="forbid", frozen=True, strict=True)
_TREE = ("gpus_per_switch", "sockets", "socket_link", "bridge")
_LEAVES = ("oversubscription", "nodes_per_leaf", "ecmp", "qps", "ecmp_seed", "background")
# The names of links that a field may well hold begin like this.
LINKS = {
    "nvlink": ("nvlink",),
    "mesh": ("infinity-fabric", "gaudi", "nvlink"),
    "pcie": ("pcie",),
    "socket_link": ("upi", "infinity-fabric"),
    "bridge": ("nvlink-bridge",),
    "nic": ("ib-", "roce-", "efa-", "tcpxo-", "ethernet-", "omni-path-", "unknown-"),
}


class GpuAchievable(BaseModel):
    """The parameters of a GPU's cost functions; an efficiency is a fraction of the figure on the data sheet."""

    model_config = _CONFIG
    gemm_efficiency: Fraction = Field(description="Best rate of a large matrix product, of the dense peak.")
    memory_efficiency: Fraction = Field(description="Best rate of a kernel bound by memory, of memory_bandwidth.")
    kernel_latency: Time = Field(description="Shortest kernel in a captured graph, such as '3.4 us'.")
    flash_forward_efficiency: Fraction = Field(description="Flash attention forward, of the dense peak.")
    flash_backward_efficiency: Fraction = Field(description="Flash attention backward, of the dense peak.")


class GpuSheet(BaseModel):
    """One accelerator."""

    model_config = _CONFIG
    name: Title
    aliases: Aliases = []
    peak_flops: Annotated[dict[Precision, Rate], Field(min_length=1)] = Field(
        description="Dense peak rate by precision, such as {bf16: 989.4 TFLOP/s}; without sparsity."
    )
    memory: Size = Field(description="What a program can use, such as '79.1 GiB', a little less than is sold.")
    memory_bandwidth: Bandwidth = Field(description="Of the memory, such as '3350 GB/s'.")
    num_sms: Count = Field(description="Streaming multiprocessors, or compute units.")
    l2_cache: Size = Field(description="Last cache before the memory, such as '50 MiB'.")
    power_limit: Power = Field(description="Such as '700 W'.")
    full_power: Power | None = Field(
        default=None, description="Of a dense matrix product at the boost clock, were there no limit; 1.4 times it."
    )
    nvlink: Name | None = Field(default=None, description="The scale-up link that it comes with, by name.")
    pcie: Name | None = Field(default=None, description="The PCIe link that it comes with, by name.")
    achievable: GpuAchievable = Field(description="What it was seen to reach.")
    sources: Sources = {}


class LinkAchievable(BaseModel):
    """The parameters of a link's cost functions."""

    model_config = _CONFIG
    bandwidth_efficiency: Fraction = Field(description="What a large message gets, of `bandwidth`.")
    launch_latency: Time = Field(description="Fixed cost of one collective call, such as '8.4 us'.")


class LinkSheet(BaseModel):
    """One kind of wire."""

    model_config = _CONFIG
    name: Title
    aliases: Aliases = []
    bandwidth: Bandwidth = Field(description="In one direction, per GPU or per NIC: '450 GB/s', or '400 Gb/s' in bits.")
    latency: Time = Field(description="Of one step from GPU to GPU, such as '3.4 us'.")
    peers: CountOrNone = Field(default=0, description="In a mesh: others it has wires to; 0 is all that there are.")
    achievable: LinkAchievable = Field(description="What it was seen to reach.")
    sources: Sources = {}


class NodeSheet(BaseModel):
    """Equal nodes; a part is named as in the catalogue or written out in place.

    The way inside a node is one of `nvlink`, `mesh` and `pcie`; without any it is the GPU's own.
    """

    model_config = _CONFIG
    gpu: Name | GpuSheet = Field(description="A name, or the fields of a GPU's sheet.")
    gpus_per_node: Count = Field(description="GPUs of one NVLink domain or box.")
    nvlink: Name | LinkSheet | None = Field(default=None, description="Each GPU has a port of it on a switch.")
    mesh: Name | LinkSheet | None = Field(default=None, description="Each GPU deals it out to all other GPUs.")
    pcie: Name | LinkSheet | None = Field(default=None, description="Each GPU has a slot of it, in a PCIe tree.")
    gpus_per_switch: Count = Field(default=1, description="In a PCIe tree: GPUs that share one way up to the socket.")
    sockets: Count = Field(default=1, description="In a PCIe tree: processors with GPUs below them.")
    socket_link: Name | LinkSheet | None = Field(default=None, description="In a PCIe tree: what joins the sockets.")
    bridge: Name | LinkSheet | None = Field(default=None, description="In a PCIe tree: NVLink between slots 0-1, 2-3.")
    nic: Name | LinkSheet | None = Field(default=None, description="The network adapter; none in a box that is alone.")
    nics_per_node: CountOrNone = Field(default=0, description="Adapters of a node.")
    nodes: Count = Field(description="How many nodes there are at most.")


class _NetworkSheet(BaseModel):
    """A name, and the network that joins the nodes."""

    model_config = _CONFIG
    name: Title
    aliases: Aliases = []
    wiring: WiringWord = Field(default="rail-optimised", description="How the NICs are joined.")
    oversubscription: float = Field(default=1.0, ge=1, le=1000, description="Bandwidth below a leaf, of that above it.")
    nodes_per_leaf: CountOrNone = Field(default=0, description="Nodes below one leaf switch; 0 is one leaf for all.")
    torus: list[Count] = Field(
        default=[], max_length=6, description="Sizes of the grid where wiring is torus, such as [4, 4, 4]."
    )
    pxn: bool = Field(default=True, description="NCCL's PXN: by NVLink to the NIC on the target's rail.")
    ecmp: UplinkCount = Field(
        default=0, description="Parallel up-links of a leaf, to which messages are hashed; 0 spreads them ideally."
    )
    qps: ConnectionCount = Field(default=2, description="Connections of a message, each hashed to an up-link.")
    ecmp_seed: CountOrNone = Field(default=0, description="Which of the ways to hash it is.")
    background: Share = Field(default=0.0, description="What others take of the ways to the spine, such as 0.3.")
    degraded: Degraded = Field(
        default={}, description="What is left of some wires, by name, such as {node 2 nic 3: 0.5, leaf 0: 0.8}."
    )
    sharp: bool = Field(default=False, description="The network's switches sum what nodes send: NCCL's CollNet.")
    nccl_version: NcclVersion = Field(
        default=parts.NCCL_VERSION, description="Of NCCL, which chooses its algorithms by version, such as '2.27.3'."
    )
    sources: Sources = {}


class ClusterSheet(_NetworkSheet, NodeSheet):
    """Equal nodes, and the network that joins them."""


class MixedClusterSheet(_NetworkSheet):
    """Nodes of several kinds, counted through in this order, and the network that joins them."""

    pools: Annotated[list[NodeSheet], Field(min_length=1, max_length=64)] = Field(
        description="A section for each kind of node."
    )


def gpu(document: Document) -> Gpu:
    """The GPU that a document describes; InputError where it is not a sheet of one."""
    validate(document, GpuSheet)
    return parts.gpu_in(document)


def link(document: Document) -> Link:
    """The link that a document describes; InputError where it is not a sheet of one."""
    validate(document, LinkSheet)
    return parts.link_in(document)


def cluster(document: Document) -> Cluster:
    """The cluster that a document describes; InputError where it is not a sheet of one, or makes no sense."""
    is_mixed = isinstance(document.data, dict) and "pools" in document.data
    if is_mixed:
        _refuse_both(document)
        validate(document, MixedClusterSheet)
    else:
        validate(document, ClusterSheet)
    found = parts.cluster_in(document)
    for location, message in problems(found):
        at = ("pools", 0, *location) if is_mixed and location[0] in NodeSheet.model_fields else location
        raise error_at(document, at, message)
    return found


def overlaid(document: Document, changes: Mapping[str, Value]) -> Document:
    """The sheet of a cluster with other values in some fields; it keeps its own name, and is not yet checked.

    What a change leaves without meaning goes: other ways inside a node, a PCIe tree, leaves where there is a torus. A
    torus of other sizes takes as many of the nodes as it has places.

    Raises InputError for a field of the nodes where these are of several kinds.
    """
    below = document.data
    if not isinstance(below, dict):
        return document
    if "pools" in below:
        _refuse_nodes(document.name, changes)
    kept = {field: value for field, value in below.items() if field not in _without_meaning(changes)}
    name = {"name": below["name"]} if "name" in below else {}
    return Document(name=document.name, data=kept | _places(below, changes) | dict(changes) | name, lines={})


def _refuse_nodes(name: str, changes: Mapping[str, Value]) -> None:
    for field in NodeSheet.model_fields:
        if field in changes:
            raise InputError(f"{name}: {field}: the nodes are of several kinds; change it in the file, in its pools")


def _without_meaning(changes: Mapping[str, Value]) -> set[str]:
    """The fields of a sheet that mean nothing once others are changed."""
    ways = [way for way in parts.WAYS if way in changes]
    gone = {*parts.WAYS} if ways else set()
    gone |= {*_TREE} if ways and "pcie" not in ways else set()
    gone |= {"socket_link"} if changes.get("sockets") == 1 else set()
    if "wiring" in changes:
        gone |= {*_LEAVES} if changes["wiring"] == "torus" else {"torus"}
    return gone


def _places(below: Mapping[str, Value], changes: Mapping[str, Value]) -> dict[str, Value]:
    """The nodes of a torus that is asked for, where there are that many."""
    sizes, nodes = changes.get("torus"), below.get("nodes")
    if not isinstance(sizes, list) or not isinstance(nodes, int):
        return {}
    places = prod(size for size in sizes if isinstance(size, int))
    return {"nodes": places} if sizes and 0 < places <= nodes else {}


def _refuse_both(document: Document) -> None:
    assert isinstance(document.data, dict)
    for field in NodeSheet.model_fields:
        if field in document.data:
            raise error_at(document, (field,), "beside pools nothing is said of nodes; move it into each of the pools")


def schema(kind: Kind) -> dict[str, object]:
    """The JSON Schema of a sheet, for editors; the names of the catalogue's parts stand in it as examples."""
    sheets: dict[Kind, TypeAdapter[object]] = {
        "gpu": TypeAdapter(GpuSheet),
        "link": TypeAdapter(LinkSheet),
        "cluster": TypeAdapter(ClusterSheet | MixedClusterSheet),
    }
    made = sheets[kind].json_schema()
    _add_examples(made)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"ShardSim {kind} sheet", **made}


def _add_examples(made: Value) -> None:
    """Names of the catalogue wherever a part may be named."""
    if isinstance(made, list):
        for item in made:
            _add_examples(item)
    if not isinstance(made, dict):
        return
    for name, inner in made.items():
        if isinstance(inner, dict) and name in ("gpu", *LINKS) and "description" in inner:
            inner["examples"] = [*known(name)]
        else:
            _add_examples(inner)


def known(field: str) -> list[str]:
    """The names of the catalogue that a field may well hold."""
    if field == "gpu":
        return catalogue.names("gpus")
    return [name for name in catalogue.names("links") if name.startswith(LINKS[field])]
