"""Rates of flash attention as papers chart them: of one kernel for each sequence length, 16k tokens in all.

FLOPs are counted as FlashAttention's papers do: 4 x tokens^2 x heads x head size, half of it where causal.
"""

import numpy as np

from calibrate.importers.table import Table
from calibrate.samples import Samples
from topologies.quantity import TERA

COLUMNS = frozenset({"gpu", "kernel", "dtype", "causal", "head_dim", "batch", "heads", "seqlen", "tflops"})
LEFT_OUT = "only causal FlashAttention 3 with 16-bit operands is what a prefill runs"

_KERNELS = ("fa3", "flash_v3")
_HIDDEN = "hidden "


def read(table: Table, gpu: str | None) -> list[Samples]:
    """The rows of the kernel that a serving engine runs, as a prefill without a cache."""
    kernels, causal = np.char.lower(table.texts("kernel")), np.char.lower(table.texts("causal"))
    masked = (np.char.find(causal, "causal") >= 0) & (np.char.find(causal, "non-causal") < 0)
    chosen = np.isin(kernels, _KERNELS) & masked & (np.char.find(table.texts("dtype"), "16") >= 0)
    rows = table.where(chosen)
    if not len(rows) or gpu is None:
        return []
    batch, seq_len, head_dim = (rows.numbers(name, low=1.0) for name in ("batch", "seqlen", "head_dim"))
    heads = _heads(rows)
    flops = 4 * batch * seq_len**2 * heads * head_dim / 2
    points = {"batch": batch, "seq_len": seq_len, "num_heads": heads, "num_kv_heads": heads, "head_dim": head_dim}
    return [
        Samples(
            operation="attention prefill bf16",
            part=gpu,
            points=points,
            seconds=flops / (rows.numbers("tflops") * TERA),
            rows=rows.rows,
            source=str(rows.texts("source")[0]) if "source" in rows else rows.name,
        )
    ]


def _heads(table: Table) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The number of heads, or what a hidden size makes of them: `hidden 2048` with heads of 128 are 16."""
    texts = table.texts("heads")
    is_hidden = np.char.startswith(texts, _HIDDEN)
    plain = table.with_column("heads", np.char.replace(texts, _HIDDEN, ""))
    numbers = plain.numbers("heads", low=1.0)
    return np.where(is_hidden, numbers / table.numbers("head_dim", low=1.0), numbers)
