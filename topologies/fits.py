"""What `calibrate` measured, laid over data sheets: shipped fits first, then a user's own profile.

A file of fits belongs to one part and holds a Fit for each operation that was measured on it. A GPU without a fit of an
operation takes that of its nearest relative among those that have one, and the fit says whose it is.
"""

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from topologies.document import Document, InputError, Value, read
from topologies.hardware import Cluster, Fit, Gpu, Link, Node, Origin

Fits = Mapping[str, Fit]

FOLDER = Path(__file__).parent / "fits"
_ORIGINS: Mapping[str, Origin] = {name: name for name in ("measured", "interpolated", "extrapolated", "datasheet")}
_COMMA = re.compile(r", *(?![^\[]*\])")
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
    nodes = [pool.node for pool in cluster.pools]
    parts = [part for node in nodes for part in (node.gpu, node.scale_up, node.nic, node.bridge, node.socket_link)]
    names = dict.fromkeys(part.name for part in parts if part is not None)
    return [name for name in names if (users_folder() / f"{name}.yaml").exists()]


def fits_of(part: str) -> Fits:
    """The fits of a part by operation, the user's before the shipped ones; empty where nobody measured it."""
    return {**_shipped_fits(part), **_users_fits(users_folder() / f"{part}.yaml")}


@lru_cache
def _shipped_fits(part: str) -> Fits:
    path = FOLDER / f"{part}.yaml"
    return read_fits(written(path.read_text(encoding="utf-8"))) if path.exists() else {}


def written(text: str) -> Value:
    """What calibrate/profile.py wrote, as plain data, ten times as fast as a reader of all YAML: mappings by
    indentation, and on one line a text, a list of numbers or a mapping of such."""
    root: dict[str, Value] = {}
    inner = [root]
    for line in _whole_lines(text):
        name, _, rest = line.strip().partition(": ")
        depth = (len(line) - len(line.lstrip())) // 2
        del inner[depth + 1 :]
        if rest:
            inner[depth][name] = _on_one_line(rest)
        else:
            inner.append({})
            inner[depth][name.rstrip(":")] = inner[-1]
    return root


def _whole_lines(text: str) -> Iterator[str]:
    """The lines, without comments; a mapping that goes on over several is one."""
    whole = ""
    for line in text.splitlines():
        if whole or not line.startswith("#"):
            whole = f"{whole} {line.strip()}" if whole else line
            if whole.count("{") == whole.count("}"):
                yield whole
                whole = ""


def _on_one_line(text: str) -> Value:
    if text[0] == '"':
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if text[0] == "[":
        return list(text[1:-1].split(", "))
    if text[0] == "{":
        pairs = (part.split(": ") for part in _COMMA.split(text[1:-1]) if part)
        return {name.strip(): _on_one_line(value) for name, value in pairs}
    return text


def _users_fits(path: Path) -> Fits:
    return _fits_in(read(path)) if path.exists() else {}


def profile(path: Path) -> Mapping[str, Fits]:
    """The fits in a file that `calibrate fit` wrote, or in a folder of them, by part.

    Raises InputError where there is none, or a file is something else.
    """
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: no *.yaml in this folder; `calibrate fit --out {path}` writes them")
    documents = [read(file) for file in files]
    return {_part_in(document): _fits_in(document) for document in documents}


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
    """What tells how alike two GPUs are: what an SM multiplies per second, and the bandwidth of the memory."""

    name: str
    rate_of_sm: float
    memory_bandwidth: float


def relative(name: str, peak_flops: Mapping[str, float], num_sms: int, memory_bandwidth: float) -> Relative:
    """A GPU as others see it that may borrow from it."""
    rate = peak_flops.get("bf16") or peak_flops.get("fp16") or max(peak_flops.values())
    return Relative(name=name, rate_of_sm=rate / num_sms, memory_bandwidth=memory_bandwidth)


def with_fits(gpu: Gpu, relatives: Iterable[Relative]) -> Gpu:
    """The GPU with its own fits, and for other operations those of the nearest of its `relatives`."""
    own = dict(fits_of(gpu.name))
    this = relative(gpu.name, gpu.peak_flops, gpu.num_sms, gpu.memory_bandwidth)
    for other in sorted(relatives, key=lambda one: distance(this, one)):
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


def read_fits(data: Value) -> Fits:
    """The fits that a file of fits holds, by operation; InputError where it is not one.

    A fit that names no source has that of the fit before.
    """
    if not isinstance(data, dict) or not isinstance(data.get("part"), str) or not isinstance(data.get("fits"), dict):
        raise InputError("not a file of fits: it has no part and fits; `calibrate fit` writes one")
    part = str(data["part"])
    found: dict[str, Fit] = {}
    source = ""
    for operation, fields in _mapping("fits", data["fits"]).items():
        source = str(fields.get("source", source)) if isinstance(fields, dict) else source
        found[operation] = _fit(part, operation, fields, source)
    return found


def _fits_in(document: Document) -> Fits:
    try:
        return read_fits(document.data)
    except InputError as error:
        raise InputError(f"{document.name}: {error}") from None


def _part_in(document: Document) -> str:
    data = document.data
    return str(data.get("part")) if isinstance(data, dict) else ""


def _fit(part: str, operation: str, fields: Value, source: str) -> Fit:
    if not isinstance(fields, dict) or not isinstance(fields.get("values"), dict):
        raise InputError(f"fits.{operation}: no values; `calibrate fit` writes such files")
    at = f"fits.{operation}"
    values, half_widths = {}, {}
    for name, text in _mapping(f"{at}.values", fields["values"]).items():
        values[name], half_widths[name] = _value(f"{at}.values.{name}", text)
    return Fit(
        values=values,
        sources=dict.fromkeys(values, source),
        origin=_ORIGINS.get(str(fields.get("origin", "interpolated")), "interpolated"),
        spread=None if fields.get("spread") is None else _pair(f"{at}.spread", fields["spread"]),
        half_widths=half_widths,
        domain={
            name: _pair(f"{at}.domain.{name}", pair)
            for name, pair in _mapping(f"{at}.domain", fields.get("domain") or {}).items()
        },
        num_points=int(_number(f"{at}.points", fields.get("points", 0))),
        part=part,
    )


def _value(at: str, text: Value) -> tuple[float, float]:
    """A number, or a number and the half-width of its 80 % interval: 0.84 ± 0.01."""
    value, _, half_width = str(text).partition("±")
    return _number(at, value), _number(at, half_width or 0.0)


def _pair(at: str, value: Value) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise InputError(f"{at}: write two numbers, such as [-0.05, 0.04]")
    return _number(at, value[0]), _number(at, value[1])


def _number(at: str, value: Value) -> float:
    try:
        number = float(str(value))
    except ValueError:
        raise InputError(f"{at}: {value!r} is not a number; write one such as 0.84 ± 0.01") from None
    if not math.isfinite(number):
        raise InputError(f"{at}: {value} is not a finite number")
    return number


def _mapping(at: str, value: Value) -> dict[str, Value]:
    if not isinstance(value, dict):
        raise InputError(f"{at}: write a mapping from names")
    return value
