"""How long a kernel takes that does little arithmetic: its bytes cross the HBM, or the L2 where they fit in it.

A kernel that gives a block of threads to each row can be slower: an SM issues only so many loads, and one row takes
its time however few there are. Blocks come in waves of two per SM.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal

import numpy as np

from sim.costs import processor
from sim.costs.law import Array, Law, Parameter, Points, Values, fit_of
from topologies.hardware import Gpu
from topologies.quantity import GIGA, MICROSECOND, NANOSECOND, TERA

RowKernel = Literal["norm", "gated activation", "rotary", "lookup"]
"""Kernels of vLLM that work row by row; those of Megatron and Transformer Engine load whole vectors and only stream."""

ROW_KERNELS: Final[tuple[RowKernel, ...]] = ("norm", "gated activation", "rotary", "lookup")

ROW_NBYTES: Final[Mapping[RowKernel, float]] = {
    "norm": 2 + 2 + 2,
    "gated activation": 4 + 2,
    "rotary": 2 + 2,
    "lookup": 2 + 2,
}
"""Bytes per element of a row: of the output's width (a norm reads its row twice); of all heads, queries' and keys',
for rotary."""

FP32_OF_H100_SM: Final = 66.9 * TERA / 132
"""FLOP/s of one SM [NVIDIA H100 whitepaper]."""

BLOCKS_PER_SM: Final = 2
"""Blocks of 1024 threads that an SM holds [CUDA programming guide: 2048 threads; an A40 holds one and a half]."""


def _parameters() -> Mapping[str, Parameter]:
    parameters = {
        "start": Parameter(start=1.5 * MICROSECOND, low=0.3 * MICROSECOND, high=4 * MICROSECOND,
                           meaning="seconds of a kernel that moves nothing"),
        "share": Parameter(start=1.0, low=0.5, high=1.15,
                           meaning="share of what the data sheet calls achievable of the HBM"),
        "l2_share": Parameter(start=1.5, low=0.2, high=6.0, meaning="sizes of the L2 from which it keeps nothing"),
        "l2_speed": Parameter(start=1.5, low=1.0, high=4.0, meaning="how much faster than the HBM the L2 is read"),
    }  # fmt: skip
    for name, rate in zip(ROW_KERNELS, (10.0, 10.0, 9.0, 4.0), strict=True):
        parameters[f"{name} rate"] = Parameter(
            start=rate * GIGA, low=GIGA, high=50 * GIGA, meaning="bytes per second of one SM"
        )
        parameters[f"{name} near"] = Parameter(
            start=1.2, low=1.0, high=4.0, meaning="how much faster an SM gets what is in the L2"
        )
        parameters[f"{name} row"] = Parameter(
            start=0.4 * NANOSECOND, low=0.01 * NANOSECOND, high=3 * NANOSECOND, meaning="seconds per element of one row"
        )
    return parameters


def stream(gpu: Gpu, nbytes: float, kind: processor.Kind = "stream") -> float:
    """Seconds of one kernel that moves `nbytes`, as vectors, read or written once.

    A GPU hides the arithmetic behind them; to a processor the `kind` matters.
    """
    if gpu.is_processor:
        return processor.stream(gpu, nbytes, kind)
    return _stream(gpu, float(nbytes)) + gpu.fit["kernel_latency"]


@lru_cache(maxsize=65536)
def _stream(gpu: Gpu, nbytes: float) -> float:
    return float(streamed(gpu, fit_of(gpu, LAW).values, np.array([nbytes]))[0])


@lru_cache(maxsize=65536)
def row_kernel(gpu: Gpu, name: RowKernel, rows: int, width: int) -> float:
    """Seconds of a kernel that gives each of `rows` a block of threads; an element is of `width`, see ROW_NBYTES."""
    if gpu.is_processor:
        return processor.stream(gpu, ROW_NBYTES[name] * rows * width, name)
    nbytes = np.array([ROW_NBYTES[name] * rows * width])
    values, columns = fit_of(gpu, LAW).values, (np.array([float(rows)]), np.array([float(width)]))
    return float(_by_rows(gpu, values, name, *columns, nbytes)[0]) + gpu.fit["kernel_latency"]


def row_kernels(gpu: Gpu, name: RowKernel, rows: Array, width: int) -> Array:
    """Seconds of `row_kernel` on a GPU for many numbers of rows, as they were measured: back to back, as in a graph."""
    nbytes = ROW_NBYTES[name] * rows * width
    values, columns = fit_of(gpu, LAW).values, (rows, np.full_like(rows, width), nbytes)
    return _by_rows(gpu, values, name, *columns) + values["start"]


def start(gpu: Gpu) -> float:
    """Seconds of a kernel that moves nothing, where kernels run back to back."""
    return fit_of(gpu, LAW).values["start"]


def streams(gpu: Gpu, nbytes: Array) -> Array:
    """Seconds of `stream` on a GPU for many sizes, back to back, as in a graph."""
    values = fit_of(gpu, LAW).values
    return streamed(gpu, values, nbytes) + values["start"]


def streamed(gpu: Gpu, values: Values, nbytes: Array) -> Array:
    """Seconds that bytes take through the HBM, less where a part of them is still in the L2."""
    resident = _resident(gpu, values, nbytes)
    rate = gpu.memory_bandwidth * gpu.fit["memory_efficiency"] * values["share"]
    seconds: Array = nbytes * (1 - resident * (1 - 1 / values["l2_speed"])) / rate
    return seconds


def _resident(gpu: Gpu, values: Values, nbytes: Array) -> Array:
    """The part that is still in the L2: all of a little, none of l2_share times what it holds."""
    return np.clip(1 - nbytes / (gpu.l2_nbytes * values["l2_share"]), 0, 1)


def issue_pace(gpu: Gpu) -> float:
    """How fast one SM issues instructions, as multiples of an H100's.

    Grows like the root of its fp32 rate, an assumption: A100 to H100 the clock is 1.4 times and there are twice the
    lanes; measured kernels are 1.4 to 1.6 times as fast per SM, and 1.5 times from A100 to A40.
    """
    rate = gpu.peak_flops.get("fp32", 0.0) / gpu.num_sms
    return math.sqrt(rate / FP32_OF_H100_SM) if rate else 1.0


def _by_rows(gpu: Gpu, values: Values, name: RowKernel, rows: Array, width: Array, nbytes: Array) -> Array:
    """Full waves of blocks, then what is left: each takes its bytes' time, but no less than one row's."""
    pace = issue_pace(gpu)
    near = 1 - _resident(gpu, values, nbytes) * (1 - 1 / values[f"{name} near"])
    issued = nbytes * near / (gpu.num_sms * pace * values[f"{name} rate"])
    per_row = np.maximum(streamed(gpu, values, nbytes), issued) / rows
    of_one = width * (values[f"{name} row"] / pace)
    slots = BLOCKS_PER_SM * gpu.num_sms
    waves = np.floor(rows / slots)
    left = rows - waves * slots
    seconds: Array = waves * np.maximum(of_one, per_row * slots) + (left > 0) * np.maximum(of_one, per_row * left)
    return seconds


def _seconds(gpu: Gpu, values: Values, points: Points) -> Array:
    """By kind: 0 streams, n is the n-th of ROW_KERNELS."""
    seconds = streamed(gpu, values, points["nbytes"])
    for kind, name in enumerate(ROW_KERNELS, start=1):
        chosen = points["kind"] == kind
        if chosen.any():
            columns = (points[column][chosen] for column in ("rows", "width", "nbytes"))
            seconds[chosen] = _by_rows(gpu, values, name, *columns)
    return seconds + values["start"]


LAW: Final[Law[Gpu]] = Law(
    operation="memory bound",
    inputs=("kind", "rows", "width", "nbytes"),
    parameters=_parameters(),
    seconds=_seconds,
    on_processor=processor.STREAM,
)
LAWS: Final = (LAW,)
