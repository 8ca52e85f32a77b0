"""A table of measured runs, one a row, read into scenarios: the columns are those of docs/validation.md.

The row's own shapes win over the catalogue's, and what it says of its software over the framework's profile; what a row
leaves empty is as in a scenario that does not say it.
"""

import re
from collections.abc import Iterator

from sim import models
from sim.measured_runs.notes import stage_layers, with_columns
from sim.measured_runs.software import framework
from sim.measured_runs.table import NEEDED as NEEDED
from sim.measured_runs.table import Row as Row
from sim.measured_runs.table import cell as cell
from sim.measured_runs.table import count
from sim.measured_runs.table import flag as flag
from sim.measured_runs.table import number as number
from sim.measured_runs.table import read as read
from sim.workload import PRECISIONS
from topologies.document import Document, InputError, Value

RACK, WHOLE_RACK = 64, 72
_ZERO = {"none": 0, "zero1": 1, "zero2": 2, "zero3": 3, "hsdp": 3}
_SUFFIXES = ("-tokendrop", "-nomtp")
_DEGREES = ("tp", "pp", "vpp", "cp", "ep", "etp", "dp")
_BATCH = {"global": "global_batch", "micro": "micro_batch", "seq_len": "seq_len"}
_ACTIVATIONS = {True: "swiglu", False: "gelu"}
_SHAPES = {
    "num_layers": "layers",
    "hidden": "hidden",
    "num_heads": "heads",
    "num_kv_heads": "kv_heads",
    "head_dim": "head_dim",
    "vocab": "vocab",
}
_PROXY = re.compile(r"(-kv\d+)?-l\d+$")


def document(row: Row) -> Document:
    """The row as a scenario.

    Raises InputError where it leaves out what is needed, and where a cell makes no sense.
    """
    row = with_columns(row)
    for reason in (*_empty(row), *_unknown(row)):
        raise InputError(reason)
    data: dict[str, Value] = {
        "kind": "training",
        "model": _model(row),
        "cluster": _cluster(row),
        "gpus": count(row, "gpus"),
        "plan": _plan(row),
        "batch": {name: count(row, column) for name, column in _BATCH.items()},
        "precision": row["precision"],
        "framework": framework(row),
    }
    experts = _experts(row)
    return Document(name=row["row"], data=data | ({"experts": experts} if experts else {}), lines={})


def played_otherwise(row: Row) -> tuple[str, ...]:
    """What the row says and is not played so: what is played instead, by the column."""
    row = with_columns(row)
    hybrid = cell(row, "token_dispatcher") == "hybridep"
    return ("token_dispatcher hybridep: as DeepEP",) if hybrid else ()


def _empty(row: Row) -> Iterator[str]:
    return (f"{column} is empty" for column in NEEDED if not cell(row, column))


def _unknown(row: Row) -> Iterator[str]:
    """Words that nobody knows, in columns where each word has its meaning."""
    for column, known in (("sharding", tuple(_ZERO)), ("precision", PRECISIONS)):
        word = cell(row, column)
        if word and word not in known:
            yield f"{column} {word!r} is not known; use {', '.join(known[:-1])} or {known[-1]}"


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
        shapes["max_seq_len"] = max(count(row, "seq_len"), known.max_seq_len)
    if known.mla is not None:
        shapes.pop("num_kv_heads", None)
        shapes.pop("head_dim", None)
    return {"name": name, **shapes, **_multi_token(row, known)}


def _multi_token(row: Row, known: models.Transformer) -> dict[str, Value]:
    """Layers of multi-token prediction: as the row says; none in a proxy, and in another variant that does not say."""
    is_variant = base_name(cell(row, "model")) != cell(row, "model")
    layers = count(row, "mtp_layers", 0 if is_variant else known.mtp_layers)
    return {"mtp_layers": layers} if layers != known.mtp_layers else {}


def base_name(slug: str) -> str:
    """The model that a proxy is cut from: grok1-314b-l16 has 16 of grok1-314b's layers."""
    for suffix in _SUFFIXES:
        slug = slug.removesuffix(suffix)
    return _PROXY.sub("", slug)


def _shapes(row: Row) -> dict[str, Value]:
    shapes: dict[str, Value] = {field: count(row, column) for field, column in _SHAPES.items() if cell(row, column)}
    if not cell(row, "experts"):
        return shapes | ({"ffn": count(row, "ffn")} if cell(row, "ffn") else {})
    experts: dict[str, Value] = {
        "num_experts": count(row, "experts"),
        "top_k": count(row, "top_k"),
        "ffn": count(row, "moe_ffn"),
        "shared_ffn": count(row, "shared_experts", 0) * count(row, "moe_ffn"),
        "num_dense_layers": count(row, "dense_layers", 0),
    }
    return shapes | {"ffn": count(row, "ffn"), "moe": experts}


def _dense_or_gated(row: Row) -> dict[str, Value]:
    """What the columns do not say of an unknown model: as Llama where the MLP is gated, else as GPT."""
    length = count(row, "seq_len")
    if flag(row, "gated_mlp"):
        return {"activation": "swiglu", "norm": "rmsnorm", "position": "rotary", "max_seq_len": length}
    return {"activation": "gelu", "norm": "layernorm", "bias": True, "position": "learned", "max_seq_len": length}


def _cluster(row: Row) -> Value:
    """In a rack of NVL72 the tray's four GPUs are no node of their own: a job has 64 of the rack's, or all 72."""
    gpus, fabric = count(row, "gpus"), cell(row, "fabric") or "nvlink-only"
    per_node = count(row, "gpus_per_node", min(gpus, 8) or 1)
    if per_node < 1:
        raise InputError(f"gpus_per_node is {per_node}; write 1 or more")
    if fabric.startswith("nvl72"):
        per_node = RACK if gpus <= RACK or fabric != "nvl72" else WHOLE_RACK
    return {"gpu": row["gpu"], "gpus_per_node": per_node, "fabric": fabric, "nodes": -(-gpus // per_node)}


def _plan(row: Row) -> dict[str, Value]:
    plan: dict[str, Value] = {axis: count(row, axis) for axis in _DEGREES if cell(row, axis)}
    is_cut, layers = flag(row, "sequence_parallel"), stage_layers(row)
    plan |= {} if is_cut is None else {"sp": is_cut}
    plan |= {"zero": _ZERO[cell(row, "sharding")]} if cell(row, "sharding") else {}
    plan |= {"shard": count(row, "sharding_group")} if cell(row, "sharding_group") else {}
    plan |= {"layers": list(layers)} if layers else {}
    plan |= {"recompute": cell(row, "recompute")} if cell(row, "recompute") else {}
    plan |= {"recompute_modules": list(_modules(row))} if _modules(row) else {}
    return plan | ({"schedule": cell(row, "schedule")} if cell(row, "schedule") else {})


def _modules(row: Row) -> list[str]:
    return [name for name in cell(row, "recompute_modules").split("+") if name]


def _experts(row: Row) -> dict[str, Value]:
    """Tokens are dropped at an expert's capacity where the row says so; benchmarks balance their routers by force."""
    factor = number(row, "capacity_factor")
    dropping = cell(row, "model").endswith("-tokendrop")
    return {"capacity_factor": factor or 1.0} if factor or dropping else {}
