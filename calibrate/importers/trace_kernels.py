"""Kernels of a trace as samples: products, attention, and kernels that only stream bytes.

A product's layout tells what it is of [BLAS]: forward multiplies rows by the transpose of the weights, the gradient of
the input by the weights as they lie, that of the weights the transpose of one by the other. Each point is the
median of its repetitions.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from calibrate.importers.reading import Skipped
from calibrate.importers.trace_events import (
    ATTENTIONS,
    PRODUCTS,
    STREAMS,
    Kernels,
    Operation,
    Shape,
    Trace,
)
from calibrate.samples import Samples

Inputs = tuple[tuple[str, float], ...]

NBYTES: Final = {
    "c10::BFloat16": 2, "c10::Half": 2, "float": 4, "double": 8, "c10::Float8_e4m3fn": 1, "c10::Float8_e5m2": 1,
    "int": 4, "long": 8, "long int": 8, "bool": 1, "unsigned char": 1, "signed char": 1,
}  # fmt: skip
"""Bytes of an element by the type's name in C++, as `Input type` has it."""
SIXTEEN: Final = ("c10::BFloat16", "c10::Half")
FORMATS: Final = {"c10::BFloat16": "bf16", "c10::Half": "bf16", "c10::Float8_e4m3fn": "fp8", "c10::Float8_e5m2": "fp8"}
"""Whose fit a product is a sample of."""
INPUT_GRADIENT: Final = 1.0
WEIGHT_GRADIENT: Final = 2.0
NO_SHAPES: Final = "no shapes of its inputs; profile with record_shapes=True"
NO_KERNEL: Final = "no kernel of its own: run on the CPU, or replayed from a CUDA graph"
_ELSEWHERE: Final = ("HtoD", "DtoH", "PtoP")
_NOT_PRODUCT: Final = "elementwise"
_CAUSAL: Final = {"flash": (4, 11), "efficient": (6, 11), "cudnn": (6, 14)}
_DROPOUT: Final = {"flash": (3, 10), "efficient": (5, 9), "cudnn": (5, 13)}
_BIAS: Final = {"efficient": (3, 4), "cudnn": (3, 8)}
"""Places of is_causal, dropout_p and attn_bias among the inputs, forward and backward [PyTorch 2.13]."""


@dataclass(frozen=True, slots=True)
class Found:
    """What an operation is a sample of."""

    operation: str
    inputs: Inputs


class Unused(Exception):  # noqa: N818 - no error: an operation that no law is of
    """Why an operation is no sample."""


def kernel_samples(
    trace: Trace, operations: Sequence[Operation], kernels: Mapping[int, Kernels], skipped: list[Skipped]
) -> list[Samples]:
    """One Samples for each law; operations that no law is of are told in `skipped`."""
    groups: dict[str, dict[Inputs, list[tuple[int, float]]]] = {}
    for one in operations:
        try:
            found = _found(one, kernels.get(one.row))
        except Unused as unused:
            skipped.append(Skipped(row=one.row, reason=f"{one.name.removeprefix('aten::')}: {unused}"))
            continue
        repetitions = groups.setdefault(found.operation, {}).setdefault(found.inputs, [])
        repetitions.append((one.row, kernels[one.row].seconds))
    return [_samples(trace, operation, points) for operation, points in groups.items()]


def _found(one: Operation, kernels: Kernels | None) -> Found:
    """Raises Unused for what is no sample."""
    if kernels is None or not kernels.seconds:
        raise Unused(NO_KERNEL)
    if not any(one.shapes):
        raise Unused(NO_SHAPES)
    family = next(of for names, of in _FAMILIES if one.name in names)
    try:
        return family(one, kernels)
    except (IndexError, ValueError):
        raise Unused("inputs that PyTorch's own operation does not have") from None


def _samples(trace: Trace, operation: str, points: Mapping[Inputs, Sequence[tuple[int, float]]]) -> Samples:
    names = [name for name, _ in next(iter(points))]
    return Samples(
        operation=operation,
        part=trace.gpu,
        points={name: np.array([dict(inputs)[name] for inputs in points]) for name in names},
        seconds=np.array([float(np.median([seconds for _, seconds in runs])) for runs in points.values()]),
        rows=np.array([runs[0][0] for runs in points.values()], np.int64),
        source=f"PyTorch profiler trace ({trace.name}), median of repetitions",
    )


def _product(one: Operation, kernels: Kernels) -> Found:
    """mm, addmm and _scaled_mm; a batch of one is a product."""
    first = 1 if one.name == "aten::addmm" else 0
    left, right = one.shapes[first : first + 2]
    if len(left) == 3 and left[0] != 1:
        raise Unused("a batch of products, of which no law is")
    m, k, n = left[-2], left[-1], right[-1]
    form = FORMATS.get(one.types[first])
    if form is None or one.types[first] != one.types[first + 1]:
        raise Unused(f"operands of {one.types[first]}, of which no law is")
    if one.name == "aten::_scaled_mm" and math.prod(one.shapes[2]) != 1:
        raise Unused("scales of rows or blocks, of which no law is")
    if any(_NOT_PRODUCT in name for name in kernels.names):
        raise Unused("another kernel beside the product's")
    if not m * n * k:
        raise Unused("a size of 0")
    layout = _layout(one.strides[first : first + 2])
    if layout and form != "bf16":
        raise Unused("gradients in 8 bits, of which no law is")
    if layout:
        return Found("gemm gradients", (*_of_forward(m, n, k, layout), ("layout", layout)))
    return Found(f"gemm {form}", (("m", float(m)), ("n", float(n)), ("k", float(k))))


def _of_forward(m: int, n: int, k: int, layout: float) -> Inputs:
    """Tokens, outputs and inputs of the forward product of which an m x n product summed over k is a gradient."""
    tokens, outputs, inputs = (m, k, n) if layout == INPUT_GRADIENT else (k, m, n)
    return ("m", float(tokens)), ("n", float(outputs)), ("k", float(inputs))


def _layout(strides: Sequence[Shape]) -> float:
    """0 forward, else which gradient. Raises Unused where the strides do not tell."""
    if len(strides) < 2 or not all(strides):
        raise Unused("no strides, by which forward and gradients are told apart; a newer PyTorch writes them")
    left, right = (_lie(one[-2:]) for one in strides)
    if (left, right) not in _LAYOUTS:
        raise Unused("operands that lie neither as forward nor as a gradient")
    return _LAYOUTS[left, right]


def _lie(strides: Shape) -> str:
    """Whether the rows of a matrix lie together, or its columns, or neither."""
    if strides[1] == 1:
        return "rows"
    return "columns" if strides[0] == 1 else "neither"


_LAYOUTS: Final = {
    ("rows", "columns"): 0.0,
    ("rows", "rows"): INPUT_GRADIENT,
    ("columns", "rows"): WEIGHT_GRADIENT,
}


def _attention(one: Operation, kernels: Kernels) -> Found:
    """Flash, memory-efficient and cuDNN's attention, over as many keys as queries."""
    del kernels
    backward = one.name.endswith("_backward")
    kind = next(name for name in _CAUSAL if f"_{name}_" in one.name)
    query, key, value = one.shapes[backward : backward + 3]
    batch, heads, queries, width = query
    if key[2] != queries or value[3] != width:
        raise Unused("other keys than queries, or other widths; only attention of training is read")
    if one.types[backward] not in SIXTEEN:
        raise Unused(f"operands of {one.types[backward]}, of which no law is")
    if kind in _BIAS and one.shapes[_BIAS[kind][backward]]:
        raise Unused("a bias on the scores, of which no law is")
    if not one.said or float(one.said[_DROPOUT[kind][backward]] or 0.0):
        raise Unused("dropout, or nobody wrote whether there is any")
    causal = float(one.said[_CAUSAL[kind][backward]] == "True")
    points = {"batch": batch, "seq_len": queries, "num_heads": heads, "head_dim": width, "causal": causal}
    inputs = tuple((name, float(number)) for name, number in points.items())
    return Found("attention backward" if backward else "attention forward", inputs)


def _stream(one: Operation, kernels: Kernels) -> Found:
    """Copies on a GPU, and sums and products of tensors alike, in and out of the memory once."""
    if any(word in name for name in kernels.names for word in _ELSEWHERE):
        raise Unused("a copy to or from another memory")
    shapes, strides = one.shapes[:2], one.strides[:2]
    if shapes[0] != shapes[1] or not shapes[0]:
        raise Unused("tensors of two shapes: what is read is not known")
    if len(strides) < 2 or strides[0] != strides[1] or not _is_dense(shapes[0], strides[0]):
        raise Unused("tensors that do not lie alike and densely: what is read is not known")
    widths = [NBYTES[name] if name in NBYTES else _unknown(name) for name in one.types[:2]]
    written = widths[0] if one.name != "aten::copy_" else 0
    elements = math.prod(shapes[0])
    if not elements:
        raise Unused("a size of 0")
    width = shapes[0][-1]
    sizes = {"kind": 0, "rows": elements / width, "width": width, "nbytes": elements * (sum(widths) + written)}
    return Found("memory bound", tuple((name, float(number)) for name, number in sizes.items()))


def _unknown(name: str) -> int:
    raise Unused(f"elements of {name}, whose bytes are not known")


def _is_dense(shape: Shape, strides: Shape) -> bool:
    """Whether the elements fill their memory without gaps, in any order of the dimensions."""
    expected = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def _families() -> Iterator[tuple[tuple[str, ...], Callable[[Operation, Kernels], Found]]]:
    yield PRODUCTS, _product
    yield STREAMS, _stream
    yield ATTENTIONS, _attention


_FAMILIES: Final = tuple(_families())
