"""The cluster as a drawing: which GPU of which node holds which part of the model, and what joins them.

A node is rows of at most eight slots. Above the slots stand the tensor-parallel groups, below them what they share in
hardware: PCIe switches, sockets, bridges, NICs. Of nodes that repeat one is drawn and the others are counted.
The facts are found here; assets/cluster.html.j2 puts them onto the page.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from sim.plan import Plan
from sim.reports import links
from sim.reports.palette import depth
from topologies.hardware import Cluster, Node

SLOTS_IN_A_ROW = 8
MOST_CELLS = 144
MOST_CELLS_OF_MANY = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One GPU: its number, its pipeline rank (None where the plan leaves it idle), and what a hover tells."""

    gpu: int
    pp: int | None
    color: str
    ink: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """What `length` slots of a row, from column `first` on, have in common; it may go on before or after the row."""

    first: int
    length: int
    text: str
    title: str
    from_before: bool = False
    goes_on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Slots side by side, the groups above them, and below them one line per level of the node's hardware."""

    cells: tuple[Cell, ...]
    groups: tuple[Bracket, ...]
    hardware: tuple[tuple[Bracket, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One node; `joints` are sentences on what joins its GPUs and what leads out, `left_out` one on slots that are not
    drawn, `repeats` one on the nodes after it that look the same."""

    title: str
    rows: tuple[Row, ...]
    joints: tuple[str, ...]
    left_out: str
    repeats: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Nodes that are not drawn and hold other pipeline ranks than those that are, in a sentence."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """The whole picture in a sentence, the network's sentences, then nodes and gaps in their order; `columns` of the
    widest node; whether a tensor-parallel group goes on beyond a row."""

    said: str
    network: tuple[str, ...]
    boxes: tuple[Box | Gap, ...]
    columns: int
    has_open_ends: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A node that the plan uses: its number, its pool, its first GPU, and how many of its GPUs have work."""

    number: int
    pool: int
    first: int
    used: int


def draw(cluster: Cluster, plan: Plan) -> Drawing:
    """The nodes that the plan uses, all of them up to 144 GPUs (two racks of NVL72), else one of each that differ."""
    places = used_nodes(cluster, plan.num_gpus)
    drawn = representatives(cluster, plan, places)
    boxes = tuple(_boxes(cluster, plan, places, drawn))
    rows = [row for box in boxes if isinstance(box, Box) for row in box.rows]
    return Drawing(
        said=_said(plan, places, len(drawn)),
        network=links.network(cluster, len(places)),
        boxes=boxes,
        columns=max(len(row.cells) for row in rows),
        has_open_ends=any(group.goes_on for row in rows for group in row.groups),
    )


def _said(plan: Plan, places: Sequence[Place], num_drawn: int) -> str:
    """What is drawn, in a few sentences."""
    if plan.num_gpus == 1:
        return "One GPU holds the whole model."
    held = f"{plan.num_gpus:,} GPUs on {_counted(len(places), 'node')}: {_counted(plan.dp, 'replica')} (dp)"
    said = f"{held} of {_counted(plan.pp, 'pipeline rank')} (pp), each on {_groups_of_a_rank(plan)}."
    if plan.ep > 1:
        said += f" {_counted(plan.ep, 'GPU')} share the experts (ep)."
    if num_drawn == len(places):
        return said
    are = "is" if num_drawn == 1 else "are"
    return f"{said} Of the nodes {num_drawn} {are} drawn; the others are counted beside them."


def _groups_of_a_rank(plan: Plan) -> str:
    of_gpus = f"of {_counted(plan.tp, 'GPU')} (tp)"
    if plan.cp == 1:
        return f"a tensor-parallel group {of_gpus}"
    return f"{plan.cp} tensor-parallel groups {of_gpus} that share each sequence (cp)"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def used_nodes(cluster: Cluster, num_gpus: int) -> list[Place]:
    """The nodes that hold GPUs 0 to num_gpus - 1."""
    places: list[Place] = []
    first = 0
    for index, pool in enumerate(cluster.pools):
        for _ in range(min(pool.num_nodes, -(-(num_gpus - first) // pool.node.num_gpus))):
            used = min(pool.node.num_gpus, num_gpus - first)
            places.append(Place(number=len(places), pool=index, first=first, used=used))
            first += pool.node.num_gpus
    return places


def representatives(cluster: Cluster, plan: Plan, places: Sequence[Place]) -> list[int]:
    """The indices of the nodes to draw: all, or the first of each run of nodes that differ only in their replica.

    Where a tensor-parallel group spans nodes, as many of them as it takes until the pattern repeats. Where there are
    still too many for 64 cells, the first and the last ones.
    """
    sizes = [cluster.pools[place.pool].node.num_gpus for place in places]
    if sum(sizes) <= MOST_CELLS:
        return list(range(len(places)))
    unit = _unit(cluster, plan)
    units = [range(start, min(start + unit, len(places))) for start in range(0, len(places), unit)]
    runs = groupby(units, lambda indices: tuple(_pattern(plan, places[index]) for index in indices))
    drawn = [index for _, run in runs for index in next(run)]
    return _ends(drawn, max(MOST_CELLS_OF_MANY // max(sizes), 1), unit)


def coordinates(plan: Plan, gpu: int) -> tuple[int, int, int, int]:
    """Where a GPU is on the tp, dp, pp and cp axes: the inverse of `sim.plan.rank`."""
    group = gpu // plan.tp
    return gpu % plan.tp, group // plan.cp % plan.dp, gpu // plan.stride, group % plan.cp


def _unit(cluster: Cluster, plan: Plan) -> int:
    """After how many nodes tensor-parallel groups lie in the same slots again."""
    return math.lcm(plan.tp, cluster.node.num_gpus) // cluster.node.num_gpus


def _pattern(plan: Plan, place: Place) -> tuple[int, ...]:
    """Equal for nodes that hold the same pipeline ranks and parts of tp groups in the same slots."""
    first, last = place.first // plan.stride, (place.first + place.used - 1) // plan.stride
    offset = place.first % plan.stride if last > first else 0
    return place.pool, place.first % plan.tp, first, last, offset, place.used


def _ends(drawn: list[int], most: int, unit: int) -> list[int]:
    """At most `most` of the nodes, in whole units where possible: two thirds of them from the front."""
    if len(drawn) <= most:
        return drawn
    back = most // 3 // unit * unit
    front = most - back if most < unit else (most - back) // unit * unit
    return drawn[:front] + drawn[len(drawn) - back :]


def _boxes(cluster: Cluster, plan: Plan, places: Sequence[Place], drawn: Sequence[int]) -> Iterator[Box | Gap]:
    for index, following in zip(drawn, [*drawn[1:], len(places)], strict=True):
        hidden = places[index + 1 : following]
        numbers = _span("node", index + 1, following - 1)
        is_alike = bool(hidden) and _stages(plan, hidden) == _stages(plan, [places[index]])
        alike = f"× {_like(len(hidden), _unit(cluster, plan))}: {numbers}"
        yield _box(cluster, plan, places[index], alike if is_alike else "")
        if hidden and not is_alike:
            yield Gap(text=f"{len(hidden):,} more: {numbers}, {_span('pipeline rank', *_stages(plan, hidden))}")


def _stages(plan: Plan, places: Sequence[Place]) -> tuple[int, int]:
    """The first and the last pipeline rank on some nodes."""
    last = places[-1].first + places[-1].used - 1
    return coordinates(plan, places[0].first)[2], coordinates(plan, last)[2]


def _like(num_hidden: int, unit: int) -> str:
    """How many hidden nodes are like the one before them, or how many sets of nodes like the set before them."""
    if unit == 1 or num_hidden % unit:
        return f"{num_hidden:,} like this"
    return f"{num_hidden // unit:,} like these {unit}"


def _span(noun: str, first: int, last: int) -> str:
    return f"{noun} {first:,}" if first == last else f"{noun}s {first:,} to {last:,}"


def _box(cluster: Cluster, plan: Plan, place: Place, repeats: str) -> Box:
    node = cluster.pools[place.pool].node
    starts = range(0, min(node.num_gpus, MOST_CELLS), SLOTS_IN_A_ROW)
    left_out = max(node.num_gpus - MOST_CELLS, 0)
    return Box(
        title=links.node_title(cluster, place.number, node),
        rows=tuple(_row(plan, place, node, start) for start in starts),
        joints=links.joints(node),
        left_out=f"and {left_out:,} more GPUs in this node" if left_out else "",
        repeats=repeats,
    )


def _row(plan: Plan, place: Place, node: Node, start: int) -> Row:
    slots = range(start, min(start + SLOTS_IN_A_ROW, node.num_gpus))
    used = [slot for slot in slots if slot < place.used]
    groups = _brackets(used, lambda slot: (place.first + slot) // plan.tp)
    return Row(
        cells=tuple(_cell(plan, place, slot) for slot in slots),
        groups=tuple(_group(plan, place.first + start, first, length) for _, first, length in groups),
        hardware=tuple(
            tuple(Bracket(first=first, length=length, text=text, title=text) for text, first, length in level)
            for level in (_brackets(slots, of_slot) for of_slot in links.levels(node))
        ),
    )


def _cell(plan: Plan, place: Place, slot: int) -> Cell:
    gpu = place.first + slot
    where = f"GPU {gpu}: node {place.number}, slot {slot}"
    if slot >= place.used:
        return Cell(gpu=gpu, pp=None, color="", ink="", title=f"{where}, idle")
    tp, dp, pp, cp = coordinates(plan, gpu)
    color, ink = depth(pp, plan.pp)
    of_sequence = f"cp {cp}, " if plan.cp > 1 else ""
    return Cell(gpu=gpu, pp=pp, color=color, ink=ink, title=f"{where}, tp {tp}, {of_sequence}dp {dp}, pp {pp}")


def _group(plan: Plan, row_start: int, first: int, length: int) -> Bracket:
    """A tensor-parallel group, as far as it lies in a row whose first slot is GPU `row_start`."""
    gpu = row_start + first
    _, dp, pp, cp = coordinates(plan, gpu)
    begins = gpu // plan.tp * plan.tp
    ends = begins + plan.tp - 1
    of_sequence = f"part cp {cp} of its sequences, " if plan.cp > 1 else ""
    members = f"GPU {begins}" if plan.tp == 1 else f"tensor-parallel group of GPUs {begins} to {ends}"
    return Bracket(
        first=first,
        length=length,
        text=f"{dp}·{cp}" if plan.cp > 1 else f"dp {dp}",
        title=f"{members}: replica dp {dp}, {of_sequence}pipeline rank {pp}",
        from_before=begins < gpu,
        goes_on=ends >= gpu + length,
    )


def _brackets(slots: Sequence[int], key: Callable[[int], object]) -> list[tuple[str, int, int]]:
    """Runs of slots with the same key: the key as text, the first column, and how many columns."""
    runs = [(str(name), list(run)) for name, run in groupby(slots, key)]
    return [(name, run[0] % SLOTS_IN_A_ROW, len(run)) for name, run in runs if name]
