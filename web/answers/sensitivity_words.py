"""What the sliders for other hardware mean, in words, and how a step reacts to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sim.reports.explained import saved
from sim.reports.figures import LEAST_SHARE
from sim.reports.tables import as_csv
from sim.sensitivity import CHANGES, TWICE, Change, Replay, Unchanged
from topologies.quantity import percent, seconds

FACTORS: Final = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
"""Steps of about the square root of two."""
HALF: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Slider:
    """A part of the hardware: its name, its key in the address, and what a factor does."""

    name: str
    key: str
    does: str


SLIDERS: Final[Mapping[Change, Slider]] = {
    "nic": Slider(name="network (NIC)", key="nic_factor", does="times the bandwidth of every NIC"),
    "scale_up": Slider(name="NVLink", key="nvlink_factor", does="times the bandwidth of all that joins GPUs of a node"),
    "hbm": Slider(name="HBM bandwidth", key="hbm_factor", does="times the bandwidth of HBM and L2"),
    "capacity": Slider(
        name="HBM capacity",
        key="capacity_factor",
        does="times the memory; what the scenario leaves open of the plan, such as recomputation, is chosen anew",
    ),
    "compute": Slider(name="peak FLOP/s", key="flops_factor", does="times the FLOP/s of every precision"),
    "latency": Slider(
        name="low latency",
        key="latency_factor",
        does="times shorter: starts of kernels and collectives, steps of links",
    ),
    "host": Slider(name="host speed", key="host_factor", does="times faster: what the framework's host does"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """What one factor makes of the step: its seconds (None where no plan fits), their change as a share, and words."""

    factor: float
    step_time: float | None
    change: float
    said: str
    why: str


def reaction(factor: float, step: Unchanged, found: Replay | None) -> Reaction:
    """Of a replay; None is where no plan fits."""
    if found is None:
        return Reaction(
            factor=factor, step_time=None, change=0.0, said="no plan fits", why="not played: nothing fits in memory"
        )
    why = f"{seconds(found.step_time)} instead of {seconds(step.step_time)}"
    words = "no longer" if factor < 1 and abs(found.gain) < LEAST_SHARE else saved(found.gain)
    words = words if found.fits else f"{words}, but does not fit"
    return Reaction(factor=factor, step_time=found.step_time, change=-found.gain, said=words, why=why)


def verdict(reactions: Mapping[str, Sequence[Reaction]]) -> str:
    """What bounds the step, as far as doubling parts shows it."""
    name, best = max(
        ((name, one) for name, pair in reactions.items() for one in pair if one.factor == TWICE),
        key=lambda pair: -pair[1].change,
    )
    if best.change >= 0:
        return "No part alone makes this step shorter."
    return f"What bounds the step most is {name}: twice of it makes the step {percent(-best.change)} shorter."


def table(reactions: Mapping[str, Sequence[Reaction]]) -> bytes:
    """The reactions as CSV."""
    records = [
        {"part": name, "factor": one.factor, "step_time_s": one.step_time, "change": one.change}
        for name, pair in reactions.items()
        for one in pair
    ]
    return as_csv(records).encode()


def command(train: str, factors: Mapping[Change, float]) -> tuple[str, str]:
    """The command line that replays the step, and what it does not say."""
    explained = train.replace("shardsim train", "shardsim explain", 1)
    other = {change: factor for change, factor in factors.items() if factor != 1}
    if not other or (len(other) == 1 and all(c in CHANGES and f == TWICE for c, f in other.items())):
        return explained, ""
    return explained, "It doubles one part at a time; other factors are played by this page alone."
