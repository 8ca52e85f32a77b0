"""What the hardware is: clusters, GPUs and links by name from the catalogue, or from a file of the user's.

A data sheet says what a part could do, its `achievable` block what published measurements saw it do. Both become one
frozen value (see hardware.py). Importing this package reads nothing; a sheet is read and checked when asked for.
"""

from functools import lru_cache
from pathlib import Path
from typing import Literal

from topologies.document import Document, InputError, Value, closest, read, shorten
from topologies.hardware import Cluster, Gpu, Link

__all__ = ["aliases", "gpu", "link", "load", "names"]

Family = Literal["clusters", "gpus", "links"]

_CATALOGUE = Path(__file__).parent
_NOUNS: dict[Family, str] = {"clusters": "cluster", "gpus": "GPU", "links": "link"}
_SUFFIXES = (".yaml", ".yml", ".json")


def load(name_or_path: str | Path, num_gpus: int | None = None) -> Cluster:
    """The cluster of that name or in that file; with `num_gpus` only as many whole nodes as hold them.

    Raises InputError for an unknown name, a file that is not a cluster, and for more GPUs than there are.
    """
    is_path = isinstance(name_or_path, Path) or "/" in name_or_path or name_or_path.endswith(_SUFFIXES)
    cluster = _cluster_in(read(Path(name_or_path))) if is_path else _cluster(str(name_or_path))
    return cluster if num_gpus is None else _with_gpus(cluster, num_gpus)


def gpu(name: str) -> Gpu:
    """The GPU of that name or alias in the catalogue; InputError if there is none."""
    return _gpu(_resolve("gpus", name))


def link(name: str) -> Link:
    """The link of that name or alias in the catalogue; InputError if there is none."""
    return _link(_resolve("links", name))


def names(family: Family = "clusters") -> list[str]:
    """The names in one part of the catalogue, sorted."""
    return sorted(path.stem for path in (_CATALOGUE / family).glob("*.yaml"))


@lru_cache
def aliases(family: Family = "clusters") -> dict[str, str]:
    """Other spellings, in lower case, and the name that each stands for."""
    found: dict[str, str] = {}
    for name in names(family):
        found |= dict.fromkeys(_aliases_in(_sheet(family, name).data), name)
    return found


def _with_gpus(cluster: Cluster, num_gpus: int) -> Cluster:
    """As many whole nodes as hold `num_gpus`."""
    from dataclasses import replace

    per_node = cluster.node.num_gpus
    if num_gpus < 1:
        raise InputError(f"gpus={num_gpus}: ask for at least 1 GPU")
    if num_gpus > cluster.num_gpus:
        raise InputError(
            f"gpus={num_gpus}: {cluster.name} has {cluster.num_gpus} ({cluster.num_nodes} nodes of {per_node}); "
            f"use at most {cluster.num_gpus}, or a cluster file with more nodes"
        )
    pool = replace(cluster.pools[0], num_nodes=-(-num_gpus // per_node))
    return replace(cluster, pools=(pool,))


def _cluster_in(document: Document) -> Cluster:
    from topologies.sheets import cluster

    return cluster(document, gpu, link)


def _cluster(name: str) -> Cluster:
    return _catalogue_cluster(_resolve("clusters", name))


@lru_cache
def _catalogue_cluster(name: str) -> Cluster:
    return _cluster_in(_sheet("clusters", name))


@lru_cache
def _gpu(name: str) -> Gpu:
    from topologies.sheets import gpu as gpu_in

    return gpu_in(_sheet("gpus", name))


@lru_cache
def _link(name: str) -> Link:
    from topologies.sheets import link as link_in

    return link_in(_sheet("links", name))


@lru_cache
def _sheet(family: Family, name: str) -> Document:
    return read(_CATALOGUE / family / f"{name}.yaml")


def _resolve(family: Family, name: str) -> str:
    """The catalogue's own name for a name or alias, whatever its case."""
    wanted = name.strip().lower()
    if wanted in names(family):
        return wanted
    if wanted in aliases(family):
        return aliases(family)[wanted]
    known = names(family)
    guess = closest(wanted, known) or closest(wanted, list(aliases(family))) or ";"
    where = "`shardsim clusters` lists them" if family == "clusters" else f"known are {', '.join(known)}"
    raise InputError(f"unknown {_NOUNS[family]} {shorten(name)}{guess} {where}")


def _aliases_in(data: Value) -> list[str]:
    listed = data.get("aliases") if isinstance(data, dict) else None
    return [str(alias).lower() for alias in listed] if isinstance(listed, list) else []
