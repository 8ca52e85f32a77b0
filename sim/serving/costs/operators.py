"""Operators' measured times, read from tables: what each part of a layer took for so many tokens on one GPU.

Three files in a folder: dense_ops.csv by tokens, attention_ops.csv by the tokens and keys of prompts and of decodes,
per_sequence_and_moe_ops.csv by sequences sampled, or by tokens and the experts that they meet [LLMServingSim 2.0,
profiler]. A layer holds what one GPU of tp does; times are in microseconds.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from sim.requests.traces.source import lines
from sim.serving.costs.grids import Grid, filled
from topologies.document import InputError, shorten
from topologies.quantity import MICROSECOND

FILES: Final = {
    "dense_ops.csv": ("layer", "tokens"),
    "attention_ops.csv": ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode"),
    "per_sequence_and_moe_ops.csv": ("layer", "sequences", "tokens", "activated_experts"),
}
_OWNER: Final = ("hardware", "model", "tp")
FAR: Final = 16.0
"""Tables go on straight up to so many times their last point."""

Row = Mapping[str, str]
Line = tuple[Grid, Grid]
"""Places, not falling, and seconds at them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operators:
    """Seconds of one model's operators on one GPU: `dense` by tokens and `sampled` by sequences, each by its layer's
    name; experts by tokens, a line for each number of experts that they meet; attention of decodes (requests x keys of
    each), of prompts (new tokens x keys before) and of both together."""

    dense: Mapping[str, Line]
    sampled: Mapping[str, Line]
    experts: tuple[tuple[float, Line], ...]
    decode_axes: tuple[Grid, Grid]
    decodes: Grid = field(hash=False)
    chunk_axes: tuple[Grid, Grid]
    chunks: Grid = field(hash=False)
    mixed_axes: tuple[Grid, Grid, Grid, Grid]
    mixed: Grid = field(hash=False)


def read(folder: Path, hardware: str, model: str, tp: int) -> Operators:
    """The operators of that GPU, model and tp in a folder, as its files spell them.

    Raises InputError for a file or a column that is missing, a cell that is no number, and where nothing fits.
    """
    owner = (hardware, model, str(tp))
    by_tokens, by_attention, others = (folder / name for name in FILES)
    dense, attention, sampled = (list(_rows(path, owner)) for path in (by_tokens, by_attention, others))
    if not dense or not attention:
        raise InputError(f"{folder.name}: no operators of {model} on {hardware} with tp={tp}; measure them first")
    grids = _attention(attention, by_attention)
    # Experts are measured whole, whatever tp is.
    experts = [row for row in _rows(others, (hardware, model, "1")) if not row["layer"]]
    return Operators(
        dense=_lines(dense, "tokens", by_tokens),
        sampled=_lines([row for row in sampled if row["layer"]], "sequences", others),
        experts=_experts(experts, others),
        decode_axes=grids[0][0],
        decodes=grids[0][1],
        chunk_axes=grids[1][0],
        chunks=grids[1][1],
        mixed_axes=grids[2][0],
        mixed=grids[2][1],
    )


def _rows(path: Path, owner: tuple[str, ...]) -> Iterator[Row]:
    """The rows of one GPU, model and tp."""
    rows = csv.DictReader(lines(path))
    needed = (*_OWNER, *FILES[path.name], "time_us")
    missing = [name for name in needed if name not in (rows.fieldnames or ())]
    if missing:
        raise InputError(f"{path.name}: no column {missing[0]}; it needs {', '.join(needed)}")
    return (row for row in rows if tuple(row[name] for name in _OWNER) == owner)


def _number(row: Row, name: str, path: Path) -> float:
    try:
        value = float(row[name])
    except (TypeError, ValueError):
        value = -1.0
    if not 0 <= value < np.inf:
        raise InputError(f"{path.name}: {name}: {shorten(row[name])} is not a number of 0 or more; check the row")
    return value


def _lines(rows: Sequence[Row], place: str, path: Path) -> dict[str, Line]:
    """By layer, the seconds at each place."""
    found: dict[str, dict[float, float]] = {}
    for row in rows:
        found.setdefault(row["layer"], {})[_number(row, place, path)] = MICROSECOND * _number(row, "time_us", path)
    return {layer: _extended(points) for layer, points in found.items()}


def _extended(points: Mapping[float, float]) -> Line:
    """In order, and with a point far beyond the last, on the line from the middle through it: the last two are too
    close to tell a slope."""
    places = np.array(sorted(points))
    seconds = np.array([points[place] for place in places])
    middle = int(np.searchsorted(places, places[-1] / 2))
    if middle == len(places) - 1:
        return np.append(places, places[-1] * FAR), np.append(seconds, seconds[-1] * FAR)
    slope = max(0.0, (seconds[-1] - seconds[middle]) / (places[-1] - places[middle]))
    far = places[-1] * FAR
    return np.append(places, far), np.append(seconds, seconds[-1] + slope * (far - places[-1]))


def _experts(rows: Sequence[Row], path: Path) -> tuple[tuple[float, Line], ...]:
    found: dict[float, dict[float, float]] = {}
    for row in rows:
        points = found.setdefault(_number(row, "activated_experts", path), {})
        points[_number(row, "tokens", path)] = MICROSECOND * _number(row, "time_us", path)
    return tuple((met, _extended(found[met])) for met in sorted(found))


def _attention(rows: Sequence[Row], path: Path) -> tuple[
    tuple[tuple[Grid, Grid], Grid], tuple[tuple[Grid, Grid], Grid], tuple[tuple[Grid, Grid, Grid, Grid], Grid]
]:  # fmt: skip
    """Decodes alone, prompts alone, and both: different kernels, each on a grid of its own, its holes filled."""
    names = (*FILES["attention_ops.csv"], "time_us")
    points = np.array([[_number(row, name, path) for name in names] for row in rows])
    new, decodes = points[:, 0] > 0, points[:, 2] > 0
    (requests, keys), alone = _grid(points[~new & decodes], (2, 3))
    (tokens, before), chunks = _grid(points[new & ~decodes], (0, 1))
    both = points[new & decodes]
    if not len(both):
        raise InputError(f"{path.name}: no passes of prompts and decodes together; measure some of them too")
    (first, second, third, fourth), mixed = _grid(both, (0, 1, 2, 3))
    return ((requests, keys), alone), ((tokens, before), chunks), ((first, second, third, fourth), mixed)


def _grid(points: Grid, columns: Sequence[int]) -> tuple[list[Grid], Grid]:
    """Axes and seconds of some of the points, the last axis going on far beyond its last place."""
    axes = [np.unique(points[:, column]) for column in columns]
    values = np.full([len(axis) for axis in axes], np.nan)
    places = tuple(np.searchsorted(axis, points[:, column]) for axis, column in zip(axes, columns, strict=True))
    values[places] = points[:, -1] * MICROSECOND
    return axes, filled(values, axes)
