"""Kernels that do little arithmetic: bytes through the HBM or the L2, plus the start of a kernel."""

from sim.costs.memory_bound.kernels import MEASURED, NBYTES, Kernel, kernel
from sim.costs.memory_bound.law import (
    LAW,
    LAWS,
    ROW_KERNELS,
    ROW_NBYTES,
    RowKernel,
    row_kernel,
    row_kernels,
    start,
    stream,
    streams,
)
from sim.costs.memory_bound.step import (
    AdamWidths,
    adam,
    cross_entropy_backward,
    cross_entropy_forward,
    cross_entropy_metric,
    embedding_gradient,
    fused_cross_entropy_backward,
    fused_cross_entropy_forward,
    gradient_scale,
    optimizer,
)

__all__ = [
    "LAW",
    "LAWS",
    "MEASURED",
    "NBYTES",
    "ROW_KERNELS",
    "ROW_NBYTES",
    "AdamWidths",
    "Kernel",
    "RowKernel",
    "adam",
    "cross_entropy_backward",
    "cross_entropy_forward",
    "cross_entropy_metric",
    "embedding_gradient",
    "fused_cross_entropy_backward",
    "fused_cross_entropy_forward",
    "gradient_scale",
    "kernel",
    "optimizer",
    "row_kernel",
    "row_kernels",
    "start",
    "stream",
    "streams",
]
