"""How operations are drawn: along which of their inputs, for which settings of the others, and in what unit.

A rate is the work of a point over its time: FLOPs of products and attention, bytes of kernels, and of collectives the
bus bandwidth as nccl-tests defines it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from calibrate.domains import Domain
from sim.costs.collectives import gloo
from sim.costs.collectives.custom_all_reduce import LAW_OF
from sim.costs.collectives.custom_kernels import CHOICES, KERNELS
from sim.costs.collectives.nccl import OPERATIONS
from sim.costs.law import Array, Points
from sim.costs.memory_bound import ROW_KERNELS
from topologies.quantity import GIGA, TERA

Setting = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How operations are drawn: the input that grows along a line with its words, the lines' settings within a domain
    with their labels, and the work of a point in what unit."""

    grows: str
    words: str
    settings: Callable[[str, Domain], Sequence[Setting]]
    label: Callable[[str, Setting], str]
    told_by: tuple[str, ...]
    work: Callable[[str, Points], Array] | None
    unit: str
    per_unit: float = 1.0


def family(operation: str) -> Family | None:
    """How an operation is drawn; None for one that has no size."""
    return next((one for prefix, one in _FAMILIES.items() if operation.startswith(prefix)), None)


def _squares(operation: str, domain: Domain) -> list[Setting]:
    """Weights of three sizes that were measured."""
    del operation
    low, high = (max(domain[name][0] for name in "nk"), min(domain[name][1] for name in "nk"))
    sizes = dict.fromkeys(float(np.clip(size, low, high)) for size in (1024, 4096, 16384))
    return [{"n": size, "k": size} for size in sizes]


def _ends_of(*names: str) -> Callable[[str, Domain], list[Setting]]:
    """The smallest and the largest of some inputs, together."""

    def ends(operation: str, domain: Domain) -> list[Setting]:
        del operation
        known = [name for name in names if name in domain]
        found: list[Setting] = [{name: domain[name][end] for name in known} for end in (0, 1)]
        return found[:1] if found[0] == found[1] else found

    return ends


def _kinds(column: str, *names: str) -> Callable[[str, Domain], list[Setting]]:
    """Each of the things that a column counts, at both ends of the other inputs."""

    def kinds(operation: str, domain: Domain) -> list[Setting]:
        low, high = domain[column]
        ends = _ends_of(*names)(operation, domain)
        return [{column: float(kind), **end} for kind in range(int(low), int(high) + 1) for end in ends]

    return kinds


def _kernels(operation: str, domain: Domain) -> list[Setting]:
    """The kernels that the operation is a law of, among those that were measured."""
    low, high = domain["kernel"]
    known = [LAW_OF[CHOICES[kernel].family].operation == operation for kernel in KERNELS]
    return [{"kernel": float(kind)} for kind in range(int(low), int(high) + 1) if known[kind]]


def _batches(operation: str, domain: Domain) -> list[Setting]:
    del operation
    low, high = domain["batch"]
    return [{"batch": size} for size in dict.fromkeys(float(np.clip(one, low, high)) for one in (1, 8, 64))]


def _of_weights(operation: str, setting: Setting) -> str:
    del operation
    return f"n {setting['n']:,.0f}, k {setting['k']:,.0f}"


def _of_batch(operation: str, setting: Setting) -> str:
    del operation
    return f"batch {setting['batch']:.0f}"


def _of_layout(operation: str, setting: Setting) -> str:
    del operation
    return f"{setting['num_experts']:.0f} experts, ep {setting['ep']:.0f}"


def _of_kernel(operation: str, setting: Setting) -> str:
    del operation
    return ("stream", *ROW_KERNELS)[int(setting["kind"])]


def _of_collective(operation: str, setting: Setting) -> str:
    """Such as 'all-reduce, 16 GPUs of 2 nodes'."""
    names = gloo.OPERATIONS if operation == "gloo" else OPERATIONS
    collective = names[int(setting["operation"])].replace("_", "-") if "operation" in setting else ""
    kernel = KERNELS[int(setting["kernel"])] if "kernel" in setting else ""
    return ", ".join(filter(None, (collective, kernel, _group(setting))))


def _group(setting: Setting) -> str:
    gpus, nodes = setting.get("num_gpus", 0), setting.get("num_nodes", 1)
    whole = f"{gpus:.0f} GPUs" if gpus else ""
    return f"{whole} of {nodes:.0f} nodes".strip() if nodes > 1 else whole


def _product(operation: str, points: Points) -> Array:
    del operation
    return 2 * points["m"] * points["n"] * points["k"]


def _experts(operation: str, points: Points) -> Array:
    """Gate, up and down of a rank's even share of the rows."""
    del operation
    rows = points["num_tokens"] * points["top_k"] / points["ep"]
    return 6 * rows * points["hidden"] * points["ffn"] / points["tp"]


def _attention(operation: str, points: Points) -> Array:
    """Two products of the scores, or of their causal half; five backwards."""
    scores = points["batch"] * points["num_heads"] * points["seq_len"] ** 2
    causal = points["causal"] if "causal" in points else np.ones(len(scores))
    products = 10.0 if "backward" in operation else 4.0
    work: Array = products * scores * points["head_dim"] / (1 + causal)
    return work


def _cache(operation: str, points: Points) -> Array:
    """Keys and values, read once."""
    element = 1 if "fp8" in operation else 2
    return 2 * points["batch"] * points["kv_len"] * points["num_kv_heads"] * points["head_dim"] * element


def _bytes(operation: str, points: Points) -> Array:
    del operation
    return points["nbytes"]


def _bus_bytes(operation: str, points: Points) -> Array:
    """What each GPU must send at least, in nccl-tests' words [NVIDIA/nccl-tests, doc/PERFORMANCE.md]: 2(n-1)/n of the
    bytes of an all-reduce, all of a broadcast or a message, (n-1)/n of the others."""
    if operation == "nccl send":
        return points["nbytes"]
    share = 1 - 1 / points["num_gpus"]
    if operation.startswith("custom all-reduce"):
        return 2 * share * points["nbytes"]
    if "operation" not in points:
        return share * points["nbytes"]
    names = np.array(gloo.OPERATIONS if operation == "gloo" else OPERATIONS)[points["operation"].astype(int)]
    factors = np.select([names == "all_reduce", names == "broadcast"], [2 * share, 1.0], share)
    return np.asarray(factors * points["nbytes"])


_BUS: Final = "GB/s bus bandwidth"
_ROWS: Final = "rows of the product (m)"
_TOKENS: Final = "tokens"
_LENGTH: Final = "tokens of a sequence"
_MESSAGE: Final = "bytes of the message"


def _collectives(settings: Callable[[str, Domain], Sequence[Setting]], *told_by: str) -> Family:
    return Family(
        grows="nbytes",
        words=_MESSAGE,
        settings=settings,
        label=_of_collective,
        told_by=told_by,
        work=_bus_bytes,
        unit=_BUS,
        per_unit=GIGA,
    )


_PRODUCTS: Final = Family(
    grows="m", words=_ROWS, settings=_squares, label=_of_weights, told_by=("n", "k"), work=_product,
    unit="TFLOP/s", per_unit=TERA,
)  # fmt: skip
_ATTENTION: Final = Family(
    grows="seq_len", words=_LENGTH, settings=_batches, label=_of_batch, told_by=("batch",), work=_attention,
    unit="TFLOP/s", per_unit=TERA,
)  # fmt: skip
_FAMILIES: Final[Mapping[str, Family]] = {
    "gemm": _PRODUCTS,
    "grouped gemm": Family(
        grows="num_tokens", words=_TOKENS, settings=_ends_of("num_experts", "ep"), label=_of_layout,
        told_by=("num_experts", "ep"), work=_experts, unit="TFLOP/s", per_unit=TERA,
    ),
    "attention decode": Family(
        grows="kv_len", words="tokens in the cache", settings=_batches, label=_of_batch, told_by=("batch",),
        work=_cache, unit="GB/s of keys and values", per_unit=GIGA,
    ),
    "attention": _ATTENTION,
    "memory bound": Family(
        grows="nbytes", words="bytes read and written", settings=_kinds("kind"), label=_of_kernel, told_by=("kind",),
        work=_bytes, unit="GB/s", per_unit=GIGA,
    ),
    "nccl all-to-all": _collectives(_ends_of("num_gpus", "num_nodes"), "num_gpus", "num_nodes"),
    "nccl send": _collectives(_ends_of("num_nodes"), "num_nodes"),
    "nccl": _collectives(_kinds("operation", "num_gpus", "num_nodes"), "operation", "num_gpus", "num_nodes"),
    "gloo": _collectives(_kinds("operation", "num_gpus"), "operation", "num_gpus"),
    "custom all-reduce": _collectives(_kernels, "kernel", "num_gpus"),
    "deepep": Family(
        grows="num_tokens", words="tokens of a GPU", settings=_ends_of("num_nodes"), label=_of_collective,
        told_by=("num_gpus", "num_nodes"), work=None, unit="",
    ),
}  # fmt: skip
"""By what the names of operations begin with; the first that fits."""
