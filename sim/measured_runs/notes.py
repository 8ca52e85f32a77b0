"""Facts of a run for which a table has no column of its own, read from the set phrases of its `note`.

A column of that name wins over the note; docs/validation.md describes both.
"""

import re
from collections.abc import Callable, Mapping

from sim.measured_runs.table import Row, cell, count
from topologies.document import InputError

PHRASES: Mapping[str, str] = {
    "recompute_modules": r"recomputes ([a-z_+]+)",
    "cuda_graphs": r"CUDA graphs",
    "overlap_ep": r"expert all-to-all overlapped with compute",
    "token_dispatcher": r"dispatcher (\w+)",
    "capacity_factor": r"capacity factor ([0-9.]+)",
    "fused_cross_entropy": r"fused cross-entropy",
    "mtp_layers": r"(\d+) MTP layer",
    "layout": r"layout ([A-Za-z*/()0-9]+)",
}
"""By column, the phrase that says the same; where it has a group, that is the cell, else the cell is `yes`."""

_LONGEST = 100
_PART = re.compile(r"(\(.*?\)|[A-Za-z/])(?:\*(\d{1,3}))?")


def with_columns(row: Row) -> Row:
    """The row with what its note says in columns."""
    note = cell(row, "note")
    found = {column: re.search(phrase, note) for column, phrase in PHRASES.items() if not cell(row, column)}
    said = {column: (match.groups() or ("yes",))[0] for column, match in found.items() if match}
    return {**row, **said}


def stage_layers(row: Row) -> list[int] | None:
    """The layers of each stage, by the row's layout or by its note; None where neither says so.

    Raises InputError for a layout that cannot be read, or has another number of stages or layers than the row.
    """
    num_stages = count(row, "pp", 1) * count(row, "vpp", 1)
    layers = _laid_out(cell(row, "layout")) if cell(row, "layout") else _described(row, num_stages)
    if layers is None:
        return None
    if len(layers) != num_stages or (cell(row, "layers") and sum(layers) != count(row, "layers")):
        stages = f"{len(layers)} stages of {sum(layers)} layers"
        raise InputError(f"layout: {stages}, but pp x vpp = {num_stages} and layers = {cell(row, 'layers')}")
    return layers


def _laid_out(layout: str) -> list[int]:
    """Megatron's pipeline layout: `/` ends a stage, t is a layer, E, m and L are embedding, multi-token prediction and
    loss, x*3 is x three times. So Et/(tt/)*2L has stages of 1, 2, 2 and 0 layers."""
    return [stage.count("t") for stage in _expanded(layout).split("/")]


def _expanded(layout: str) -> str:
    if len(layout) > _LONGEST or "".join(match.group() for match in _PART.finditer(layout)) != layout:
        raise InputError(f"layout {layout!r}: write letters E, t, m, L and / between stages, such as Et*4/(t*4/)*14tmL")
    return "".join(_repeated(match[1], int(match[2] or 1)) for match in _PART.finditer(layout))


def _repeated(part: str, times: int) -> str:
    return (_expanded(part[1:-1]) if part.startswith("(") else part) * times


def _described(row: Row, num_stages: int) -> list[int] | None:
    found = (
        made(num_stages, count(row, "layers", 0), *map(int, match.groups()))
        for phrase, made in _SPLITS.items()
        if (match := re.search(phrase, cell(row, "note")))
    )
    return next(found, None)


def _last_given(num_stages: int, _: int, each: int, last: int) -> list[int]:
    return [each] * (num_stages - 1) + [last]


def _last_fewer(num_stages: int, num_layers: int, fewer: int) -> list[int]:
    each = (num_layers + fewer) // num_stages
    return [each] * (num_stages - 1) + [each - fewer]


def _ends_fewer(num_stages: int, _: int, total: int, first: int, last: int) -> list[int]:
    layers = [total // num_stages] * num_stages
    layers[0] -= first
    layers[-1] -= last
    return layers


_SPLITS: Mapping[str, Callable[..., list[int]]] = {
    r"(\d+) layers per chunk but (\d+) in the last": _last_given,
    r"last chunk has (\d+) layers fewer": _last_fewer,
    r"(\d+)/pp layers per stage, (\d+) fewer in the first and (\d+) fewer in the last": _ends_fewer,
}
