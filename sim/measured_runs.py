"""A table of measured runs, one a row, read into scenarios: the columns are those of docs/validation.md.

The row's own shapes win over the catalogue's; what a row leaves empty is as in a scenario that does not say it. What a
row says of its software the framework's profile says too, once for all runs: where they differ, that is told.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sim import frameworks, models
from topologies.document import Document, InputError, Value, read_text

Row = Mapping[str, str]

NEEDED = ("row", "campaign", "model", "gpu", "gpus", "seq_len", "precision", "micro_batch", "global_batch", "complete")
"""Columns without which a table is no table of runs; docs/validation.md describes them all."""

FRAMEWORKS = {"megatron-lm": "megatron-lm", "deepspeed-megatron": "megatron-lm"}
"""Which profile stands for a framework; any other software is taken as the default one."""

RACK, WHOLE_RACK = 64, 72
_PLAYED: Mapping[str, tuple[str, ...]] = {"sharding": ("none", "zero1"), "precision": ("bf16", "fp16")}
_LATER: Mapping[str, tuple[str, ...]] = {
    "sharding": ("zero2", "zero3", "hsdp"),
    "precision": ("fp8", "mxfp8", "nvfp4", "fp32", "tf32", "int8"),
}
_SUFFIXES = ("-tokendrop", "-nomtp")
_BATCH = {"global": "global_batch", "micro": "micro_batch", "seq_len": "seq_len"}
_ACTIVATIONS = {True: "swiglu", False: "gelu"}
_GRADIENT_NBYTES = {"bf16": 2, "fp16": 2, "fp32": 4}
_WITHOUT_OVERLAP = {
    "overlap_grad_reduce": "gradients are summed after the backward pass",
    "overlap_param_gather": "parameters are gathered after the optimizer",
    "overlap_tp": "collectives of tp run before or after a product, not within it",
}
_SHAPES = {
    "num_layers": "layers",
    "hidden": "hidden",
    "num_heads": "heads",
    "num_kv_heads": "kv_heads",
    "head_dim": "head_dim",
    "vocab": "vocab",
}


def read(path: Path) -> list[Row]:
    """The rows of a CSV of measured runs, every cell a text without blanks around it.

    Raises InputError for a missing or repeated column, and for a row with more or fewer cells than the header.
    """
    table = csv.DictReader(io.StringIO(read_text(path, what="CSV")), restkey="", strict=True)
    try:
        _check_header(table.fieldnames or (), f"{path.name}:1")
        return [_stripped(row, f"{path.name}:{table.line_num}") for row in table]
    except csv.Error as error:
        raise InputError(f"{path.name}:{table.line_num}: {error}") from None


def _check_header(columns: Sequence[str], where: str) -> None:
    for column in NEEDED:
        if column not in columns:
            raise InputError(f"{where}: no column {column}; docs/validation.md lists the columns of such a table")
    for column in columns:
        if columns.count(column) > 1:
            raise InputError(f"{where}: two columns are called {column}; keep one of them")


def document(row: Row) -> Document:
    """The row as a scenario.

    Raises InputError where it leaves out what is needed, and where it says what this version cannot play.
    """
    for reason in (*_empty(row), *_refusals(row)):
        raise InputError(reason)
    data: dict[str, Value] = {
        "kind": "training",
        "model": _model(row),
        "cluster": _cluster(row),
        "gpus": _count(row, "gpus"),
        "plan": _plan(row),
        "batch": {name: _count(row, column) for name, column in _BATCH.items()},
        "precision": row["precision"],
        "framework": _framework(row),
    }
    return Document(name=row["row"], data=data, lines={})


def played_otherwise(row: Row) -> tuple[str, ...]:
    """What the row says of its software and is not played so: what is played instead, by the column.

    Raises InputError for a flag that is neither yes nor no.
    """
    software = frameworks.load(_framework(row))
    attention, gradient = cell(row, "attention_kernel"), cell(row, "grad_dtype")
    nbytes = software.gradient_reduce_nbytes
    told = [f"{column}: {instead}" for column, instead in _WITHOUT_OVERLAP.items() if flag(row, column)]
    if gradient and _GRADIENT_NBYTES.get(gradient) != nbytes:
        told.append(f"grad_dtype {gradient}: gradients are summed in {nbytes} bytes")
    if attention and attention != software.attention:
        told.append(f"attention_kernel {attention}: attention is {software.attention}")
    return tuple(told)


def _framework(row: Row) -> str:
    return FRAMEWORKS.get(cell(row, "framework"), frameworks.DEFAULT)


def _empty(row: Row) -> Iterator[str]:
    return (f"{column} is empty" for column in NEEDED if not cell(row, column))


def _refusals(row: Row) -> Iterator[str]:
    """Why the row cannot be played, most telling reason first."""
    yield from _words(row, "sharding")
    if _count(row, "cp", 1) > 1:
        yield "context parallelism (cp > 1) is not supported yet"
    if _count(row, "ep", 1) > 1:
        yield "expert parallelism (ep > 1) is not supported yet"
    tp, etp = (cell(row, axis) or "1" for axis in ("tp", "etp"))
    if cell(row, "experts") and cell(row, "etp") and etp != tp:
        yield f"experts cut over other GPUs than layers (etp = {etp}, tp = {tp}) is not supported yet"
    yield from _words(row, "precision")
    if cell(row, "sharding_group"):
        yield "sharding inside a part of the replicas is not supported yet"
    if cell(row, "model").endswith("-tokendrop"):
        yield "dropping tokens at an expert's capacity is not supported yet"


def _words(row: Row, column: str) -> Iterator[str]:
    """Why a word cannot be played: it comes later, or nobody knows it."""
    word, played, later = cell(row, column), _PLAYED[column], _LATER[column]
    if word in later:
        yield f"{column} {word} is not supported yet"
    elif word and word not in played:
        *others, last = (*played, *later)
        yield f"{column} {word!r} is not known; use {', '.join(others)} or {last}"


def _model(row: Row) -> Value:
    """The catalogue's model with the shapes of the row over it; a model that is not there, by its shapes alone."""
    name = base_name(cell(row, "model"))
    try:
        known = models.load(name)
    except InputError:
        return {"name": name, **_shapes(row), **_dense_or_gated(row)}
    shapes, is_gated = _shapes(row), flag(row, "gated_mlp")
    if is_gated is not None and is_gated != known.gated_mlp:
        shapes["activation"] = _ACTIVATIONS[is_gated]
    if known.position == "learned":
        shapes["max_seq_len"] = max(_count(row, "seq_len"), known.max_seq_len)
    if known.mla is not None:
        shapes.pop("num_kv_heads", None)
        shapes.pop("head_dim", None)
    return {"name": name, **shapes}


def base_name(slug: str) -> str:
    """The model that a proxy is cut from: grok1-314b-l16 has 16 of grok1-314b's layers."""
    for suffix in _SUFFIXES:
        slug = slug.removesuffix(suffix)
    stem, dash, layers = slug.rpartition("-l")
    return stem if dash and layers.isdigit() else slug


def _shapes(row: Row) -> dict[str, Value]:
    shapes: dict[str, Value] = {field: _count(row, column) for field, column in _SHAPES.items() if cell(row, column)}
    if not cell(row, "experts"):
        return shapes | ({"ffn": _count(row, "ffn")} if cell(row, "ffn") else {})
    experts: dict[str, Value] = {
        "num_experts": _count(row, "experts"),
        "top_k": _count(row, "top_k"),
        "ffn": _count(row, "moe_ffn"),
        "shared_ffn": _count(row, "shared_experts", 0) * _count(row, "moe_ffn"),
        "num_dense_layers": _count(row, "dense_layers", 0),
    }
    return shapes | {"ffn": _count(row, "ffn"), "moe": experts}


def _dense_or_gated(row: Row) -> dict[str, Value]:
    """What the columns do not say of an unknown model: as Llama where the MLP is gated, else as GPT."""
    length = _count(row, "seq_len")
    if flag(row, "gated_mlp"):
        return {"activation": "swiglu", "norm": "rmsnorm", "position": "rotary", "max_seq_len": length}
    return {"activation": "gelu", "norm": "layernorm", "bias": True, "position": "learned", "max_seq_len": length}


def _cluster(row: Row) -> Value:
    """In a rack of NVL72 the tray's four GPUs are no node of their own: a job has 64 of the rack's, or all 72."""
    gpus, fabric = _count(row, "gpus"), cell(row, "fabric") or "nvlink-only"
    per_node = _count(row, "gpus_per_node", min(gpus, 8) or 1)
    if per_node < 1:
        raise InputError(f"gpus_per_node is {per_node}; write 1 or more")
    if fabric.startswith("nvl72"):
        per_node = RACK if gpus <= RACK or fabric != "nvl72" else WHOLE_RACK
    return {"gpu": row["gpu"], "gpus_per_node": per_node, "fabric": fabric, "nodes": -(-gpus // per_node)}


def _plan(row: Row) -> dict[str, Value]:
    plan: dict[str, Value] = {
        axis: _count(row, axis) for axis in ("tp", "pp", "vpp", "cp", "ep", "dp") if cell(row, axis)
    }
    is_cut = flag(row, "sequence_parallel")
    plan |= {} if is_cut is None else {"sp": is_cut}
    plan |= {"zero": 1 if cell(row, "sharding") == "zero1" else 0} if cell(row, "sharding") else {}
    return plan | {name: cell(row, name) for name in ("recompute", "schedule") if cell(row, name)}


def cell(row: Row, column: str) -> str:
    """The text in a column; empty where the table has no such column."""
    return row.get(column, "")


def flag(row: Row, column: str) -> bool | None:
    """Whether a column says yes; None where it is empty.

    Raises InputError for anything but yes and no.
    """
    text = cell(row, column)
    if text not in ("", "yes", "no"):
        raise InputError(f"{column} {text!r} is neither yes nor no")
    return text == "yes" if text else None


def _count(row: Row, column: str, default: int | None = None) -> int:
    text = cell(row, column)
    if not text and default is not None:
        return default
    if not text.isascii() or not text.isdigit():
        raise InputError(f"{column} {text!r} is not a whole number")
    return int(text)


def number(row: Row, column: str) -> float | None:
    """The positive number in a column, None where it is empty.

    Raises InputError for anything else.
    """
    text = cell(row, column)
    try:
        number = float(text) if text else None
    except ValueError:
        number = -1.0
    if number is not None and not 0 < number < float("inf"):
        raise InputError(f"{column} {text!r} is not a positive number")
    return number


def _stripped(row: Mapping[str, str | None], where: str) -> Row:
    if "" in row or None in row.values():
        raise InputError(f"{where}: more or fewer cells than the header has columns; quote texts that hold commas")
    return {column: (cell or "").strip() for column, cell in row.items()}
