"""What bounds each kernel, collective and message of a step.

A kernel is bound by what its load says: its SMs, or the HBM that it streams through; communication by its busiest wire,
also where a protocol keeps below that, as it goes with its rate. Before anything moves there is latency.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from sim.flow import flow_of
from sim.instructions import Activity, Collective, Compute, Load, Transfer
from sim.program import Program
from topologies.fabric import Medium, Wire, capacity, nic_of
from topologies.hardware import Cluster, Gpu, Origin

Resource = Literal["compute", "hbm", "scale_up", "nic", "latency", "host", "waiting"]
"""What sets the length of a piece of time; `waiting` is for other ranks' work, the rest is hardware, or the host."""

Mix = Mapping[Resource, float]
"""Shares of some time by what bounds it; they sum to one."""
Key = tuple[str, int] | None
"""Kind and stage of an action; None at the end of the step."""
INSIDE: Final[frozenset[Medium]] = frozenset({"nvlink", "mesh", "slot", "switch", "socket", "bridge"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """An instruction of one rank's block: as often as the block runs on all ranks that the rank stands for."""

    name: str
    key: str
    rank: int
    action: Key
    is_kernel: bool
    count: float
    seconds: float
    mix: Mix
    flops: float = 0.0
    nbytes: float = 0.0
    reached: float = 0.0
    operation: str = ""
    origin: Origin = "datasheet"

    @property
    def total(self) -> float:
        return self.count * self.seconds


def parts_of(program: Program, cluster: Cluster, sheet: Cluster) -> Iterator[Part]:
    """Every instruction of every different block. `cluster` is at its clock, `sheet` at that of the data sheets."""
    for stream in program.streams:
        steps = Counter((action and (action.kind, action.stage), id(block)) for action, block in stream.steps)
        blocks = {id(block): block for _, block in stream.steps}
        for (action, block), times in steps.items():
            count = float(times * program.ranks_folded[stream.rank])
            for entry in blocks[block]:
                if isinstance(entry, Compute):
                    yield from _kernel(entry, stream.rank, action, count, cluster, sheet)
                elif isinstance(entry, Collective | Transfer):
                    activity = program.activities[entry, stream.rank]
                    yield _communication(entry, activity, stream.rank, action, count, cluster)


def _kernel(entry: Compute, rank: int, action: Key, count: float, cluster: Cluster, sheet: Cluster) -> Iterator[Part]:
    """A kernel by its load; what parts of it wait for others' (an uneven load) is theirs."""
    gpu = cluster.gpu_at(rank)
    for key, seconds in entry.parts or ((entry.category, entry.duration),):
        operation, origin = _rests_on(entry)
        flops, nbytes = _work(entry, gpu, operation)
        yield Part(
            name=entry.name,
            key=key,
            rank=rank,
            action=action,
            is_kernel=not key.startswith("exposed_"),
            count=count,
            seconds=seconds,
            mix=_mix_of(entry, gpu, key),
            flops=flops,
            nbytes=nbytes,
            reached=_reached(entry, gpu, sheet.gpu_at(rank)),
            operation=operation,
            origin=origin,
        )


def _rests_on(entry: Compute) -> tuple[str, Origin]:
    """The operation and the origin of most of its seconds."""
    most = max(entry.basis, key=lambda one: one.seconds, default=None)
    return ("", "datasheet") if most is None else (most.operation, most.origin)


def _mix_of(entry: Compute, gpu: Gpu, key: str) -> Mix:
    if key == "host" or key == "other":
        return {"host": 1.0}
    if key.startswith("exposed_"):
        return {"waiting": 1.0}
    start = min(1.0, gpu.fit.values.get("kernel_latency", 0.0) / entry.duration) if entry.duration else 1.0
    return {_bound(entry.load): 1 - start, "latency": start}


def _bound(load: Load) -> Resource:
    """What needs SMs is bound by them; what does not streams through the HBM."""
    return "compute" if load.sms or load.num_blocks or not load.memory else "hbm"


def _work(entry: Compute, gpu: Gpu, operation: str) -> tuple[float, float]:
    """FLOPs and bytes of one, as its load has them."""
    nbytes = entry.load.memory * gpu.memory_bandwidth * entry.duration
    return entry.load.math * peak(gpu, operation) * entry.duration, nbytes


def _reached(entry: Compute, gpu: Gpu, sheet: Gpu) -> float:
    """Of the data sheet's rate, at the boost clock."""
    if _bound(entry.load) == "hbm":
        return entry.load.memory
    before = peak(sheet, "")
    return entry.load.math * peak(gpu, "") / before if before else 0.0


def peak(gpu: Gpu, operation: str) -> float:
    """Dense FLOP/s in the precision that an operation ("gemm fp8_block") names; else in 16 bits."""
    named = operation.rpartition(" ")[2].partition("_")[0].removeprefix("mx")
    usual = gpu.peak_flops.get("bf16") or gpu.peak_flops.get("fp16") or 0.0
    return gpu.peak_flops.get(named, usual)


def _communication(
    entry: Collective | Transfer, activity: Activity, rank: int, action: Key, count: float, cluster: Cluster
) -> Part:
    flow = flow_of(cluster, activity, {})
    wire = _busiest(cluster, activity)
    start = min(1.0, activity.latency / flow.seconds) if flow.seconds else 1.0
    resource: Resource = "latency" if wire is None else "scale_up" if wire.medium in INSIDE else "nic"
    mix: dict[Resource, float] = {"latency": start}
    if wire is not None:
        mix[resource] = 1 - start
    return Part(
        name=entry.name,
        key=entry.axis,
        rank=rank,
        action=action,
        is_kernel=False,
        count=count,
        seconds=flow.seconds,
        mix=mix,
        nbytes=entry.nbytes,
        reached=_of_the_wire(cluster, activity, wire, flow.seconds),
        operation=_operation(entry, resource),
        origin=_link_origin(cluster, _operation(entry, resource), resource),
    )


def _busiest(cluster: Cluster, activity: Activity) -> Wire | None:
    """The wire that would take longest."""
    used = [(nbytes / capacity(cluster, wire), wire) for wire, nbytes in activity.loads if nbytes]
    return max(used, key=lambda one: one[0])[1] if used else None


def _of_the_wire(cluster: Cluster, activity: Activity, wire: Wire | None, seconds: float) -> float:
    """Bytes per second over it, of what its data sheet says."""
    if wire is None or not seconds:
        return 0.0
    node = cluster.node_at(wire.number)
    link = node.scale_up if wire.medium in INSIDE else nic_of(node)
    return dict(activity.loads)[wire] / seconds / capacity(cluster, wire) * link.fit["bandwidth_efficiency"]


def _operation(entry: Collective | Transfer, resource: Resource) -> str:
    """Under which name the fits of a link know it."""
    place = "network" if resource == "nic" else "node"
    if isinstance(entry, Transfer) or entry.operation in ("all_to_all", "exchange"):
        return f"nccl all-to-all {place}"
    if entry.operation in ("dispatch", "combine"):
        return f"deepep normal {entry.operation} {place}"
    return f"nccl {place}"


def _link_origin(cluster: Cluster, operation: str, resource: Resource) -> Origin:
    node = cluster.node
    link = nic_of(node) if resource == "nic" else node.scale_up
    fit = link.fits.get(operation)
    return "datasheet" if fit is None or fit.part not in ("", link.name) else fit.origin
