"""Elementwise kernels in the columns of Vidur's profiler: kernels of vLLM's 2023 models against tokens.

Times are whole microseconds: half of one is 10 % of 5 us, so rows of few tokens say little.
"""

from typing import Final

import numpy as np

from calibrate.importers.table import Table
from calibrate.samples import Samples
from sim.costs.law import Array
from sim.costs.memory_bound import ROW_KERNELS, ROW_NBYTES, RowKernel
from topologies.document import InputError
from topologies.quantity import MICROSECOND

COLUMNS: Final = frozenset(
    {"op", "tp", "num_tokens", "n_embd", "n_head", "n_kv_head", "n_expanded_embd", "vocab_size", "time_us"}
)

KERNELS: Final[dict[str, RowKernel | None]] = {
    "add": None,
    "input_layernorm": "norm",
    "post_attention_layernorm": "norm",
    "mlp_act": "gated activation",
    "attn_rope": "rotary",
    "emb": "lookup",
}
"""None: it streams."""

ADD_NBYTES: Final = 2 + 2 + 2
LEFT_OUT: Final = f"unknown op; known are {', '.join(KERNELS)}"
SOURCE: Final = "Vidur, profiled kernels"


def read(table: Table, gpu: str | None) -> list[Samples]:
    """One Samples for each GPU; rows of other ops are left out. InputError where no GPU is named or a size is none."""
    known = np.isin(table.texts("op"), list(KERNELS))
    parts = table.texts("gpu") if "gpu" in table else np.full(len(table), gpu or "")
    if "gpu" not in table and gpu is None:
        raise InputError(f"{table.name}:1: no column gpu; say --gpu NAME")
    return [_samples(table.where(known & (parts == part)), str(part)) for part in sorted(set(parts[known]))]


def _samples(table: Table, part: str) -> Samples:
    ops, rows = table.texts("op"), table.numbers("num_tokens", low=1)
    kernels = [KERNELS[str(op)] for op in ops]
    kind = np.array([0 if kernel is None else 1 + ROW_KERNELS.index(kernel) for kernel in kernels], float)
    width = _width(table)
    per_element = np.array([ADD_NBYTES if kernel is None else ROW_NBYTES[kernel] for kernel in kernels], float)
    return Samples(
        operation="memory bound",
        part=part,
        points={"kind": kind, "rows": rows, "width": width, "nbytes": rows * width * per_element},
        seconds=table.numbers("time_us") * MICROSECOND,
        rows=table.rows,
        source=SOURCE,
    )


def _width(table: Table) -> Array:
    """Elements of a row on one tp rank: of the hidden state, of the MLP's inner width, of all heads."""
    ops, tp, hidden = table.texts("op"), table.numbers("tp", low=1), table.numbers("n_embd", low=1)
    heads = table.numbers("n_head", low=1) + table.numbers("n_kv_head", low=1)
    all_heads = hidden / table.numbers("n_head", low=1) * heads / tp
    inner = table.numbers("n_expanded_embd", low=1) / tp
    width: Array = np.select([ops == "mlp_act", ops == "attn_rope"], [inner, all_heads], hidden)
    return width
