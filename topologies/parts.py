"""What a data sheet becomes: its plain fields, once checked, turned into the frozen facts of hardware.py.

The catalogue's sheets are checked by tests and a user's by sheets.py; both are built here, so they mean the same.
What does not say how the GPUs of a node are joined gets the GPU's own way: NVLink where it has one, else PCIe.
"""

from collections.abc import Mapping
from functools import lru_cache

from topologies.catalogue import named, names, sheet
from topologies.document import Document, InputError, Location, Value, error_at
from topologies.fits import link_with_fits, shipped, with_fits
from topologies.hardware import Cluster, Fit, Gpu, Layout, Link, Network, Node, Pool, Wiring
from topologies.quantity import parse

Fields = dict[str, Value]

# The scale-up links of these kinds are single wires from GPU to GPU; all other kinds lead to a switch.
_MESHES = ("infinity-fabric", "gaudi")
_BRIDGE = "nvlink-bridge"
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
    return Cluster(name=_text(fields["name"]), pools=tuple(sections), network=_network(fields))


def own_way(gpu: Gpu) -> tuple[Layout, Link]:
    """How GPUs of this kind are joined where nobody says it; bridges between pairs have to be asked for."""
    if gpu.nvlink and not gpu.nvlink.startswith(_BRIDGE):
        return "mesh" if gpu.nvlink.startswith(_MESHES) else "nvswitch", link(gpu.nvlink)
    if gpu.pcie:
        return "pcie", link(gpu.pcie)
    raise InputError(f"{gpu.name} names no link of its own; write one of nvlink, mesh and pcie")


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
    )


def _gpu(fields: Fields, origin: str) -> Gpu:
    """What the sheet says, with what was measured on it or on its nearest relatives laid over it."""
    return with_fits(_gpu_sheet(fields, origin), _measured_gpus())


@lru_cache
def _measured_gpus() -> tuple[Gpu, ...]:
    """The GPUs of the catalogue that have fits, as their sheets have them."""
    measured = [name for name in shipped() if name in names("gpus")]
    return tuple(_gpu_sheet(_mapping(sheet("gpus", name).data), name) for name in measured)


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
        fit=_fit(fields, origin),
        nvlink=None if nvlink is None else _text(nvlink),
        pcie=None if pcie is None else _text(pcie),
    )


def _link(fields: Fields, origin: str) -> Link:
    link = Link(
        name=_text(fields["name"]),
        bandwidth=parse(fields["bandwidth"], "B/s"),
        latency=parse(fields["latency"], "s"),
        fit=_fit(fields, origin),
        num_peers=_count(fields.get("peers", 0)),
    )
    return link_with_fits(link)


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
