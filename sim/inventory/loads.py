"""The load on each kind of link: the bytes that a step puts onto its wires, of what they could carry in that time."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from sim.instructions import Activity, Collective, Transfer
from sim.inventory import lowered
from sim.plan import Plan
from sim.program import Program
from sim.scenario import Scenario
from topologies.fabric import Medium, Wire, capacity
from topologies.hardware import Cluster

MEDIA: Final[Mapping[Medium, str]] = {
    "nvlink": "ports of GPUs at the NVLink switch",
    "mesh": "links between GPUs",
    "bridge": "NVLink bridges",
    "slot": "PCIe slots",
    "switch": "ways up from PCIe switches",
    "socket": "links between sockets",
    "nic": "NICs",
    "leaf": "ways from leaf to spine",
    "uplink": "up-links of leaves",
    "torus": "wires of the torus",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLoad:
    """One kind of link, each way of which counts as a wire: bytes over a wire that is used, in the mean, by the axis
    that sends them, largest first; and for which share of the step the mean and the busiest wire are full."""

    links: str
    by_axis: Mapping[str, float]
    mean: float
    busiest: float


def link_loads(scenario: Scenario, plan: Plan, seconds: float) -> tuple[LinkLoad, ...]:
    """The loads of a step of so many seconds by this plan; it is lowered to kernels for that, and not played."""
    program, cluster = lowered(scenario, plan)
    sums: defaultdict[Medium, dict[Wire, defaultdict[str, float]]] = defaultdict(dict)
    for axis, wire, nbytes in _sent(program):
        sums[wire.medium].setdefault(wire, defaultdict(float))[axis] += nbytes
    return tuple(_of(MEDIA[medium], sums[medium], cluster, seconds) for medium in MEDIA if medium in sums)


def _of(links: str, wires: Mapping[Wire, Mapping[str, float]], cluster: Cluster, seconds: float) -> LinkLoad:
    shares = [sum(sent.values()) / capacity(cluster, wire) / seconds for wire, sent in wires.items()]
    axes = Counter[str]()
    for sent in wires.values():
        axes.update(sent)
    return LinkLoad(
        links=links,
        by_axis={axis: nbytes / len(wires) for axis, nbytes in axes.most_common()},
        mean=sum(shares) / len(wires),
        busiest=max(shares),
    )


def _sent(program: Program) -> Iterator[tuple[str, Wire, float]]:
    """Axis, wire and bytes of every collective and message of the step; a collective stands with each of its members
    that is played, and its loads are those of all equal ones."""
    for stream in program.streams:
        times = Counter(id(block) for _, block in stream.steps)
        blocks = {id(block): block for _, block in stream.steps}
        for key, count in times.items():
            for entry in blocks[key]:
                if isinstance(entry, Collective | Transfer):
                    share = count / _members(program, entry, stream.rank)
                    yield from _loads(program.activities[entry, stream.rank], entry.axis, share)


def _members(program: Program, entry: Collective | Transfer, rank: int) -> int:
    return len(program.groups[entry.group, rank]) if isinstance(entry, Collective) else 1


def _loads(activity: Activity, axis: str, share: float) -> Iterator[tuple[str, Wire, float]]:
    return ((axis, wire, nbytes * share) for wire, nbytes in activity.loads if nbytes)
