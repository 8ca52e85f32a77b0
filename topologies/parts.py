"""What a data sheet becomes: its plain fields, once checked, turned into the frozen facts of hardware.py.

The catalogue's sheets are checked by tests and a user's by sheets.py; both are built here, so they mean the same.
What does not say how the GPUs of a node are joined gets the GPU's own way: NVLink where it has one, else PCIe.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from topologies.catalogue import named, names, outline, sheet
from topologies.document import Document, InputError, Location, Value, error_at, shorten
from topologies.fits import Relative, fitted_parts, link_with_fits, relative, with_fits
from topologies.hardware import Cluster, Fit, Gpu, Layout, Link, Network, Node, Pool, Wiring
from topologies.quantity import parse

Fields = dict[str, Value]

# The scale-up links of these kinds are single wires from GPU to GPU; all kinds but these and PCIe lead to a switch.
_MESHES = ("infinity-fabric", "gaudi")
_BRIDGE = "nvlink-bridge"
NCCL_VERSION = "2.27"
VERSION = r"^[1-9]\d?\.\d{1,2}(\.\d{1,3})?$"
_VERSION = re.compile(VERSION)
WAYS: Mapping[str, Layout] = {"nvlink": "nvswitch", "mesh": "mesh", "pcie": "pcie"}
WIRINGS: Mapping[str, Wiring] = {
    "rail-optimised": "rail-optimised",
    "rail-optimized": "rail-optimised",
    "rail_optimised": "rail-optimised",
    "rail_optimized": "rail-optimised",
    "fat-tree": "fat-tree",
    "fat_tree": "fat-tree",
    "fattree": "fat-tree",
    "torus": "torus",
}
"""Every spelling of a wiring that is read."""


@lru_cache
def gpu(name: str) -> Gpu:
    """The GPU of that name or alias in the catalogue; InputError if there is none."""
    return gpu_in(sheet("gpus", named("gpus", name)))


@lru_cache
def link(name: str) -> Link:
    """The link of that name or alias in the catalogue; InputError if there is none."""
    return link_in(sheet("links", named("links", name)))


def gpu_in(document: Document) -> Gpu:
    """The GPU that a checked document describes."""
    return _gpu(_mapping(document.data), document.name)


def link_in(document: Document) -> Link:
    """The link that a checked document describes."""
    return _link(_mapping(document.data), document.name)


def cluster_in(document: Document) -> Cluster:
    """The cluster that a checked document describes; InputError where it names a part that is not in the catalogue."""
    fields = _mapping(document.data)
    pools = fields.get("pools")
    if isinstance(pools, list):
        sections = [_pool(document, ("pools", index), _mapping(pool)) for index, pool in enumerate(pools)]
    else:
        sections = [_pool(document, (), fields)]
    return Cluster(
        name=_text(fields["name"]),
        pools=tuple(sections),
        network=_network(fields),
        nccl_version=version(fields.get("nccl_version", NCCL_VERSION)),
        degraded={name: _number(left) for name, left in _mapping(fields.get("degraded", {})).items()},
    )


def version(value: Value) -> str:
    """A version as text; YAML reads 2.30 as a number, which then has two decimals.

    Raises ValueError where it is none.
    """
    text = f"{value:.2f}" if isinstance(value, float) else str(value)
    if not _VERSION.fullmatch(text):
        raise ValueError(f"{shorten(text)} is no version of NCCL; write digits and dots, such as 2.27.3")
    return text


def own_way(gpu: Gpu) -> tuple[Layout, Link]:
    """How GPUs of this kind are joined where nobody says it; bridges between pairs have to be asked for."""
    if gpu.nvlink and not gpu.nvlink.startswith(_BRIDGE):
        return layout_of(link(gpu.nvlink)), link(gpu.nvlink)
    if gpu.pcie:
        return "pcie", link(gpu.pcie)
    raise InputError(f"{gpu.name} names no link of its own; write one of nvlink, mesh and pcie")


def layout_of(link: Link) -> Layout:
    """How a link of that kind joins the GPUs of a node."""
    if link.name.startswith("pcie"):
        return "pcie"
    return "mesh" if link.name.startswith(_MESHES) else "nvswitch"


def _pool(document: Document, at: Location, fields: Fields) -> Pool:
    return Pool(node=_node(document, at, fields), num_nodes=_count(fields["nodes"]))


def _node(document: Document, at: Location, fields: Fields) -> Node:
    def link_of(field: str) -> Link | None:
        return _link_part(document, (*at, field), fields.get(field))

    gpu = _gpu_part(document, (*at, "gpu"), fields["gpu"])
    layout, scale_up = _way(document, at, fields, gpu)
    return Node(
        gpu=gpu,
        num_gpus=_count(fields["gpus_per_node"]),
        layout=layout,
        scale_up=scale_up,
        gpus_per_switch=_count(fields.get("gpus_per_switch", 1)),
        num_sockets=_count(fields.get("sockets", 1)),
        socket_link=link_of("socket_link"),
        bridge=link_of("bridge"),
        nic=link_of("nic"),
        num_nics=_count(fields.get("nics_per_node", 0)),
    )


def _way(document: Document, at: Location, fields: Fields, gpu: Gpu) -> tuple[Layout, Link]:
    """The layout and the link of the one way that is given, else of the GPU's own."""
    given = [field for field in WAYS if fields.get(field) is not None]
    if len(given) > 1:
        raise error_at(document, (*at, given[1]), f"{given[0]} is given too; the GPUs of a node are joined in one way")
    for field in given:
        scale_up = _link_part(document, (*at, field), fields[field])
        assert scale_up is not None
        return WAYS[field], scale_up
    try:
        return own_way(gpu)
    except InputError as error:
        raise error_at(document, at, str(error)) from None


def _gpu_part(document: Document, at: Location, part: Value) -> Gpu:
    """A GPU that is named, or one that is written out in place."""
    if isinstance(part, dict):
        return _gpu(part, document.name)
    try:
        return gpu(_text(part))
    except InputError as error:
        raise error_at(document, at, str(error)) from None


def _link_part(document: Document, at: Location, part: Value) -> Link | None:
    """As for a GPU; None where no link is given."""
    if part is None or isinstance(part, dict):
        return None if part is None else _link(part, document.name)
    try:
        return link(_text(part))
    except InputError as error:
        raise error_at(document, at, str(error)) from None


def _network(fields: Fields) -> Network:
    torus = fields.get("torus") or []
    assert isinstance(torus, list)
    return Network(
        wiring=WIRINGS[_text(fields.get("wiring", "rail-optimised"))],
        oversubscription=_number(fields.get("oversubscription", 1.0)),
        nodes_per_leaf=_count(fields.get("nodes_per_leaf", 0)),
        torus=tuple(_count(size) for size in torus),
        sharp=fields.get("sharp") is True,
        pxn=fields.get("pxn") is not False,
        ecmp=_count(fields.get("ecmp", 0)),
        qps=_count(fields.get("qps", 2)),
        ecmp_seed=_count(fields.get("ecmp_seed", 0)),
        background=_number(fields.get("background", 0.0)),
    )


def _gpu(fields: Fields, origin: str) -> Gpu:
    """What the sheet says, with what was measured on it or on its nearest relatives laid over it."""
    return with_fits(_gpu_sheet(fields, origin), _measured_gpus())


@lru_cache
def _measured_gpus() -> tuple[Relative, ...]:
    """The GPUs of the catalogue that have fits, by three lines of each sheet: whole sheets would take long to read."""
    return tuple(outlined(name) for name in fitted_parts() if name in names("gpus"))


def outlined(name: str) -> Relative:
    """A GPU of the catalogue as far as it matters to those that borrow its fits."""
    lines = outline("gpus", name, ("peak_flops", "num_sms", "memory_bandwidth"))
    rates = (rate.split(": ") for rate in lines["peak_flops"].strip("{} ").split(","))
    peaks = {precision.strip(): parse(rate, "FLOP/s") for precision, rate in rates}
    return relative(name, peaks, int(lines["num_sms"]), parse(lines["memory_bandwidth"], "B/s"))


def _gpu_sheet(fields: Fields, origin: str) -> Gpu:
    nvlink, pcie = fields.get("nvlink"), fields.get("pcie")
    return Gpu(
        name=_text(fields["name"]),
        peak_flops={precision: parse(rate, "FLOP/s") for precision, rate in _mapping(fields["peak_flops"]).items()},
        memory_nbytes=parse(fields["memory"], "B"),
        memory_bandwidth=parse(fields["memory_bandwidth"], "B/s"),
        num_sms=_count(fields["num_sms"]),
        l2_nbytes=parse(fields["l2_cache"], "B"),
        power_limit=parse(fields["power_limit"], "W"),
        full_power=parse(fields["full_power"], "W") if "full_power" in fields else 0.0,
        fit=_fit(fields, origin),
        nvlink=None if nvlink is None else _text(nvlink),
        pcie=None if pcie is None else _text(pcie),
    )


def _link(fields: Fields, origin: str) -> Link:
    return link_with_fits(_link_sheet(fields, origin), _measured_links())


@lru_cache
def _measured_links() -> Mapping[str, float]:
    """The links of the catalogue that have fits, and their bytes per second."""
    measured = [name for name in fitted_parts() if name in names("links")]
    return {name: parse(outline("links", name, ("bandwidth",))["bandwidth"], "B/s") for name in measured}


def _link_sheet(fields: Fields, origin: str) -> Link:
    return Link(
        name=_text(fields["name"]),
        bandwidth=parse(fields["bandwidth"], "B/s"),
        latency=parse(fields["latency"], "s"),
        fit=_fit(fields, origin),
        num_peers=_count(fields.get("peers", 0)),
    )


def _fit(fields: Fields, origin: str) -> Fit:
    """The parameters, those with a unit as times, with the sheet's sources, its other figures' too; a parameter without
    one is as the file says."""
    values = {name: _parameter(value) for name, value in _mapping(fields["achievable"]).items()}
    sources = dict.fromkeys(values, origin) | {
        name: _text(source) for name, source in _mapping(fields.get("sources", {})).items()
    }
    return Fit(values=values, sources=sources)


def _parameter(value: Value) -> float:
    return parse(value, "s") if isinstance(value, str) else _number(value)


def _mapping(value: Value) -> Fields:
    assert isinstance(value, dict)
    return value


def _text(value: Value) -> str:
    assert isinstance(value, str)
    return value


def _count(value: Value) -> int:
    assert isinstance(value, int)
    return value


def _number(value: Value) -> float:
    assert isinstance(value, (int, float))
    return float(value)
