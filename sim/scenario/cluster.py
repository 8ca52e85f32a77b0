"""The cluster of a scenario: by name or file, whole or in part, or put together from a GPU and a fabric."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import gcd
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

import topologies
from sim.scenario.fields import Count, Reference, Section, Text, known
from topologies import sheets
from topologies.document import InputError, Value
from topologies.fabric import num_mesh_wires
from topologies.hardware import Cluster, Node
from topologies.wiring import problems

# What says which cluster and how much of it is used; all other fields lie over those of its sheet.
_OF_USE = {"name", "fabric", "gpus_per_node", "nodes"}


def _opened(cluster: object) -> object:
    """`cluster: NAME` as the section {name: NAME}."""
    return {"name": cluster} if isinstance(cluster, str) else cluster


def _part(look_up: Callable[[str], object]) -> AfterValidator:
    """As `known`, for a part that is named or written out; the latter is checked with the cluster."""

    def check(part: Reference | None) -> Reference | None:
        if isinstance(part, str):
            look_up(part)
        return part

    return AfterValidator(check)


_Link = Annotated[Reference | None, _part(topologies.link)]


class ClusterSection(Section):
    """A cluster by name or file, with any field of a cluster file laid over it; or a GPU and a fabric."""

    name: Annotated[Text | None, known(lambda name: topologies.load(name or ""))] = None
    """A cluster of the catalogue (`shardsim clusters` lists them), or a cluster file."""
    gpu: Annotated[Reference | None, _part(topologies.gpu)] = None
    """In place of a name: a GPU of the catalogue (`shardsim gpus` lists them). With a name: over that of its nodes."""
    fabric: Annotated[Text | None, known(lambda fabric: topologies.network(fabric or ""))] = None
    """With gpu in place of a name: the network and the NICs of a node, such as ib-ndr400x8, roce-200x8, nvlink-only."""
    gpus_per_node: Count | None = None
    """How many GPUs of a node are used, and with them their share of its NICs; at most as many as there are."""
    nodes: Count | None = None
    """How many nodes; as many as the GPUs need where it is not said."""
    nvlink: _Link = None
    """Over that of a name: each GPU has a port of it on a switch."""
    mesh: _Link = None
    """Over that of a name: each GPU deals it out to all other GPUs."""
    pcie: _Link = None
    """Over that of a name: each GPU has a slot of it, in a PCIe tree."""
    gpus_per_switch: sheets.Count | None = None
    """Over that of a name, in a PCIe tree: GPUs that share one way up to the socket."""
    sockets: sheets.Count | None = None
    """Over that of a name, in a PCIe tree: processors with GPUs below them."""
    socket_link: _Link = None
    """Over that of a name, in a PCIe tree: what joins the sockets."""
    bridge: _Link = None
    """Over that of a name, in a PCIe tree: NVLink between slots 0-1, 2-3."""
    nic: _Link = None
    """Over that of a name: the network adapter."""
    nics_per_node: sheets.CountOrNone | None = None
    """Over that of a name: adapters of a whole node."""
    wiring: sheets.WiringWord | None = None
    """Over that of a name: how the NICs are joined."""
    oversubscription: Annotated[float, Field(ge=1, le=1000)] | None = None
    """Over that of a name: bandwidth below a leaf, of that above it."""
    nodes_per_leaf: sheets.CountOrNone | None = None
    """Over that of a name: nodes below one leaf switch; 0 is one leaf for all."""
    torus: Annotated[list[sheets.Count], Field(max_length=6)] | None = None
    """Over that of a name: sizes of the grid where wiring is torus, such as [4, 4, 4]."""
    pxn: bool | None = None
    """Over that of a name: NCCL's PXN, by NVLink to the NIC on the target's rail."""
    ecmp: sheets.UplinkCount | None = None
    """Over that of a name: parallel up-links of a leaf, to which messages are hashed; 0 spreads them ideally."""
    qps: sheets.ConnectionCount | None = None
    """Over that of a name: connections of a message, each hashed to an up-link."""
    ecmp_seed: sheets.CountOrNone | None = None
    """Over that of a name: which of the ways to hash it is."""
    background: sheets.Share | None = None
    """Over that of a name: what others take of the ways to the spine, such as 0.3."""
    degraded: sheets.Degraded | None = None
    """Over that of a name: what is left of some wires, such as {node 2 nic 3: 0.5, leaf 0: 0.8}."""
    sharp: bool | None = None
    """Over that of a name: whether the network's switches sum what nodes send."""
    nccl_version: sheets.NcclVersion | None = None
    """Over that of a name: the version of NCCL, such as '2.27.3'."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        changes = self._changes()
        if self.name is None:
            _check_built(changes)
        elif self.fabric is not None:
            raise ValueError("fabric goes with gpu in place of a name; with a name write nic and nics_per_node")
        elif changes:
            _check_changed({"name": self.name, **changes})
        return self

    def _changes(self) -> dict[str, Value]:
        """The fields that lie over those of the name."""
        said: dict[str, Value] = self.model_dump(exclude_none=True, exclude=_OF_USE)
        return said

    def reference(self) -> Value:
        """What was said, as short as it can be."""
        said: dict[str, Value] = self.model_dump(exclude_none=True)
        return self.name if len(said) == 1 and self.name is not None else said

    def title(self) -> str:
        """The cluster in a word."""
        return self.name or str(self.gpu)

    def num_gpus_per_node(self) -> int:
        return self.gpus_per_node or self._nodes(1).node.num_gpus

    def with_gpus(self, num_gpus: int) -> Cluster:
        """With as many nodes as said, else as the GPUs need."""
        if self.nodes is None and self.name is not None and self.gpus_per_node is None:
            return self._named(num_gpus)
        return self._nodes(self.nodes or -(-num_gpus // self.num_gpus_per_node()))

    def _named(self, num_gpus: int | None = None) -> Cluster:
        assert self.name is not None
        changes = self._changes()
        return topologies.load({"name": self.name, **changes} if changes else self.name, num_gpus)

    def _nodes(self, nodes: int) -> Cluster:
        if self.name is None:
            per_node = self.gpus_per_node
            return topologies.build(gpu=str(self.gpu), gpus_per_node=per_node, fabric=self.fabric, nodes=nodes)
        whole = self._named()
        if whole.is_mixed:
            raise InputError(f"cluster: {self.name} has nodes of several kinds; take nodes and gpus_per_node out")
        cluster = self._named(nodes * whole.node.num_gpus)
        (pool,) = cluster.pools
        node = pool.node if self.gpus_per_node is None else _used_part(whole, self.gpus_per_node)
        return replace(cluster, pools=(replace(pool, node=node),))


ClusterReference = Annotated[ClusterSection, BeforeValidator(_opened, json_schema_input_type=Text | ClusterSection)]


def _check_built(said: Mapping[str, Value]) -> None:
    """Without a name there is a GPU of the catalogue, and nothing to lay other fields over."""
    if "gpu" not in said:
        raise ValueError("write name: CLUSTER, or gpu: GPU with fabric and nodes")
    for field in said:
        if field != "gpu":
            raise ValueError(f"{field} goes with name: CLUSTER; with gpu write fabric, gpus_per_node and nodes")
    if not isinstance(said["gpu"], str):
        raise ValueError("a GPU that is written out goes with name: CLUSTER, or into a cluster file")


def _check_changed(said: Mapping[str, Value]) -> None:
    """What is wrong is told by its field; the file below was found right by itself."""
    try:
        topologies.load(said)
    except InputError as error:
        raise ValueError(str(error).partition(": ")[2]) from None


def _used_part(cluster: Cluster, num_gpus: int) -> Node:
    """The first GPUs of a node, with the NICs, switches and sockets that serve them."""
    (pool,) = cluster.pools
    if num_gpus > pool.node.num_gpus:
        raise InputError(f"cluster.gpus_per_node={num_gpus}, but a node of {cluster.name} has {pool.node.num_gpus}")
    node = _first_gpus(pool.node, num_gpus)
    for _, message in problems(replace(cluster, pools=(replace(pool, node=node),))):
        raise InputError(f"cluster.gpus_per_node={num_gpus}: {message.partition(';')[0]}")
    return node


def _first_gpus(node: Node, num_gpus: int) -> Node:
    sockets = -(-node.num_sockets * num_gpus // node.num_gpus)
    return replace(
        node,
        num_gpus=num_gpus,
        scale_up=replace(node.scale_up, num_peers=num_mesh_wires(node)) if node.layout == "mesh" else node.scale_up,
        num_nics=-(-node.num_nics * num_gpus // node.num_gpus),
        gpus_per_switch=gcd(node.gpus_per_switch, num_gpus),
        num_sockets=sockets,
        socket_link=node.socket_link if sockets > 1 else None,
        bridge=node.bridge if num_gpus > 1 else None,
    )
