"""What measurements decide about a product: shares of the data sheet, latencies, how far one thing hides another."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from sim.costs.gemm.bends import TERMS
from sim.costs.gemm.formats import FORMATS
from sim.costs.gemm.kernels import in_l2, product_seconds, quantise_seconds
from sim.costs.gemm.tiles import REFERENCE, TILES
from sim.costs.law import Array, Law, Parameter, Points, Values, fit_of
from topologies.hardware import Gpu
from topologies.quantity import MICROSECOND, MILLISECOND, NANOSECOND


def _product() -> dict[str, Parameter]:
    """Parameters of every product; they start from those of an H100 in bf16."""
    return {
        "launch": Parameter(start=0.86, low=0.3, high=1.5, meaning="launch, in kernel latencies of the data sheet"),
        "rate": Parameter(start=1.05, low=0.4, high=1.5, meaning="rate of the largest tile, of the achievable rate"),
        "fetch": Parameter(
            start=1.0, low=0.05, high=80.0, meaning="multiply-adds per fetched number at which a tile runs at half rate"
        ),
        "step": Parameter(
            start=40 * NANOSECOND, low=NANOSECOND, high=500 * NANOSECOND, meaning="seconds of a step of 64 along k"
        ),
        "sm_l2": Parameter(start=5.4, low=0.5, high=40.0, meaning="rate of fetching from the L2, in an SM's HBM share"),
        "tile": Parameter(
            start=50 * NANOSECOND, low=NANOSECOND, high=5 * MICROSECOND, meaning="seconds before and after a main loop"
        ),
        "store": Parameter(start=1.7, low=0.3, high=20.0, meaning="rate of an SM storing, in its HBM share"),
        "tail": Parameter(
            start=0.7, low=0.01, high=1.0, meaning="part of its idle SMs by which a last wave is shorter"
        ),
        "split": Parameter(
            start=3 * MICROSECOND, low=0.05 * MICROSECOND, high=10 * MICROSECOND, meaning="seconds to split k"
        ),
        "reduce": Parameter(start=0.6, low=0.05, high=20.0, meaning="rate of adding parts up, in HBM bandwidths"),
        "hbm": Parameter(start=1.04, low=0.5, high=1.3, meaning="bandwidth of weights, of the achievable bandwidth"),
        "activations": Parameter(start=0.75, low=0.1, high=20.0, meaning="rate of the activation, in HBM bandwidths"),
        "outputs": Parameter(start=0.76, low=0.1, high=20.0, meaning="rate of the outputs, in HBM bandwidths"),
        "l2": Parameter(start=2.5, low=0.3, high=20.0, meaning="rate of weights that are in the L2, in HBM bandwidths"),
        "l2_share": Parameter(
            start=0.144, low=0.03, high=0.8, meaning="share of the L2 below which a benchmark finds its weights in it"
        ),
        "blend": Parameter(
            start=1.75, low=1.1, high=8.0, meaning="power by which HBM and SMs hide each other at few tokens"
        ),
        "blend_more": Parameter(start=5.0, low=0.05, high=30.0, meaning="what many tokens add to that power"),
        "blend_tokens": Parameter(start=370.0, low=10.0, high=6000.0, meaning="tokens at which half of it is added"),
        "heat": Parameter(start=0.19, low=0.001, high=0.5, meaning="by how much a long product is slower per FLOP"),
        "heat_time": Parameter(
            start=6 * MILLISECOND, low=0.01 * MILLISECOND, high=100 * MILLISECOND,
            meaning="seconds of multiplying at which half of that is felt",
        ),
    }  # fmt: skip


def _quantisation(start: float) -> dict[str, Parameter]:
    return {
        "cast_start": Parameter(
            start=start * MICROSECOND, low=0.1 * MICROSECOND, high=30 * MICROSECOND,
            meaning="seconds of the kernels that quantise nothing",
        ),
        "cast": Parameter(start=0.8, low=0.05, high=10.0, meaning="rate of quantising, in HBM bandwidths"),
    }  # fmt: skip


_RULE: Final[Mapping[str, Parameter]] = {
    "rule_rate": Parameter(start=1.5, low=0.4, high=3.0, meaning="rate of ruled blocks, of the achievable rate"),
    "rule_l2": Parameter(start=2.5, low=0.5, high=20.0, meaning="what all SMs fetch from the L2, in HBM bandwidths"),
    "rule_pair": Parameter(start=0.7, low=0.4, high=1.2, meaning="what blocks that pair up fetch, of the rest"),
    "rule_tokens": Parameter(start=1.2, low=0.05, high=4.0, meaning="what a token costs to fetch, in weights"),
    "rule_again": Parameter(start=1.15, low=0.5, high=4.0, meaning="what weights cost that many rows of blocks fetch"),
    "rule_ragged": Parameter(start=1.5, low=0.8, high=3.0, meaning="how much dearer fetching is off 8 tokens"),
    "rule_rows": Parameter(start=2.4, low=0.3, high=1000.0, meaning="rows of blocks up to which all of that is felt"),
    "rule_alone": Parameter(start=0.5, low=0.01, high=2.0, meaning="part of it that a single row of blocks feels"),
    "rule_step": Parameter(
        start=120 * NANOSECOND, low=NANOSECOND, high=MICROSECOND, meaning="seconds of a step of 128 along k"
    ),
    "rule_blend": Parameter(start=1.6, low=1.0, high=8.0, meaning="power by which these hide each other"),
}  # fmt: skip

_TILES: Final[dict[str, Parameter]] = {
    tile.name: Parameter(start=1.0, low=0.4, high=1.5, meaning=f"rate of tiles of {tile.name}, of what its sides say")
    for tile in TILES
    if tile.name != REFERENCE
}
_CHOICE: Final = {
    "dislike": Parameter(start=0.05, low=-0.3, high=0.6, meaning="power of its size by which a small tile is avoided"),
    "dislike_split": Parameter(start=1.0, low=0.5, high=2.0, meaning="factor by which splitting k is avoided"),
}
_BENDS: Final = {
    name: Parameter(
        start=1.0, low=0.7, high=1.4, meaning=f"factor along {name}, in the logarithms of the sizes",
        along=frozenset(name),
    )
    for name in TERMS
}  # fmt: skip
_SPLITTING: Final = frozenset({"split", "reduce"})
_LIKE_BF16: Final = ("launch", *_TILES, *_CHOICE, *_BENDS)

_STRIPED: Final = {
    "striped_start": Parameter(
        start=4 * MICROSECOND, low=0.05 * MICROSECOND, high=20 * MICROSECOND,
        meaning="seconds to fill the pipelines of kernels that unpack weights, and to add up their stripes",
    ),
    "striped_rate": Parameter(
        start=0.8, low=0.2, high=1.5, meaning="rate of kernels that unpack weights, of the achievable rate"
    ),
    "striped_blend": Parameter(
        start=3.0, low=1.1, high=8.0, meaning="power by which reading packed weights and multiplying hide each other"
    ),
}  # fmt: skip
"""Marlin's, as published: 70 billion weights multiply 16 x 1,024 tokens in 12.2 s on an A100, attention and all, where
unpacking them first and cuBLAS take 9.7 (IBM/text-generation-inference, pull request 66); 1 to 16 tokens take equally
long, 32 tokens 1.3 times, by when they multiply as long as they read; four layers of 13 billion weights' model are 3.1
times as quick as in 16 bits (vllm-project/vllm, pull request 2497), one large one 3.87 times (IST-DASLab/marlin, README
at 2f6d7c1): what differs is a start. vLLM, SGLang and TensorRT-LLM have such kernels on all GPUs since Ampere."""


def _parameters(precision: str) -> Mapping[str, Parameter]:
    """Formats that take the fit of another have parameters of their own only for what that one lacks."""
    kind = FORMATS[precision]
    own: dict[str, Parameter] = _product() if kind.fit == f"gemm {precision}" else {}
    if precision in ("bf16", "nvfp4"):
        own |= _TILES | _CHOICE
    if precision == "bf16" or kind.rule:
        own |= _BENDS
    if kind.quantises:
        own.pop("launch", None)
        own |= _quantisation({"fp8": 9.5}.get(precision, 2.0))
    if kind.rule:
        own = {name: own[name] for name in own if name not in _SPLITTING}
        own |= _RULE
    return own | (_STRIPED if kind.dequantises else {})


def law_of(precision: str) -> Law[Gpu]:
    """The law of products in a precision."""
    return _BY_OPERATION[f"gemm {precision}"]


def values_of(gpu: Gpu, precision: str, values: Values | None = None) -> Values:
    """All parameters of a precision on a GPU: its own (or `values`), and of others what it has none for.

    A launch takes as long for every precision, and the library's kernels are alike: those are of bf16.
    """
    law, shared, bf16 = (_BY_OPERATION[name] for name in (f"gemm {precision}", FORMATS[precision].fit, "gemm bf16"))
    own = fit_of(gpu, law).values if values is None else values
    alike = fit_of(gpu, bf16).values if precision != "bf16" or values is None else own
    return {**{name: alike[name] for name in _LIKE_BF16}, **fit_of(gpu, shared).values, **own}


def _measured(precision: str, gpu: Gpu, values: Values, points: Points) -> Array:
    m, n, k = points["m"], points["n"], points["k"]
    kind = FORMATS[precision]
    every = values_of(gpu, precision, values)
    cold = 1 - in_l2(gpu, every, kind.weight * n * k)
    seconds = product_seconds(gpu, every, kind, m, n, k, coldness=cold)
    return seconds + quantise_seconds(gpu, every, kind, m * k)


def _law(precision: str) -> Law[Gpu]:
    return Law(
        operation=f"gemm {precision}",
        inputs=("m", "n", "k"),
        parameters=_parameters(precision),
        seconds=partial(_measured, precision),
    )


LAWS: Final = tuple(_law(precision) for precision in FORMATS if precision != "fp16")
"""Of each precision: parameters, and the seconds of points m (tokens), n (outputs), k (what is summed over), measured
as the tables are: under CUDA graphs, with the activation in the L2, the cast of the activation included."""

_BY_OPERATION: Final = {law.operation: law for law in LAWS} | {"gemm fp16": LAWS[0]}
