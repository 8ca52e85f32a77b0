"""What a data sheet may say, in the catalogue and in a user's file alike: the schemas, and what they become.

Figures are text with a unit, and `sources` says for each figure where it was read. `achievable` holds the parameters of
the part's Fit, which start from published fractions (origin "datasheet") until a calibration lies over them.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from topologies.document import Document, InputError, validate
from topologies.hardware import Cluster, Fit, Gpu, Layout, Link, Network, Node, Pool, Wiring
from topologies.quantity import Unit, parse


def _in_unit(unit: Unit) -> BeforeValidator:
    return BeforeValidator(lambda text: parse(text, unit))


Size = Annotated[float, _in_unit("B")]
Bandwidth = Annotated[float, _in_unit("B/s")]
Time = Annotated[float, _in_unit("s")]
Rate = Annotated[float, _in_unit("FLOP/s")]
Power = Annotated[float, _in_unit("W")]
Fraction = Annotated[float, Field(ge=0.001, le=1)]
Count = Annotated[int, Field(ge=1, le=100_000)]
Name = Annotated[str, Field(min_length=1, max_length=80)]
Precision = Literal["fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "fp6", "fp4", "int8", "int4"]

Sheet = TypeVar("Sheet")
Part = TypeVar("Part")

_CONFIG = ConfigDict(extra="forbid", frozen=True, strict=True)


class GpuAchievable(BaseModel):
    """The parameters of a GPU's cost functions; an efficiency is a fraction of the figure on the data sheet."""

    model_config = _CONFIG
    gemm_efficiency: Fraction
    memory_efficiency: Fraction
    kernel_latency: Time
    flash_forward_efficiency: Fraction
    flash_backward_efficiency: Fraction


class GpuSheet(BaseModel):
    """One accelerator; `memory` is what a program can use, not what the package is sold as."""

    model_config = _CONFIG
    name: Name
    aliases: list[Name] = []
    peak_flops: Annotated[dict[Precision, Rate], Field(min_length=1)]
    memory: Size
    memory_bandwidth: Bandwidth
    num_sms: Count
    l2_cache: Size
    power_limit: Power
    nvlink: Name | None = None
    pcie: Name | None = None
    achievable: GpuAchievable
    sources: dict[str, str] = {}


class LinkAchievable(BaseModel):
    """The parameters of a link's cost functions; `launch_latency` is the fixed cost of one collective call."""

    model_config = _CONFIG
    bandwidth_efficiency: Fraction
    launch_latency: Time


class LinkSheet(BaseModel):
    """One kind of wire; `bandwidth` is one direction's, `latency` that of one step from GPU to GPU."""

    model_config = _CONFIG
    name: Name
    aliases: list[Name] = []
    bandwidth: Bandwidth
    latency: Time
    achievable: LinkAchievable
    sources: dict[str, str] = {}


class NodeSheet(BaseModel):
    """Equal nodes; a part is named as in the catalogue or written out in place. `nodes` is how many there are.

    The way inside a node is one of `nvlink` (an NVSwitch), `mesh` (a wire to each other GPU) and `pcie` (a tree).
    """

    model_config = _CONFIG
    gpu: Name | GpuSheet
    gpus_per_node: Count
    nvlink: Name | LinkSheet | None = None
    mesh: Name | LinkSheet | None = None
    pcie: Name | LinkSheet | None = None
    gpus_per_switch: Count = 1
    sockets: Count = 1
    socket_link: Name | LinkSheet | None = None
    bridge: Name | LinkSheet | None = None
    nic: Name | LinkSheet | None = None
    nics_per_node: Annotated[int, Field(ge=0, le=100_000)] = 0
    nodes: Count


class ClusterSheet(NodeSheet):
    """One kind of node, and the network that joins them."""

    name: Name
    aliases: list[Name] = []
    wiring: Wiring = "rail-optimised"
    oversubscription: Annotated[float, Field(ge=1, le=1000)] = 1.0
    nodes_per_leaf: Annotated[int, Field(ge=0, le=100_000)] = 0
    torus: list[Count] = []
    sources: dict[str, str] = {}


def gpu(document: Document) -> Gpu:
    """The GPU that a document describes; InputError where it is not a sheet of one."""
    return _gpu(validate(document, GpuSheet), document.name)


def link(document: Document) -> Link:
    """The link that a document describes; InputError where it is not a sheet of one."""
    return _link(validate(document, LinkSheet), document.name)


def cluster(document: Document, find_gpu: Callable[[str], Gpu], find_link: Callable[[str], Link]) -> Cluster:
    """The cluster that a document describes, its named parts found by the two functions; else InputError."""
    sheet = validate(document, ClusterSheet)
    network = Network(
        wiring=sheet.wiring,
        oversubscription=sheet.oversubscription,
        nodes_per_leaf=sheet.nodes_per_leaf,
        torus=tuple(sheet.torus),
    )
    pool = Pool(node=_node(document, sheet, find_gpu, find_link), num_nodes=sheet.nodes)
    return Cluster(name=sheet.name, pools=(pool,), network=network)


def _node(
    document: Document, sheet: NodeSheet, find_gpu: Callable[[str], Gpu], find_link: Callable[[str], Link]
) -> Node:
    def link_of(field: str, part: str | LinkSheet | None) -> Link | None:
        return None if part is None else _part(document, field, part, find_link, _link)

    ways: dict[Layout, Link | None] = {
        "nvswitch": link_of("nvlink", sheet.nvlink),
        "mesh": link_of("mesh", sheet.mesh),
        "pcie": link_of("pcie", sheet.pcie),
    }
    given = [(layout, way) for layout, way in ways.items() if way is not None]
    if len(given) != 1:
        raise InputError(f"{document.name}: write one of nvlink, mesh and pcie: how the GPUs of a node are joined")
    layout, scale_up = given[0]
    return Node(
        gpu=_part(document, "gpu", sheet.gpu, find_gpu, _gpu),
        num_gpus=sheet.gpus_per_node,
        layout=layout,
        scale_up=scale_up,
        gpus_per_switch=sheet.gpus_per_switch,
        num_sockets=sheet.sockets,
        socket_link=link_of("socket_link", sheet.socket_link),
        bridge=link_of("bridge", sheet.bridge),
        nic=link_of("nic", sheet.nic),
        num_nics=sheet.nics_per_node,
    )


def _part(
    document: Document,
    field: str,
    part: str | Sheet,
    find: Callable[[str], Part],
    build: Callable[[Sheet, str], Part],
) -> Part:
    """A part that is named, or one that is written out in place."""
    if not isinstance(part, str):
        return build(part, document.name)
    try:
        return find(part)
    except InputError as error:
        raise InputError(f"{document.name}:{document.lines[(field,)]}: {field}: {error}") from None


def _gpu(sheet: GpuSheet, origin: str) -> Gpu:
    return Gpu(
        name=sheet.name,
        peak_flops={str(precision): rate for precision, rate in sheet.peak_flops.items()},
        memory_nbytes=sheet.memory,
        memory_bandwidth=sheet.memory_bandwidth,
        num_sms=sheet.num_sms,
        l2_nbytes=sheet.l2_cache,
        power_limit=sheet.power_limit,
        fit=_fit(sheet.achievable.model_dump(), sheet.sources, origin),
        nvlink=sheet.nvlink,
        pcie=sheet.pcie,
    )


def _link(sheet: LinkSheet, origin: str) -> Link:
    fit = _fit(sheet.achievable.model_dump(), sheet.sources, origin)
    return Link(name=sheet.name, bandwidth=sheet.bandwidth, latency=sheet.latency, fit=fit)


def _fit(values: dict[str, float], sources: Mapping[str, str], origin: str) -> Fit:
    """The parameters with their sources; a figure without one is as the file says."""
    return Fit(values=values, sources={parameter: sources.get(parameter, origin) for parameter in values})
