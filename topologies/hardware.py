"""What the hardware is: frozen facts about GPUs, links, nodes and clusters.

All figures are SI floats (bytes, bytes per second, seconds, FLOP/s, watts). A bandwidth is that of one direction.
What a part achieves beside its data sheet is its Fit; every number of a fit knows where it comes from.
Mappings count when parts are compared but not when they are hashed, so that a part can key a cache.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from topologies.fabric import Wire

Origin = Literal["measured", "interpolated", "extrapolated", "datasheet"]
Layout = Literal["nvswitch", "mesh", "pcie"]
Wiring = Literal["rail-optimised", "fat-tree", "torus"]
Library = Literal["nccl", "gloo"]

PROCESSOR = "cpu-"
"""What the name of a processor begins with that was measured where a GPU would stand."""

FULL_POWER = 1.4
"""Full power over the power limit of a GPU that nobody measured: 1.41 on an A100, 1.40 on an H100 (their sheets)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The parameters of one part's cost functions, what they rest on, and where each was read.

    A fit that `calibrate` made says also how well it holds: `spread` are the 10th and 90th percentile of
    ln(measured / predicted) over points that were left out (None where nobody measured), `half_widths` are those of
    the parameters' 80 % intervals, `domain` is the smallest and largest of each input that was measured, `part` the
    part that was measured, which may be another than the one that bears the fit.
    """

    values: Mapping[str, float] = field(hash=False)
    sources: Mapping[str, str] = field(hash=False)
    origin: Origin = "datasheet"
    spread: tuple[float, float] | None = None
    half_widths: Mapping[str, float] = field(default_factory=dict, hash=False)
    domain: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False)
    num_points: int = 0
    part: str = ""

    def __getitem__(self, parameter: str) -> float:
        return self.values[parameter]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One accelerator. `peak_flops` maps a precision (fp16, bf16, ...) to dense FLOP/s.

    `fit` holds what its data sheet says to be achievable, `fits` by operation ("gemm bf16") what measurements say.
    `num_sms` counts SMs, or CUs. `nvlink` and `pcie` name the links that it comes with in the catalogue (NVLink, or
    the maker's own scale-up link; None where it has none). `full_power` is what a dense matrix product
    would draw at the boost clock if no limit held it back.
    """

    name: str
    peak_flops: Mapping[str, float] = field(hash=False)
    memory_nbytes: float
    memory_bandwidth: float
    num_sms: int
    l2_nbytes: float
    power_limit: float
    fit: Fit
    fits: Mapping[str, Fit] = field(default_factory=dict, hash=False)
    nvlink: str | None = None
    pcie: str | None = None
    full_power: float = 0.0

    def __post_init__(self) -> None:
        """Where nobody says what it draws in full, that is as much above its limit as for an A100 and an H100."""
        if not self.full_power:
            object.__setattr__(self, "full_power", FULL_POWER * self.power_limit)

    @property
    def is_processor(self) -> bool:
        """Whether it is a processor's core, whose costs have laws of their own."""
        return self.name.startswith(PROCESSOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One kind of wire: bytes per second in one direction (per GPU for NVLink and PCIe, per NIC for a network).

    `fit` holds what its data sheet says to be achievable, `fits` by operation ("nccl") what measurements say.
    `num_peers` is to how many others it is dealt where it makes a mesh, used or not; 0 is as many as there are.
    """

    name: str
    bandwidth: float
    latency: float
    fit: Fit
    fits: Mapping[str, Fit] = field(default_factory=dict, hash=False)
    num_peers: int = 0

    @property
    def achievable_bandwidth(self) -> float:
        """Bytes per second that a large message is seen to get, below the signalling rate."""
        return self.bandwidth * self.fit["bandwidth_efficiency"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """GPUs of one scale-up domain, and the NICs that lead out of it.

    layout 'nvswitch': each GPU has a port of `scale_up` on a switch that never blocks. 'mesh': the port's bandwidth is
    dealt evenly to wires to each other GPU of a whole box. 'pcie': every GPU has its own slot, `gpus_per_switch` of
    them share a PCIe switch's way up to their socket, and the sockets (`num_sockets`) are joined by `socket_link`;
    `bridge` joins slots 0-1, 2-3, ... by NVLink. NIC n serves the slots from n * num_gpus / num_nics on. `nic` is
    None, and `num_nics` 0, in a box without a network.
    """

    gpu: Gpu
    num_gpus: int
    layout: Layout = "nvswitch"
    scale_up: Link
    gpus_per_switch: int = 1
    num_sockets: int = 1
    socket_link: Link | None = None
    bridge: Link | None = None
    nic: Link | None
    num_nics: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How the nodes' NICs are joined.

    'rail-optimised': NIC n of `nodes_per_leaf` nodes shares leaf switch n; 'fat-tree': all NICs of `nodes_per_leaf`
    nodes share one. Leaves meet in spines, with 1/`oversubscription` of the bandwidth below the leaf; `nodes_per_leaf`
    0 is one leaf for all. 'torus': nodes are points of a grid of `torus` sizes, closed to rings; the bandwidth of a
    node's NICs is dealt evenly to wires to its neighbours, of which a ring of two has one. `sharp`: its switches sum.

    On rails NCCL's `pxn` sends by the NIC that shares the target's leaf. `ecmp` are the parallel up-links of a leaf, to
    which messages are hashed by `qps` connections each, as `ecmp_seed` has it; 0 is one wide link for all.
    `background` is the share of the ways to the spine that others take.
    """

    wiring: Wiring
    oversubscription: float = 1.0
    nodes_per_leaf: int = 0
    torus: tuple[int, ...] = ()
    sharp: bool = False
    pxn: bool = True
    ecmp: int = 0
    qps: int = 2
    ecmp_seed: int = 0
    background: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """So many equal nodes."""

    node: Node
    num_nodes: int

    @property
    def num_gpus(self) -> int:
        return self.num_nodes * self.node.num_gpus


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Pools of equal nodes on one network. GPUs and nodes are counted through the pools, slot by slot, node by node.

    `library` is what moves the bytes of collectives and messages: NCCL, or Gloo between processes of one machine.
    `nccl_version`, such as 2.27.3, decides by which algorithm a collective goes. `degraded` says what is left of
    wires that carry less than they should, by their names (see degraded.py).
    """

    name: str
    pools: tuple[Pool, ...]
    network: Network
    library: Library = "nccl"
    nccl_version: str = "2.27"
    degraded: Mapping[str, float] = field(default_factory=dict, hash=False)

    @cached_property
    def _hash(self) -> int:
        return hash((self.name, self.pools, self.network, self.library, self.nccl_version))

    def __hash__(self) -> int:
        """Taken once: a cluster keys the caches of all costs."""
        return self._hash

    def __getstate__(self) -> dict[str, object]:
        """Without the hash, which is another in another process."""
        return {name: value for name, value in self.__dict__.items() if name != "_hash"}

    @property
    def is_mixed(self) -> bool:
        """Whether nodes differ."""
        return len(self.pools) > 1

    @property
    def node(self) -> Node:
        """The nodes of the first pool; of all nodes unless the cluster is mixed."""
        return self.pools[0].node

    @property
    def gpu(self) -> Gpu:
        """The GPUs of the first pool; all GPUs unless the cluster is mixed."""
        return self.node.gpu

    @cached_property
    def num_nodes(self) -> int:
        return sum(pool.num_nodes for pool in self.pools)

    @cached_property
    def num_gpus(self) -> int:
        return sum(pool.num_gpus for pool in self.pools)

    @cached_property
    def _first_gpus(self) -> tuple[int, ...]:
        """The first GPU of each pool."""
        return (0, *accumulate(pool.num_gpus for pool in self.pools[:-1]))

    @cached_property
    def _first_nodes(self) -> tuple[int, ...]:
        """The first node of each pool."""
        return (0, *accumulate(pool.num_nodes for pool in self.pools[:-1]))

    @cached_property
    def degraded_wires(self) -> "Mapping[Wire, float]":
        """What is left of each degraded wire's capacity, by its way out."""
        from topologies.degraded import factors

        return factors(self)

    def pool_of(self, gpu: int) -> int:
        """The index of the pool that a GPU is in."""
        return bisect_right(self._first_gpus, gpu) - 1 if len(self.pools) > 1 else 0

    def node_of(self, gpu: int) -> int:
        """The number of the node that holds a GPU."""
        if len(self.pools) == 1:
            return gpu // self.pools[0].node.num_gpus
        pool = self.pool_of(gpu)
        return self._first_nodes[pool] + (gpu - self._first_gpus[pool]) // self.pools[pool].node.num_gpus

    def first_gpu(self, node: int) -> int:
        """The first GPU of a node; a number beyond the last node is counted on in the last pool."""
        pool = bisect_right(self._first_nodes, node) - 1
        return self._first_gpus[pool] + (node - self._first_nodes[pool]) * self.pools[pool].node.num_gpus

    def slot_of(self, gpu: int) -> int:
        """The place of a GPU within its node."""
        pool = self.pool_of(gpu)
        return (gpu - self._first_gpus[pool]) % self.pools[pool].node.num_gpus

    def node_at(self, gpu: int) -> Node:
        """What the node of a GPU is."""
        return self.pools[self.pool_of(gpu)].node

    def gpu_at(self, gpu: int) -> Gpu:
        """What kind of GPU stands at a rank."""
        return self.node_at(gpu).gpu

    def gpus_between(self, first: int, last: int) -> tuple[Gpu, ...]:
        """The kinds of GPU that stand at the ranks from `first` to `last`, both included, pool by pool."""
        return tuple(pool.node.gpu for pool in self.pools[self.pool_of(first) : self.pool_of(last) + 1])

    def route(self, source: int, target: int) -> "tuple[Wire, ...]":
        """The wires that a message takes from one GPU to another, in order; see topologies/fabric.py."""
        from topologies.fabric import route

        return route(self, source, target)
