"""Operators of a served model, timed one by one: the products of its layers, and attention in passes of one kind.

The columns are those of LLMServingSim's profiler: a row names the GPU, the model, tp, and what a GPU of tp computed.
The weights and the cache of a model's other layers pass between two calls: neither is found in the L2.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from calibrate.importers.table import Table
from calibrate.samples import Samples
from sim import models
from sim.costs.law import Array
from sim.models import Transformer
from topologies.document import InputError
from topologies.quantity import MICROSECOND

_OWNER: Final = frozenset({"hardware", "model", "tp", "time_us"})
BY_TOKENS: Final = _OWNER | {"layer", "tokens"}
BY_SEQUENCES: Final = _OWNER | {"layer", "sequences"}
OF_ATTENTION: Final = _OWNER | {"prefill_chunk", "kv_prefill", "n_decode", "kv_decode"}
PRODUCTS_ONLY: Final = "no product of a dense layer or of the head"
ONE_KIND_ONLY: Final = "a pass of several prompts, or of prompts and decodes, is no sample of a law"

_TRAINING: Final = re.compile("-(instruct|base|chat).*", re.IGNORECASE)

Product = tuple[int, int]
"""Outputs and inputs on a GPU."""
PRODUCTS: Final[Mapping[str, Callable[[Transformer, int], Product]]] = {
    "qkv_proj": lambda model, tp: ((model.num_heads + 2 * model.num_kv_heads) * model.head_dim // tp, model.hidden),
    "o_proj": lambda model, tp: (model.hidden, model.num_heads * model.head_dim // tp),
    "gate_up_proj": lambda model, tp: (2 * model.ffn // tp, model.hidden),
    "down_proj": lambda model, tp: (model.hidden, model.ffn // tp),
    "lm_head": lambda model, tp: (model.vocab // tp, model.hidden),
}


def read_products(table: Table, gpu: str | None) -> list[Samples]:
    """The products in 16 bits of one GPU's rows; InputError where the GPU is not said or a model is unknown."""
    part = _part(table, gpu)
    rows = "sequences" if "sequences" in table else "tokens"
    known = table.where(np.isin(table.texts("layer"), list(PRODUCTS)))
    owners = zip(known.texts("layer"), known.texts("model"), known.numbers("tp", low=1.0), strict=True)
    sides = [PRODUCTS[str(layer)](_model(str(name)), int(tp)) for layer, name, tp in owners]
    points = {"m": known.numbers(rows, low=1.0)}
    points |= {name: np.array([side[place] for side in sides], float) for place, name in enumerate("nk")}
    return [_samples(known, "gemm bf16", part, points)]


def read_attention(table: Table, gpu: str | None) -> list[Samples]:
    """Decodes alone, which all have as many keys, and one prompt alone, after what is cached of it."""
    part = _part(table, gpu)
    new, decodes = table.numbers("prefill_chunk", low=0.0), table.numbers("n_decode", low=0.0)
    decoding, prefilling = table.where((new == 0) & (decodes > 0)), table.where((new > 1) & (decodes == 0))
    samples = []
    if len(decoding):
        columns = {"batch": decoding.numbers("n_decode"), "kv_len": decoding.numbers("kv_decode") - 1}
        columns["warm"] = np.zeros(len(decoding))
        samples.append(_samples(decoding, "attention decode bf16", part, columns | _heads(decoding)))
    if len(prefilling):
        columns = {"batch": np.ones(len(prefilling)), "seq_len": prefilling.numbers("prefill_chunk")}
        columns["num_cached"] = prefilling.numbers("kv_prefill", low=0.0)
        samples.append(_samples(prefilling, "attention prefill bf16", part, columns | _heads(prefilling)))
    return samples


def _model(name: str) -> Transformer:
    """Of Hugging Face's names, what stands behind the maker and before the kind of training."""
    return models.load(_TRAINING.sub("", name.rpartition("/")[2]))


def _part(table: Table, gpu: str | None) -> str:
    if gpu is None:
        raise InputError(f"{table.name}: no column gpu; say --gpu NAME")
    return gpu


def _heads(table: Table) -> dict[str, Array]:
    """Heads of queries and of keys that a GPU of tp holds, and their size."""
    owners = list(zip(table.texts("model"), table.numbers("tp", low=1.0), strict=True))
    held = [(_model(str(name)), int(tp)) for name, tp in owners]
    return {
        "num_heads": np.array([model.num_heads // tp for model, tp in held], float),
        "num_kv_heads": np.array([max(1, model.num_kv_heads // tp) for model, tp in held], float),
        "head_dim": np.array([model.head_dim for model, _ in held], float),
    }


def _samples(table: Table, operation: str, part: str, points: Mapping[str, Array]) -> Samples:
    return Samples(
        operation=operation,
        part=part,
        points=points,
        seconds=table.numbers("time_us") * MICROSECOND,
        rows=table.rows,
        source=table.name,
    )
