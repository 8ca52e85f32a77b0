"""Attention of a serving engine: prefill of `isl` new tokens with nothing cached, or one query after `kv_len` keys.

A prefill of one token runs the decoding kernel with an empty cache, and is a sample of that.
"""

from typing import Final

import numpy as np

from calibrate.importers.table import Table
from calibrate.samples import Samples
from sim.costs.law import Array
from topologies.document import InputError
from topologies.quantity import MICROSECOND

COLUMNS: Final = frozenset({"batch_size", "num_heads", "kv_heads", "head_dim", "kv_cache_dtype", "time_us"})
LEFT_OUT: Final = "a cache in another format than bfloat16, float16 or fp8"

PREFILL: Final = {"bf16": "attention prefill bf16", "fp8": "attention prefill fp8kv"}
DECODE: Final = {"bf16": "attention decode bf16", "fp8": "attention decode fp8"}
FORMATS: Final = {"bfloat16": "bf16", "float16": "bf16", "bf16": "bf16", "fp16": "bf16", "auto": "bf16", "fp8": "fp8"}
"""What tables call the format of the cache, and whose fit it is."""


def read(table: Table, gpu: str | None) -> list[Samples]:
    """One Samples for each operation. Raises InputError where the caller does not say on which GPU, or there are
    neither new tokens nor keys in the cache."""
    if gpu is None:
        raise InputError(f"{table.name}: the table does not name the GPU that was measured; say --gpu NAME")
    if ("isl" in table) == ("kv_len" in table):
        raise InputError(f"{table.name}:1: write the column isl (prefill) or kv_len (decode), one of the two")
    named = np.char.lower(table.texts("kv_cache_dtype"))
    formats = np.array([FORMATS.get(str(name), "") for name in named])
    samples = []
    for name in sorted(set(formats) - {""}):
        samples += _of_format(table.where(formats == name), str(name), gpu)
    return samples


def _of_format(table: Table, name: str, gpu: str) -> list[Samples]:
    if "kv_len" in table:
        return [_samples(table, DECODE[name], gpu, kv_len=table.numbers("kv_len", low=0.0))]
    alone = table.numbers("isl", low=1.0) == 1
    one, more = table.where(alone), table.where(~alone)
    samples = [_samples(more, PREFILL[name], gpu, seq_len=more.numbers("isl"))] if len(more) else []
    return [*samples, _samples(one, DECODE[name], gpu, kv_len=np.zeros(len(one)))] if len(one) else samples


def _samples(table: Table, operation: str, gpu: str, **tokens: Array) -> Samples:
    heads, kv_heads = (table.numbers(name, low=1.0) for name in ("num_heads", "kv_heads"))
    for index in np.flatnonzero(heads % kv_heads)[:1]:
        raise table.error(int(index), "kv_heads", f"{kv_heads[index]:g} does not divide num_heads={heads[index]:g}")
    return Samples(
        operation=operation,
        part=gpu,
        points={
            "batch": table.numbers("batch_size", low=1.0),
            **tokens,
            "num_heads": heads,
            "num_kv_heads": kv_heads,
            "head_dim": table.numbers("head_dim", low=8.0, high=1024.0),
        },
        seconds=table.numbers("time_us") * MICROSECOND,
        rows=table.rows,
        source=table.name,
    )
