"""What the hardware is: clusters, GPUs and links by name from the catalogue, or from a file of the user's.

A data sheet says what a part could do, its `achievable` block what published measurements saw it do. Both become one
frozen value (see hardware.py). Importing this package reads nothing; a sheet is read when asked for.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from topologies.catalogue import Family, aliases, named, names, sheet
from topologies.document import InputError, Value, read
from topologies.hardware import Cluster, Pool
from topologies.networks import build, network
from topologies.parts import cluster_in, gpu, link

__all__ = ["Family", "aliases", "build", "gpu", "link", "load", "names", "network"]

_SUFFIXES = (".yaml", ".yml", ".json")


def load(reference: str | Path | Mapping[str, Value], num_gpus: int | None = None) -> Cluster:
    """The cluster of that name or in that file; with `num_gpus` only as many whole nodes as hold them.

    A mapping `{name: dgx-h100, nics_per_node: 4}` takes the catalogue's entry or the file of that name, lays the fields
    of a cluster file that it gives over it, and checks the whole as a file.

    Nodes are taken in their order, pool after pool. A network stays what it is: on part of a torus messages still pass
    through the nodes that are left out, as they do for a job on part of a machine.

    Raises InputError for an unknown name, a file that is not a cluster, and for more GPUs than there are.
    """
    cluster = _changed(reference) if isinstance(reference, Mapping) else _whole(reference)
    return cluster if num_gpus is None else _with_gpus(cluster, num_gpus)


def _whole(reference: str | Path) -> Cluster:
    if _is_path(reference):
        return _from_file(Path(reference))
    return _from_catalogue(named("clusters", str(reference)))


def _changed(reference: Mapping[str, Value]) -> Cluster:
    from topologies.sheets import cluster, overlaid

    name = reference.get("name")
    if not isinstance(name, str):
        raise InputError("cluster: name is missing, of the cluster that is changed; write for example name: dgx-h100")
    below = read(Path(name)) if _is_path(name) else sheet("clusters", named("clusters", name))
    return cluster(overlaid(below, reference))


def _is_path(reference: str | Path) -> bool:
    return isinstance(reference, Path) or "/" in reference or reference.lower().endswith(_SUFFIXES)


def _from_file(path: Path) -> Cluster:
    from topologies.sheets import cluster

    return cluster(read(path))


@lru_cache
def _from_catalogue(name: str) -> Cluster:
    return cluster_in(sheet("clusters", name))


def _with_gpus(cluster: Cluster, num_gpus: int) -> Cluster:
    """As many whole nodes as hold `num_gpus`, the first pools first."""
    from dataclasses import replace

    if num_gpus < 1:
        raise InputError(f"gpus={num_gpus}: ask for at least 1 GPU")
    if num_gpus > cluster.num_gpus:
        nodes = " and ".join(map(_counted, cluster.pools))
        raise InputError(
            f"gpus={num_gpus}: {cluster.name} has {cluster.num_gpus} ({nodes}); "
            f"use at most {cluster.num_gpus}, or a cluster file with more nodes"
        )
    kept, missing = [], num_gpus
    for pool in cluster.pools:
        if missing > 0:
            kept.append(replace(pool, num_nodes=min(pool.num_nodes, -(-missing // pool.node.num_gpus))))
            missing -= kept[-1].num_gpus
    return replace(cluster, pools=tuple(kept))


def _counted(pool: Pool) -> str:
    return f"{pool.num_nodes} {'node' if pool.num_nodes == 1 else 'nodes'} of {pool.node.num_gpus}"
