"""What a prediction rests on, and how sure it is.

Every kernel's seconds carry the operation whose fit they come from; every fit knows how far points that it had not seen
were off. Errors of one operation are taken to be the same in all its kernels of a step, those of different operations
to be independent: each widens the interval by its share of the time. What no cost knows of comes on top: the release of
the software, the day, and all else (hosts, data, neighbours), as wide as published steps show it.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from sim.program import COMPUTE
from sim.timeline import Timeline, breakdown
from topologies.fabric import nic_of
from topologies.fits import own_parts, users_folder
from topologies.hardware import Cluster, Fit, Gpu, Link, Origin, Pool

ORIGINS: Final[tuple[Origin, ...]] = ("measured", "interpolated", "extrapolated", "datasheet")

UNMEASURED: Final = (-0.16, 0.16)
"""ln(measured / predicted), 10th and 90th percentile, where nobody measured the part: what leaving a GPU out gives."""

UNMODELLED: Final = (-0.03, 0.04)
"""The same of whole steps, for what no kernel and no link explains: with it the intervals of 57 published runs
(docs/validation.md) hold 84 % of their times, without it 82 %."""

RELEASES: Final = 0.06
"""|ln| that four of five recipes stay within which several releases of one framework ran, from the middle of their
shortest and longest step: 75 recipes of Megatron-Bridge 25.09 to 26.08 and NeMo 24.07 to 25.04 (NVIDIA, performance
summaries), whose longest step is 1.06 times the shortest in the median, at most 1.8. A profile stands for all."""

EIGHTY_PERCENT: Final = 1.2816
"""Standard deviations on either side of the mean that hold 80 % of a normal sample."""

Spread = tuple[float, float]


class Share(NamedTuple):
    """A share of the step's busy time, what it rests on, and the spread of its errors; one error for one `cause`."""

    cause: str
    origin: Origin
    share: float
    spread: Spread


def origins(timeline: Timeline, cluster: Cluster) -> dict[str, float]:
    """Shares of the busy time by what the parameters behind it rest on; they sum to one."""
    found = dict.fromkeys(ORIGINS, 0.0)
    for one in shares(timeline, cluster):
        found[one.origin] += one.share
    return {str(origin): share for origin, share in found.items()}


def interval(timeline: Timeline, cluster: Cluster, step_spread: float) -> dict[str, float]:
    """The 80 % interval of the step's seconds: `p10_s`, `p50_s` (the prediction), `p90_s`.

    `step_spread` is the framework's: the standard deviation of a step from run to run, as a share.
    """
    parted = errors(shares(timeline, cluster))
    always = RELEASES, EIGHTY_PERCENT * step_spread
    low, high = (math.hypot(UNMODELLED[end], *always, *(error[end] for error in parted)) for end in (0, 1))
    return {
        "p10_s": timeline.duration * math.exp(-low),
        "p50_s": timeline.duration,
        "p90_s": timeline.duration * math.exp(high),
    }


def exposed_interval(timeline: Timeline, cluster: Cluster) -> dict[str, float]:
    """The 80 % interval of the share of the step that is exposed communication: `p10`, `p50` (the prediction), `p90`.

    Kernels take e^x, links e^y times as long as predicted, x and y independent; the bubble, as sure as the work that is
    waited for, keeps its share. So the odds of exposed to computing time move by e^(y - x). Left out is communication
    that hides behind kernels now and would show if links were slower; releases of the software move both alike.
    """
    found = breakdown(timeline)
    exposed = sum(share for key, share in found.items() if key.startswith("exposed"))
    busy = 1.0 - found["bubble"]
    if not 0.0 < exposed < busy:
        return {"p10": exposed, "p50": exposed, "p90": exposed}
    x, y = (_spread_of_sum(part) for part in _parted(timeline, cluster))
    odds = exposed / (busy - exposed)
    low, high = odds * math.exp(-math.hypot(y[0], x[1])), odds * math.exp(math.hypot(y[1], x[0]))
    return {"p10": busy * low / (1 + low), "p50": exposed, "p90": busy * high / (1 + high)}


def _spread_of_sum(parts: list[Share]) -> Spread:
    """Of the time that the parts take together, below and above, both as positive numbers."""
    whole = sum(one.share for one in parts)
    low, high = (math.hypot(*(error[end] for error in errors(parts))) / whole for end in (0, 1))
    return low, high


def errors(parts: list[Share]) -> list[list[float]]:
    """What each cause may add to the whole, below and above: errors of one cause add up."""
    by_cause: dict[str, list[Share]] = {}
    for one in parts:
        by_cause.setdefault(one.cause, []).append(one)
    return [[sum(one.share * one.spread[end] for one in group) for end in (0, 1)] for group in by_cause.values()]


def borrowed(timeline: Timeline, cluster: Cluster) -> list[str]:
    """Whose measurements stand in for the shipped ones, or for those of GPUs that nobody measured, in sentences."""
    operations = {one.operation for one in timeline.basis}
    own = own_parts(cluster)
    found = [f"Fits of your own are used for {' and '.join(own)} ({users_folder()})."] if own else []
    for gpu in dict.fromkeys(pool.node.gpu for pool, _ in _used(timeline, cluster)):
        lenders = {fit.part for operation, fit in gpu.fits.items() if operation in operations} - {"", gpu.name}
        if lenders:
            names = " and ".join(sorted(lenders))
            found.append(f"Some kernels were not measured on {gpu.name}: it is given the efficiencies of {names}.")
    return found


def shares(timeline: Timeline, cluster: Cluster) -> list[Share]:
    """The busy time of the step, parted by what it rests on; a bubble is as sure as the work that is waited for."""
    kernels, links = _parted(timeline, cluster)
    return [*kernels, *links]


def _parted(timeline: Timeline, cluster: Cluster) -> tuple[list[Share], list[Share]]:
    """The shares of kernels, and those of links that are waited for."""
    parts = {key: share for key, share in breakdown(timeline).items() if key != "bubble" and share}
    busy = sum(parts.values())
    computing = sum(share for key, share in parts.items() if not key.startswith("exposed")) / busy
    waiting = {key: share / busy for key, share in parts.items() if key.startswith("exposed")}
    return list(_of_kernels(timeline, cluster, computing)), list(_of_links(timeline, cluster, waiting))


def _used(timeline: Timeline, cluster: Cluster) -> Iterator[tuple[Pool, float]]:
    """The pools that the step uses, each with its share of the GPUs used."""
    total = left = sum(track.ranks_folded for track in timeline.tracks if track.stream == COMPUTE)
    for pool in cluster.pools:
        if left > 0:
            yield pool, min(pool.num_gpus, left) / total
        left -= pool.num_gpus


def _of_kernels(timeline: Timeline, cluster: Cluster, computing: float) -> Iterator[Share]:
    """Of several kinds of GPU, the one whose errors spread widest counts for all."""
    total = sum(one.seconds for one in timeline.basis)
    gpus = dict.fromkeys(pool.node.gpu for pool, _ in _used(timeline, cluster))
    if not total:
        yield Share("unknown", "datasheet", computing, UNMEASURED)
    for operation, origin, seconds in timeline.basis if total else ():
        spread = max((spread_of(gpu, operation, origin) for gpu in gpus), key=lambda ends: ends[1] - ends[0])
        yield Share(operation, origin, computing * seconds / total, spread)


def _of_links(timeline: Timeline, cluster: Cluster, waiting: Mapping[str, float]) -> Iterator[Share]:
    """Communication of tp rests on the link inside a node, all other on the network, where there is one."""
    for pool, used in _used(timeline, cluster):
        node = pool.node
        inside = node.scale_up, "nccl node"
        outside = (nic_of(node), "nccl network") if cluster.num_nodes > 1 else inside
        for key, share in waiting.items():
            link, operation = inside if key == "exposed_tp" else outside
            origin = _link_origin(link, link.fits.get(operation))
            yield Share(f"{operation} {link.name}", origin, used * share, spread_of(link, operation, origin))


def _link_origin(link: Link, fit: Fit | None) -> Origin:
    return "datasheet" if fit is None or fit.part not in ("", link.name) else fit.origin


def spread_of(part: Gpu | Link, operation: str, origin: Origin) -> Spread:
    """The spread of an operation's errors on a part, by points left out; twice as wide outside what was measured."""
    fit = part.fits.get(operation)
    if origin == "datasheet" or fit is None or fit.spread is None:
        return UNMEASURED
    widening = 2.0 if origin == "extrapolated" else 1.0
    return fit.spread[0] * widening, fit.spread[1] * widening
