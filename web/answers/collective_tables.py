"""Collectives as tables to take away: the curves that are drawn, and measured points as `calibrate score` reads."""

import csv
import io
from collections.abc import Sequence
from typing import Final

from calibrate.published.points import Point
from topologies.quantity import GIGA, MICROSECOND
from web.answers.collectives import Curves, Line

TABLE: Final = (
    "gpu", "num_gpus", "nodes", "gpus_per_node", "fabric", "nccl_version", "collective", "dtype", "size_bytes",
    "time_us", "source",
)  # fmt: skip
"""Columns of a table of points, as `calibrate score` reads."""


def curves_csv(shown: Curves) -> bytes:
    """A row for each way and size: time, bandwidths, whether NCCL takes it, and where it does, the interval."""
    header = "algorithm,protocol,size_bytes,time_us,algbw_GBps,busbw_GBps,taken,low_us,high_us"
    rows = [
        (line, index, float(size), float(line.seconds[index]))
        for line in shown.lines
        for index, size in enumerate(shown.sizes)
    ]
    return _csv([header.split(","), *(_curve_row(shown, *row) for row in rows)])


def _curve_row(shown: Curves, line: Line, index: int, size: float, time: float) -> list[str]:
    taken = bool(line.is_taken[index])
    ends = (shown.low[index], shown.high[index]) if taken else ()
    bandwidths = size / time / GIGA, size / time * shown.bus_factor / GIGA
    numbers = time / MICROSECOND, *bandwidths
    last = [f"{float(end) / MICROSECOND:.6g}" for end in ends] or ["", ""]
    return [
        line.algorithm,
        line.protocol,
        str(int(size)),
        *(f"{one:.6g}" for one in numbers),
        str(taken).lower(),
        *last,
    ]


def points_csv(found: Sequence[Point]) -> bytes:
    """The points as a table that `calibrate score` reads."""
    return _csv([TABLE, *(_point_row(one) for one in found)])


def _point_row(one: Point) -> list[str]:
    collective = "alltoall" if one.operation == "all_to_all" else one.operation
    counts = one.num_gpus, one.num_nodes, one.num_gpus // one.num_nodes
    time = f"{one.seconds / MICROSECOND:.6g}"
    last = [one.nccl_version, collective, "float", str(int(one.nbytes)), time, one.source]
    return [one.gpu, *map(str, counts), one.fabric, *last]


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
