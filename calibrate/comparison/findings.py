"""What a comparison says in sentences, as somebody would who has looked after such machines: what became slower, at
which sizes, and what to look at first."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from calibrate.comparison.compare import ALL, Shift
from calibrate.comparison.sides import Side
from calibrate.measurement import Measurement
from sim.costs.laws import KERNEL_LAWS

LEAST_STRAGGLE: Final = 0.03
"""GPUs of one node differ by some per cent; one that is this much behind the median is named."""
LEAST_POINTS: Final = 5
MOST_OF: Final = 0.6
"""It is the same GPU that is last in so many of the points."""
_SOFTWARE: Final = ("driver", "cuda", "nccl", "torch", "python")
_NAMES: Final = (
    ("gemm gradients", "gradients of products"),
    ("gemm", "products in"),
    ("grouped gemm", "products of experts in"),
    ("attention", "attention"),
    ("memory bound", "memory-bound kernels"),
    ("nccl all-to-all", "all-to-all"),
    ("nccl send", "messages"),
    ("launch", "launches of kernels"),
    ("host copy", "copies to and from the host"),
)


def differences(one: Side, other: Side) -> list[str]:
    """What is not the same of the two machines, in words; nothing where either is not known."""
    if one.machine is None or other.machine is None:
        return []
    ours, theirs = one.machine, other.machine
    facts = [("device", ours.device, theirs.device), ("GPUs", ours.num_gpus, theirs.num_gpus),
             ("nodes", ours.num_nodes, theirs.num_nodes), ("network", ours.fabric, theirs.fabric)]  # fmt: skip
    facts += [(name, ours.software.get(name, ""), theirs.software.get(name, "")) for name in _SOFTWARE]
    clocks = dict.fromkeys((*ours.clocks, *theirs.clocks))
    facts += [(f"clock {name} (MHz)", _number(ours.clocks, name), _number(theirs.clocks, name)) for name in clocks]
    return [f"{name}: {here or 'none'}, then {there or 'none'}" for name, here, there in facts if here != there]


def _number(clocks: Mapping[str, float], name: str) -> str:
    return f"{clocks[name]:g}" if name in clocks else ""


def stragglers(side: Side) -> list[str]:
    """The GPU that is behind the others in most kernels, and by how much of the median GPU's time."""
    alone = [one for one in side.measurements if one.operation in KERNEL_LAWS and _is_told(one)]
    if len(alone) < LEAST_POINTS:
        return []
    ranks = [one.slowest_rank for one in alone]
    last = max(set(ranks), key=ranks.count)
    behind = float(np.median([one.slowest / one.seconds - 1 for one in alone if one.slowest_rank == last]))
    if ranks.count(last) < MOST_OF * len(alone) or behind < LEAST_STRAGGLE:
        return []
    return [f"{side.name}: GPU {last} is {_percent(behind)} slower than the median GPU: its clock, power or cooling?"]


def _is_told(one: Measurement) -> bool:
    return one.seconds > 0 and bool(np.isfinite(one.slowest)) and not one.wrong


def sentences(one: Side, other: Side, shifts: Sequence[Shift]) -> list[str]:
    """What the shifts come to: those beyond the noise first, largest first, then what is as fast.

    Of other hardware it is said that it is, and no cause is sought.
    """
    alike = bool(set(one.parts) & set(other.parts))
    beyond = sorted((shift for shift in shifts if shift.is_beyond_noise), key=lambda one: -abs(np.log(one.ratio)))
    told = [] if alike else [f"{', '.join(one.parts)}, then {', '.join(other.parts)}: not the same hardware"]
    told += [_beyond(shift, seeks_cause=alike) for shift in beyond]
    return [*told, *_as_fast([shift for shift in shifts if not shift.is_beyond_noise]), *stragglers(other)]


def _beyond(shift: Shift, *, seeks_cause: bool) -> str:
    slower = shift.ratio > 1
    change = _percent(shift.ratio - 1 if slower else 1 - shift.ratio)
    said = f"{change} {'slower' if slower else 'faster'} {subject(shift)}{_where(shift)} on {shift.part}"
    return f"{said}: {_cause(shift)}" if slower and seeks_cause else said


def _where(shift: Shift) -> str:
    return "" if shift.where == ALL else f" {shift.where}"


def subject(shift: Shift) -> str:
    """What was done, in words."""
    if shift.operation == "gloo":
        return f"{shift.collective} between processes"
    if shift.collective:
        return f"{shift.collective} {'between nodes' if 'network' in shift.operation else 'within a node'}"
    for prefix, words in _NAMES:
        if shift.operation.startswith(prefix):
            return f"{words} {shift.operation.split()[-1]}" if words.endswith(" in") else _words(shift, words)
    return shift.operation


def _words(shift: Shift, words: str) -> str:
    if words == "attention":
        return shift.operation
    return f"{words} between nodes" if "network" in shift.operation else words


def _cause(shift: Shift) -> str:
    """What to look at first."""
    if shift.operation.startswith("nccl"):
        if shift.size == "small":
            return "a latency: other NCCL settings, a busy switch, or GPUs of other sockets?"
        return "is a rail or NIC down?" if "network" in shift.operation else "is a link of the node down?"
    if shift.operation == "gloo":
        return "is the machine busy with something else?"
    if shift.operation == "memory bound":
        return "the clock of the memory, or ECC?" if shift.size == "large" else "starts of kernels, or the L2?"
    if shift.operation in ("launch", "host copy") or shift.size == "small":
        return "is the host busy, or its clock low?"
    return "the GPU's clock: its power limit, its heat, or another library?"


def _as_fast(shifts: Sequence[Shift]) -> Iterator[str]:
    """Those within the noise, a sentence or two for each operation."""
    groups: dict[str, list[Shift]] = {}
    for shift in shifts:
        groups.setdefault(f"{subject(shift)} on {shift.part}", []).append(shift)
    for what, group in groups.items():
        for is_told, words in ((True, "as fast"), (False, "too noisy to tell")):
            alike = [shift for shift in group if shift.is_told == is_told]
            if alike:
                sizes = ",".join(_where(shift) for shift in alike)
                yield f"{what}: {words} (±{_percent(max(shift.noise for shift in alike))}){sizes}"


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %") if share >= 0.095 else f"{share * 100:.2g} %"
