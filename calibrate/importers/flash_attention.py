"""Rates of flash attention as papers chart them: of one kernel for each sequence length, 16k tokens in all.

FLOPs are counted as FlashAttention's papers do: 4 x tokens^2 x heads x head size, half of it where causal. The kernel
that training runs is read: FlashAttention 2 before Hopper, 3 on Hopper, cuDNN's on Blackwell.
"""

from typing import Final

import numpy as np

import topologies
from calibrate.importers.table import Table
from calibrate.samples import Samples
from sim.costs.attention.flash import FORWARD
from sim.costs.attention.kernels import FLASH_2, FLASH_3, TENSORRT, kernel_of
from sim.costs.law import Array
from topologies.quantity import TERA

COLUMNS: Final = frozenset({"gpu", "kernel", "dtype", "causal", "head_dim", "batch", "heads", "seqlen", "tflops"})
LEFT_OUT: Final = (
    "only 16-bit operands, a mask that is said, and the kernel that training runs are read: FA2 before Hopper, FA3 on "
    "Hopper, cuDNN on Blackwell"
)

_KERNELS: Final = {FLASH_2: ("fa2", "flash_v2"), FLASH_3: ("fa3", "flash_v3"), TENSORRT: ("cudnn",)}
_CAUSAL: Final = ("true", "yes", "1")
_FULL: Final = ("false", "no", "0")
_HIDDEN: Final = "hidden "


def read(table: Table, gpu: str | None) -> list[Samples]:
    """One Samples of a GPU's rows."""
    assert gpu is not None  # a row of this layout names its GPU, or was given the caller's
    kernels = np.char.lower(table.texts("kernel"))
    masks = np.array([_mask(str(said).lower()) for said in table.texts("causal")])
    usual = np.isin(kernels, _KERNELS[kernel_of(topologies.gpu(gpu))])
    chosen = usual & (masks >= 0) & (np.char.find(table.texts("dtype"), "16") >= 0)
    return [_samples(table.where(chosen), gpu, masks[chosen])] if chosen.any() else []


def _samples(table: Table, gpu: str, causal: Array) -> Samples:
    batch, seq_len, head_dim = (table.numbers(name, low=1.0) for name in ("batch", "seqlen", "head_dim"))
    heads = _heads(table, head_dim)
    flops = 4 * batch * seq_len**2 * heads * head_dim / (1 + causal)
    return Samples(
        operation=FORWARD.operation,
        part=gpu,
        points={"batch": batch, "seq_len": seq_len, "num_heads": heads, "head_dim": head_dim, "causal": causal},
        seconds=flops / (table.numbers("tflops") * TERA),
        rows=table.rows,
        source="; ".join(dict.fromkeys(map(str, table.texts("source")))) if "source" in table else table.name,
    )


def _mask(said: str) -> float:
    """1 where causal, 0 where not, -1 where nobody says it."""
    if said in _FULL or "non-causal" in said:
        return 0.0
    return 1.0 if said in _CAUSAL or "causal" in said else -1.0


def _heads(table: Table, head_dim: Array) -> Array:
    """The number of heads, or what a hidden size makes of them: `hidden 2048` with heads of 128 are 16."""
    texts = table.texts("heads")
    is_hidden = np.char.startswith(texts, _HIDDEN)
    plain = table.with_column("heads", np.char.replace(texts, _HIDDEN, ""))
    numbers = plain.numbers("heads", low=1.0)
    return np.where(is_hidden, numbers / head_dim, numbers)
