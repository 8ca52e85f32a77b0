"""Logs as nccl-tests prints them, with times that the simulator made up: of a fabric as the fits have it, or slower."""

import numpy as np

from calibrate import subjects
from calibrate.samples import Samples
from topologies.quantity import MIB, MICROSECOND

GPUS = 16
SIZES = 2.0 ** np.arange(10, 31)
COLUMNS = """\
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
"""


def nccl_log(slower: float = 1.0) -> bytes:
    """An all-reduce over 2 nodes of 8 H100 on ib-ndr400x8, `slower` times as long for messages above 16 MiB."""
    whole = np.ones(len(SIZES))
    points = {"operation": 0 * whole, "num_gpus": GPUS * whole, "num_nodes": 2 * whole, "gpus_per_node": 8 * whole,
              "nbytes": SIZES, "nccl_version": 2027 * whole, "is_integer": 0 * whole}  # fmt: skip
    samples = Samples(operation="nccl network", part="ib-ndr400", gpu="h100-80gb-sxm", fabric="ib-ndr400x8",
                      points=points, seconds=whole, rows=np.arange(len(SIZES)))  # fmt: skip
    times = subjects.predicted(samples, {}) * np.where(SIZES > 16 * MIB, slower, 1.0) / MICROSECOND
    where = [(rank, f"node{rank // 8} device  {rank % 8} [0000:0{rank % 8}:00]") for rank in range(GPUS)]
    ranks = [f"#  Rank {rank:2d} Group  0 Pid  1000 on {place} NVIDIA H100 80GB HBM3" for rank, place in where]
    rows = [
        f"{size:.0f} {size / 4:.0f} float sum -1 {time:.2f} 0.00 0.00 0 {time:.2f} 0.00 0.00 0"
        for size, time in zip(SIZES, times, strict=True)
    ]
    head = ["# nThread 1 nGpus 1 minBytes 1024 maxBytes 1073741824 step: 2(factor)", "# Using devices", *ranks, "#"]
    return "\n".join([*head, COLUMNS.rstrip(), *rows, "# Avg bus bandwidth    : 100", "#", ""]).encode()
