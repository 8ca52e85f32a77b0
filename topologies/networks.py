"""Networks as tables of measurements name them: `ib-ndr400x8` is InfiniBand NDR, 400 Gb/s a NIC, 8 NICs a node.

`nvlink-only` and `pcie-only` are one node without a network; `nvl72` is one NVLink domain of 72 GPUs, and `nvl72-...`
several of them, whose NICs are counted per tray of 4 GPUs. A rate that the catalogue lacks borrows all but the rate
from the nearest of its kind.
"""

import re
from dataclasses import replace
from math import ceil, log

from topologies import parts
from topologies.catalogue import names
from topologies.document import InputError, shorten
from topologies.hardware import Cluster, Fit, Gpu, Layout, Link, Network, Node, Pool
from topologies.quantity import parse
from topologies.wiring import problems

GPUS_PER_TRAY = 4
EXAMPLES = "write <type>-<Gb/s per NIC>x<NICs per node>, such as ib-ndr400x8 or roce-200x8, or nvlink-only"

_WITHOUT_NETWORK = ("nvlink-only", "pcie-only")
_DOMAIN = re.compile(r"nvl(\d{1,4})(?:-(.+))?")
_FABRIC = re.compile(r"([a-z]{1,12}(?:-[a-z]{1,12})??)-?([a-z]{0,12})(\d{1,5})x(\d{1,3})")
_USUAL = 8
_USED_OF = {72: 64}
_MOST_GPUS_IN_A_DOMAIN = 1024
_SLOWEST, _FASTEST = 10, 3200

# Each type of network, and the kind of link in the catalogue that stands for it.
_TYPES = {
    "ib": "ib",
    "infiniband": "ib",
    "roce": "roce",
    "ethernet": "ethernet",
    "slingshot": "roce",
    "efa": "efa",
    "tcpxo": "tcpxo",
    "tcpx": "tcpxo",
    "omni-path": "omni-path",
    "opa": "omni-path",
    "unknown": "unknown",
}
# Gb/s of a port of each generation of InfiniBand; half ports and quarter ports are sold too.
_INFINIBAND = {"": 0, "fdr": 56, "edr": 100, "hdr": 200, "ndr": 400, "xdr": 800}


def network(fabric: str) -> tuple[Link | None, int]:
    """The link of a NIC and the NICs per node (per tray of 4 GPUs in an NVLink domain); (None, 0) without a network.

    Raises InputError, with examples, for text that names no network.
    """
    text = fabric.strip().lower()
    domain = _DOMAIN.fullmatch(text)
    if domain:
        _domain(text)
        text = domain[2] or _WITHOUT_NETWORK[0]
    if text in _WITHOUT_NETWORK:
        return None, 0
    found = _FABRIC.fullmatch(text)
    if found is None or int(found[4]) < 1:
        raise InputError(f"unknown fabric {shorten(fabric)}; {EXAMPLES}")
    return _nic(fabric, found[1], found[2], int(found[3])), int(found[4])


def build(
    *,
    gpu: str | Gpu,
    gpus_per_node: int | None = None,
    fabric: str | None = None,
    nodes: int,
    name: str | None = None,
    scale_up: Link | None = None,
) -> Cluster:
    """A cluster from a GPU, of the catalogue or one's own, and a fabric as `network` reads it, at full bisection.

    The GPUs of a node are joined by `scale_up`, or else in the GPU's own way.

    `gpus_per_node` is 8 unless it is said. In an nvl72 fabric a "node" is an NVLink domain of 72 GPUs of which
    `gpus_per_node` are used, 64 unless it is said (jobs take 16 trays of a rack), with the NICs of their trays; so
    there it is not the 4 GPUs of a tray. A PCIe node of more than 4 GPUs is taken as two sockets.

    Raises InputError for a name, a fabric or a number that cannot be.
    """
    per_domain = _domain(fabric or "")
    usual = _USED_OF.get(per_domain, per_domain) if per_domain else _USUAL
    num_gpus = usual if gpus_per_node is None else gpus_per_node
    _check_counts(num_gpus, nodes, per_domain, fabric)
    nic, num_nics = network(fabric) if fabric else (None, 0)
    trays = ceil(num_gpus / GPUS_PER_TRAY) if per_domain else 1
    found = parts.gpu(gpu) if isinstance(gpu, str) else gpu
    way = (parts.layout_of(scale_up), scale_up) if scale_up else _way(found, fabric or "")
    node = _node(found, num_gpus, way, nic, num_nics * trays)
    pool = Pool(node=node, num_nodes=nodes)
    title = name or "-".join(filter(None, (node.gpu.name, fabric and fabric.strip().lower())))
    cluster = Cluster(name=title, pools=(pool,), network=Network(wiring="rail-optimised"))
    for _, message in problems(cluster):
        raise InputError(f"{title}: {message.partition(';')[0]}; write a fabric such as ib-ndr400x8")
    return cluster


def _check_counts(num_gpus: int, nodes: int, per_domain: int, fabric: str | None) -> None:
    if num_gpus < 1 or nodes < 1:
        raise InputError(f"{nodes} nodes of {num_gpus} GPUs: both must be at least 1")
    if per_domain and num_gpus > per_domain:
        raise InputError(f"gpus_per_node={num_gpus}: an NVLink domain of {fabric} holds {per_domain}; use at most that")


def _way(gpu: Gpu, fabric: str) -> tuple[Layout, Link]:
    return _pcie(gpu.name, gpu.pcie) if fabric.strip().lower() == "pcie-only" else parts.own_way(gpu)


def _node(gpu: Gpu, num_gpus: int, way: tuple[Layout, Link], nic: Link | None, num_nics: int) -> Node:
    layout, scale_up = way
    has_two_sockets = layout == "pcie" and num_gpus > GPUS_PER_TRAY and num_gpus % 2 == 0
    return Node(
        gpu=gpu,
        num_gpus=num_gpus,
        layout=layout,
        scale_up=scale_up,
        num_sockets=2 if has_two_sockets else 1,
        socket_link=parts.link("upi") if has_two_sockets else None,
        nic=nic,
        num_nics=num_nics,
    )


def _pcie(name: str, pcie: str | None) -> tuple[Layout, Link]:
    if pcie is None:
        raise InputError(f"pcie-only: the sheet of {name} names no PCIe link; write another fabric")
    return "pcie", parts.link(pcie)


def _domain(fabric: str) -> int:
    """GPUs of an NVLink domain larger than a box, as nvl72 says; 0 where the fabric says nothing of the kind."""
    found = _DOMAIN.fullmatch(fabric.strip().lower())
    size = int(found[1]) if found else 0
    if found and not 2 <= size <= _MOST_GPUS_IN_A_DOMAIN:
        raise InputError(f"unknown fabric {shorten(fabric)}; write for example nvl72 or nvl72-ib800x4")
    return size


def _nic(fabric: str, kind: str, generation: str, rate: int) -> Link:
    """The catalogue's link of that type and rate, else the nearest of the type at the rate that is asked."""
    _check_type(fabric, kind, generation, rate)
    known = {name: _rate(name) for name in names("links") if re.fullmatch(rf"{_TYPES[kind]}-\D*\d+", name)}
    wanted = f"{_TYPES[kind]}-{generation}{rate}"
    nearest = wanted if wanted in known else min(known, key=lambda name: (abs(log(known[name] / rate)), name))
    exact = known[nearest] == rate and kind in (_TYPES[kind], "infiniband", "opa")
    return parts.link(nearest) if exact else _at_rate(parts.link(nearest), f"{kind}-{generation}{rate}", rate)


def _check_type(fabric: str, kind: str, generation: str, rate: int) -> None:
    if kind not in _TYPES or generation not in _INFINIBAND or (generation and _TYPES[kind] != "ib"):
        raise InputError(f"unknown fabric {shorten(fabric)}; {EXAMPLES}; types: {', '.join(_TYPES)}")
    port = _INFINIBAND[generation]
    if port and rate not in (port, port // 2, port // 4):
        what = f"{generation.upper()} has {port} Gb/s a port"
        raise InputError(f"unknown fabric {shorten(fabric)}: {what}; {EXAMPLES}")
    if not _SLOWEST <= rate <= _FASTEST:
        raise InputError(f"unknown fabric {shorten(fabric)}: {rate} Gb/s a NIC; write {_SLOWEST} to {_FASTEST}")


def _rate(name: str) -> int:
    """The Gb/s that a link's name ends with."""
    return int(re.sub(r".*\D", "", name))


def _at_rate(link: Link, name: str, rate: int) -> Link:
    sources = {parameter: f"as of {link.name}: {source}" for parameter, source in link.fit.sources.items()}
    fit = Fit(values=link.fit.values, sources=sources, origin=link.fit.origin)
    return replace(link, name=name, bandwidth=parse(f"{rate} Gb/s", "B/s"), fit=fit)
