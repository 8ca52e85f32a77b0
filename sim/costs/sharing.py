"""Sharing a GPU: a communication kernel holds some SMs from launch to finish, and moves its bytes through the HBM too.

What computes beside it has its waves counted on the SMs that are left, and of the HBM's bandwidth gets what it asks for
in proportion to all that is asked for; the tighter of the two sets its speed. A kernel that the HBM bounds does not
need all SMs, so it loses little by the first; one at its math roof loses nothing by the second.
"""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from sim.costs import ELEMENT
from sim.costs.law import Array, Law, Parameter, Points, Values, fit_of
from sim.instructions import NO_LOAD, Activity, Load
from topologies.hardware import Gpu

TILE: Final = (128, 256)
"""What a thread block makes of a large product: the tile that one SM has room for, in either orientation [NVIDIA,
Matrix Multiplication Background User's Guide, section 2.3]. Smaller tiles leave less of a last wave idle."""


class Hold(NamedTuple):
    """What a communication kernel takes of its GPU: SMs, and the bytes per second that it sends while bytes flow."""

    num_sms: int
    bandwidth: float


def product(
    gpu: Gpu,
    seconds: float,
    m: int,
    n: int,
    k: int,
    precision: str,
    *,
    batch: int = 1,
    operand_nbytes: float = ELEMENT,
    output_nbytes: float = ELEMENT,
) -> Load:
    """The load of `batch` products (m x k)(k x n) that take so many seconds alone; bytes are those of a number."""
    nbytes = batch * (operand_nbytes * (m * k + n * k) + output_nbytes * m * n)
    used = min(1.0, 2.0 * m * n * k * batch / (seconds * gpu.peak_flops[precision]))
    moved = min(gpu.fit["memory_efficiency"], nbytes / (seconds * gpu.memory_bandwidth))
    if moved / gpu.fit["memory_efficiency"] > used / gpu.fit["gemm_efficiency"]:
        return Load(math=used, memory=moved)
    return Load(math=used, memory=moved, sms=1.0, num_blocks=batch * math.ceil(m / TILE[0]) * math.ceil(n / TILE[1]))


def flash(efficiency: float) -> Load:
    """The load of a flash kernel at this share of the peak: its blocks are many, and of unequal length."""
    return Load(math=efficiency, sms=1.0)


def streaming(gpu: Gpu) -> Load:
    """The load of a kernel that the HBM bounds."""
    return Load(memory=gpu.fit["memory_efficiency"])


def mean_load(kernels: Iterable[tuple[float, Load]], seconds: float, link_seconds: float = 0.0) -> Load:
    """The load of a piece of so many seconds made of kernels of so many seconds each, which also sends for
    `link_seconds` at the HBM's rate."""
    if not seconds:
        return NO_LOAD
    shares = [(duration / seconds, load) for duration, load in kernels]
    return Load(
        math=sum(share * load.math for share, load in shares),
        memory=sum(share * load.memory for share, load in shares),
        link=sum(share * load.link for share, load in shares) + link_seconds / seconds,
        sms=sum(share * load.sms for share, load in shares),
    )


def hold(gpu: Gpu, activity: Activity, seconds: float) -> Hold:
    """What the kernel of an activity that takes so many seconds takes of one of its GPUs.

    Its bytes are those over its busiest wire: over a NIC that several GPUs share, more than are each GPU's.
    """
    if not activity.num_sms or not seconds:
        return Hold(0, 0.0)
    return Hold(min(activity.num_sms, gpu.num_sms - 1), activity.nbytes / seconds)


@lru_cache(maxsize=4096)
def speed(gpu: Gpu, load: Load, num_sms_held: int, bandwidth: float) -> float:
    """How fast a kernel runs beside communication that holds SMs and sends so many bytes per second, 1 being alone.

    The communication keeps its own speed, though by the same rule it gets less of the HBM too.
    """
    if load == NO_LOAD:
        return 1.0
    facts = (load.num_blocks, load.sms, load.memory, num_sms_held, bandwidth)
    points = {name: np.array([float(fact)]) for name, fact in zip(SHARING.inputs[1:], facts, strict=True)}
    return float(_speeds(gpu, fit_of(gpu, SHARING).values, points)[0])


def _seconds(gpu: Gpu, values: Values, points: Points) -> Array:
    """Seconds of kernels beside communication, from their seconds alone."""
    return points["alone"] / _speeds(gpu, values, points)


def _speeds(gpu: Gpu, values: Values, points: Points) -> Array:
    roof = gpu.fit["memory_efficiency"]
    left = np.maximum(1.0, gpu.num_sms - points["num_sms_held"])
    blocks, memory = points["num_blocks"], points["memory"]
    waves = np.ceil(blocks / gpu.num_sms) / np.maximum(1.0, np.ceil(blocks / left))
    needed = np.maximum(points["sms"], values["saturating_sms"] * memory / roof)
    by_sms = np.where(blocks > 0, waves, left / np.maximum(left, gpu.num_sms * needed))
    asked = memory + values["memory_per_wire_byte"] * points["wire_bandwidth"] / gpu.memory_bandwidth
    by_memory = np.where(memory > 0, roof / np.maximum(asked, roof), 1.0)
    slowest: Array = np.minimum(by_sms, by_memory)
    return slowest


SHARING: Final[Law[Gpu]] = Law(
    operation="sharing",
    inputs=("alone", "num_blocks", "sms", "memory", "num_sms_held", "wire_bandwidth"),
    parameters={
        "memory_per_wire_byte": Parameter(
            start=2.5,
            low=0.5,
            high=4.0,
            meaning="bytes through the HBM for each byte that a rank sends; a ring reads what it sends, writes what it "
            "receives, and a sum reads its own part too: 2 to 3 (NVIDIA/nccl, src/device/prims_simple.h)",
        ),
        "saturating_sms": Parameter(
            start=0.6,
            low=0.2,
            high=1.0,
            meaning="share of the SMs that draws the HBM's whole bandwidth; an assumption, to be measured",
        ),
    },
    seconds=_seconds,
)
"""Kernels beside communication. Nobody published points to fit; the bars are the mean and the largest slowdown over
models and GPUs, 18.9 % and 40 % (Lee et al. 2025, Characterizing Compute-Communication Overlap, arXiv 2507.03114), and
one H100 product of 132 blocks beside an all-gather of 24, from 80 % to 47 % of the peak (NVIDIA developer forum,
thread 337991, on the tail effect)."""

LAWS: Final = (SHARING,)
