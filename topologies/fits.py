"""What `calibrate` measured, laid over data sheets: shipped fits first, then a user's own profile.

A file of fits belongs to one part and holds a Fit for each operation that was measured on it. A GPU without a fit of an
operation takes that of its nearest relative among those that have one, and the fit says whose it is.
"""

import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from topologies.document import Document
from topologies.fit_files import Fits, hardware_of, profile, read_fits, written
from topologies.hardware import Cluster, Fit, Gpu, Link, Node

__all__ = [
    "FOLDER",
    "Fits",
    "Relative",
    "distance",
    "fits_of",
    "fitted_parts",
    "gpu_over",
    "hardware_of",
    "laid_over",
    "link_with_fits",
    "own_parts",
    "part_names",
    "profile",
    "relative",
    "users_folder",
    "with_fits",
]

FOLDER = Path(__file__).parent / "fits"
_KIND = re.compile(r"nvlink-bridge|[a-z]+")
_LIKE = {"roce": "ib", "unknown": "ib"}


def users_folder() -> Path:
    """Where a user's own fits lie: $XDG_DATA_HOME/shardsim/fits."""
    home = os.environ.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "shardsim" / "fits"


def fitted_parts() -> list[str]:
    """The names of the parts that have fits in the package or of the user's own."""
    return sorted({path.stem for folder in (FOLDER, users_folder()) for path in folder.glob("*.yaml")})


def own_parts(cluster: Cluster) -> list[str]:
    """The parts of a cluster that have fits of the user's own."""
    return [name for name in part_names(cluster) if (users_folder() / f"{name}.yaml").exists()]


def part_names(cluster: Cluster) -> list[str]:
    """The names of the GPUs and links of a cluster, each once."""
    nodes = [pool.node for pool in cluster.pools]
    parts = [part for node in nodes for part in (node.gpu, node.scale_up, node.nic, node.bridge, node.socket_link)]
    return list(dict.fromkeys(part.name for part in parts if part is not None))


def fits_of(part: str) -> Fits:
    """The fits of a part by operation, the user's before the shipped ones; empty where nobody measured it."""
    return {**_shipped_fits(part), **_users_fits(part)}


@lru_cache
def _shipped_fits(part: str) -> Fits:
    path = FOLDER / f"{part}.yaml"
    if not path.exists():
        return {}
    data = written(path.read_text(encoding="utf-8"))
    return read_fits(Document(name=path.name, data=data, lines={})).get(part, {})


def _users_fits(part: str) -> Fits:
    path = users_folder() / f"{part}.yaml"
    return profile(path).get(part, {}) if path.exists() else {}


def laid_over(cluster: Cluster, fits_by_part: Mapping[str, Fits]) -> Cluster:
    """The cluster with these fits in place of those that its GPUs and links have."""
    pools = tuple(replace(pool, node=_node_over(pool.node, fits_by_part)) for pool in cluster.pools)
    return replace(cluster, pools=pools)


def gpu_over(gpu: Gpu, fits_by_part: Mapping[str, Fits]) -> Gpu:
    """The GPU with its fits of a profile in place of its own."""
    found = fits_by_part.get(gpu.name)
    return replace(gpu, fits={**gpu.fits, **found}) if found else gpu


def _node_over(node: Node, fits_by_part: Mapping[str, Fits]) -> Node:
    return replace(
        node,
        gpu=gpu_over(node.gpu, fits_by_part),
        scale_up=_link_over(node.scale_up, fits_by_part),
        socket_link=None if node.socket_link is None else _link_over(node.socket_link, fits_by_part),
        bridge=None if node.bridge is None else _link_over(node.bridge, fits_by_part),
        nic=None if node.nic is None else _link_over(node.nic, fits_by_part),
    )


def _link_over(link: Link, fits_by_part: Mapping[str, Fits]) -> Link:
    found = fits_by_part.get(link.name)
    return replace(link, fits={**link.fits, **found}) if found else link


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """What tells how alike two GPUs are: whether they multiply in fp8, what an SM multiplies per second in 16 bits, and
    the bandwidth of the memory."""

    name: str
    has_fp8: bool
    rate_of_sm: float
    memory_bandwidth: float


def relative(name: str, peak_flops: Mapping[str, float], num_sms: int, memory_bandwidth: float) -> Relative:
    """A GPU as others see it that may borrow from it."""
    rate = peak_flops.get("bf16") or peak_flops.get("fp16") or max(peak_flops.values())
    has_fp8 = "fp8" in peak_flops
    return Relative(name=name, has_fp8=has_fp8, rate_of_sm=rate / num_sms, memory_bandwidth=memory_bandwidth)


def with_fits(gpu: Gpu, relatives: Iterable[Relative]) -> Gpu:
    """The GPU with its own fits, and for other operations those of the nearest of its `relatives`: a generation without
    fp8 takes those of one with it last, whatever their SMs multiply."""
    own = dict(fits_of(gpu.name))
    this = relative(gpu.name, gpu.peak_flops, gpu.num_sms, gpu.memory_bandwidth)
    for other in sorted(relatives, key=lambda one: (one.has_fp8 and not this.has_fp8, distance(this, one))):
        _borrow(own, other.name)
    return replace(gpu, fits=own) if own else gpu


def _borrow(own: dict[str, Fit], owner: str) -> None:
    """Take over the fits of operations that are not there yet: they say whose they are, and that nobody measured."""
    for operation, fit in fits_of(owner).items():
        if operation not in own:
            own[operation] = replace(fit, part=owner, origin="datasheet")


def distance(one: Relative, other: Relative) -> tuple[float, float]:
    """First by what an SM multiplies, which tells generations apart, then by memory."""
    rates, memories = one.rate_of_sm / other.rate_of_sm, one.memory_bandwidth / other.memory_bandwidth
    return round(abs(math.log(rates)), 3), abs(math.log(memories))


def link_with_fits(link: Link, relatives: Mapping[str, float]) -> Link:
    """The link with its own fits, and for other operations those of the nearest of its kind; `relatives` are bytes per
    second by name."""
    own = dict(fits_of(link.name))
    alike = {name: abs(math.log(link.bandwidth / rate)) for name, rate in relatives.items()}
    for name in sorted(alike, key=lambda one: alike[one]):
        if _kind(name) == _kind(link.name):
            _borrow(own, name)
    return replace(link, fits=own) if own else link


def _kind(link: str) -> str:
    """Links that NCCL treats alike: RDMA over Ethernet, and what nobody named, as InfiniBand."""
    match = _KIND.match(link)
    kind = match[0] if match else link
    return _LIKE.get(kind, kind)
