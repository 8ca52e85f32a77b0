"""Layers of experts in the columns of aiconfigurator's MoE table: one rank's time for the tokens of its whole group.

With power-law routing the rank that got most rows was timed. Where a rank holds a single one of many experts the
collector read the tuned tiles of another shape by mistake (it looks for a file by a prefix of its name: 1 finds 16 and
128), so those ran untuned: collector/trtllm/collect_moe.py, `cache_path`.
"""

from typing import Final

import numpy as np

from calibrate.importers.table import Table, Texts
from calibrate.samples import Samples
from sim.costs.law import Array
from topologies.document import InputError
from topologies.quantity import MICROSECOND

COLUMNS: Final = frozenset(
    {
        "moe_dtype", "num_tokens", "hidden_size", "inter_size", "topk", "num_experts",
        "moe_tp_size", "moe_ep_size", "distribution", "time_us",
    }
)  # fmt: skip

PRECISIONS: Final = {"bfloat16": "bf16", "float16": "bf16", "fp8": "fp8", "fp8_block": "fp8_block"}
LEFT_OUT: Final = "no grouped GEMM of this precision; bfloat16, float16, fp8 and fp8_block are known"

SOURCE: Final = "aiconfigurator-core 0.12.0, TensorRT-LLM MoE layers"
POWER_LAW: Final = "power_law_"
MOST_TUNED_WITH_ONE: Final = 8
"""Experts of a model up to which a rank with one of them ran tuned: no other file of such a model begins with a 1."""

_SIZES: Final = {
    "num_tokens": "num_tokens",
    "hidden": "hidden_size",
    "ffn": "inter_size",
    "top_k": "topk",
    "num_experts": "num_experts",
    "tp": "moe_tp_size",
    "ep": "moe_ep_size",
}


def read(table: Table, gpu: str | None) -> list[Samples]:
    """One Samples for each precision and GPU; InputError where a row makes no sense, or no GPU is named."""
    points = {name: _whole(table, column) for name, column in _SIZES.items()}
    _check(table, points)
    points["skew"] = _skew(table)
    untuned = (points["ep"] == points["num_experts"]) & (points["num_experts"] > MOST_TUNED_WITH_ONE)
    if "kernel_source" in table:
        untuned &= np.char.endswith(table.texts("kernel_source"), "cutlass")
    points["untuned"] = untuned.astype(float)
    seconds = table.numbers("time_us") * MICROSECOND
    parts = _parts(table, gpu)
    dtypes = table.texts("moe_dtype")
    found = []
    for part in sorted(set(parts)):
        for dtype in sorted(set(dtypes) & set(PRECISIONS)):
            chosen = (dtypes == dtype) & (parts == part)
            if chosen.any():
                found.append(
                    Samples(
                        operation=f"grouped gemm {PRECISIONS[dtype]}",
                        part=str(part),
                        points={name: column[chosen] for name, column in points.items()},
                        seconds=seconds[chosen],
                        rows=table.rows[chosen],
                        source=SOURCE,
                    )
                )
    return found


def _parts(table: Table, gpu: str | None) -> Texts:
    if "gpu" in table:
        return table.texts("gpu")
    if gpu is None:
        raise InputError(f"{table.name}:1: no column gpu; say --gpu NAME")
    return np.full(len(table), gpu)


def _whole(table: Table, column: str) -> Array:
    values = table.numbers(column, low=1)
    broken = np.flatnonzero(values != np.floor(values))
    if len(broken):
        raise table.error(int(broken[0]), column, f"{values[broken[0]]:g} is not a whole number")
    return values


def _check(table: Table, points: dict[str, Array]) -> None:
    """Experts are dealt evenly to ranks, and a token goes to as many of them as there are at most."""
    uneven = np.flatnonzero(points["num_experts"] % points["ep"])
    if len(uneven):
        raise table.error(int(uneven[0]), "moe_ep_size", "does not divide num_experts; write one that does")
    too_many = np.flatnonzero(points["top_k"] > points["num_experts"])
    if len(too_many):
        raise table.error(int(too_many[0]), "topk", "more than num_experts; write at most as many")


def _skew(table: Table) -> Array:
    """0 where balanced, else the exponent of the power law."""
    texts = table.texts("distribution")
    known = {str(text): _exponent(str(text)) for text in np.unique(texts)}
    for index, text in enumerate(texts):
        if known[str(text)] is None:
            raise table.error(index, "distribution", f"{text}: write balanced or power_law_1.2")
    return np.array([known[str(text)] or 0.0 for text in texts])


def _exponent(text: str) -> float | None:
    if text == "balanced":
        return 0.0
    try:
        exponent = float(text.removeprefix(POWER_LAW)) if text.startswith(POWER_LAW) else -1.0
    except ValueError:
        return None
    return exponent if 0 < exponent < 10 else None
