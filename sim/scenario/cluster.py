"""The cluster of a scenario: by name or file, whole or in part, or put together from a GPU and a fabric."""

from dataclasses import replace
from math import gcd
from typing import Annotated, Self

from pydantic import model_validator

import topologies
from sim.scenario.fields import Count, Section, Text, known
from topologies.document import InputError, Value
from topologies.fabric import num_mesh_wires
from topologies.hardware import Cluster, Node
from topologies.wiring import problems


def opened(cluster: object) -> object:
    """`cluster: NAME` as the section {name: NAME}."""
    return {"name": cluster} if isinstance(cluster, str) else cluster


class ClusterSection(Section):
    """A cluster by name or file, or put together from a GPU and a fabric."""

    name: Annotated[Text | None, known(lambda name: topologies.load(name or ""))] = None
    """A cluster of the catalogue (`shardsim clusters` lists them), or a cluster file."""
    gpu: Annotated[Text | None, known(lambda name: topologies.gpu(name or ""))] = None
    """In place of a name: a GPU of the catalogue (`shardsim gpus` lists them)."""
    fabric: Annotated[Text | None, known(lambda fabric: topologies.network(fabric or ""))] = None
    """With gpu: the network and the NICs of a node, such as ib-ndr400x8, roce-200x8 or nvlink-only."""
    gpus_per_node: Count | None = None
    """How many GPUs of a node are used; with a name at most as many as its nodes have."""
    nodes: Count | None = None
    """How many nodes; as many as the GPUs need where it is not said."""

    @model_validator(mode="after")
    def _is_one_way(self) -> Self:
        if (self.name is None) == (self.gpu is None):
            raise ValueError("write name: CLUSTER, or gpu: GPU with fabric and nodes, and not both")
        if self.fabric is not None and self.gpu is None:
            raise ValueError("fabric goes with gpu; a cluster by name has its own")
        return self

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
            return topologies.load(self.name, num_gpus)
        return self._nodes(self.nodes or -(-num_gpus // self.num_gpus_per_node()))

    def _nodes(self, nodes: int) -> Cluster:
        if self.gpu is not None:
            return topologies.build(gpu=self.gpu, gpus_per_node=self.gpus_per_node, fabric=self.fabric, nodes=nodes)
        assert self.name is not None
        whole = topologies.load(self.name)
        if whole.is_mixed:
            raise InputError(f"cluster: {self.name} has nodes of several kinds; take nodes and gpus_per_node out")
        cluster = topologies.load(self.name, nodes * whole.node.num_gpus)
        (pool,) = cluster.pools
        node = pool.node if self.gpus_per_node is None else _used_part(whole, self.gpus_per_node)
        return replace(cluster, pools=(replace(pool, node=node),))


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
