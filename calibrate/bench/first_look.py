"""A first look at a GPU that no catalogue has, in a few seconds: how fast it multiplies, attends, copies and begins.

Its sheet is made from that and from what its driver tells (machines/own_gpu.py); the laws then say the rest.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from calibrate.bench.gemm import quantised
from calibrate.bench.point import Ranks, Run
from calibrate.bench.tensors import random
from calibrate.bench.timing import time_alone
from calibrate.machines.own_gpu import Seen
from topologies.quantity import GIB

Shape = tuple[int, int, int]

PRODUCTS: Final[Sequence[Shape]] = ((4096, 4096, 4096), (8192, 8192, 8192), (16384, 8192, 4096))
ATTENTION: Final = (4, 16, 4096, 128)
"""Batch, heads, tokens, size of a head."""
COPIED: Final = int(GIB)
SIXTEEN_BITS: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}
FIRST_WITH_BF16: Final = 8
"""Compute capability: what came before only imitates it [PyTorch, torch.cuda.is_bf16_supported]."""
BACKWARD: Final = 2.5
"""Five products for the two of forward."""


def seen(
    ranks: Ranks,
    *,
    products: Sequence[Shape] = PRODUCTS,
    attention: tuple[int, int, int, int] = ATTENTION,
    copied: int = COPIED,
) -> Seen:
    """What this rank's device shows; all ranks look at once, as they measure later."""
    rates = dict(_rates(ranks, products))
    forward, backward = _attending(ranks, attention, SIXTEEN_BITS["bf16" if "bf16" in rates else "fp16"])
    num_sms, l2_nbytes = _driver(ranks.device)
    return Seen(
        rates=rates,
        forward=forward,
        backward=backward,
        copied=2 * copied / _seconds(_copy(ranks.device, copied), ranks),
        shortest=_seconds(partial(torch.zeros(8, device=ranks.device).add_, 1.0), ranks),
        num_sms=num_sms,
        l2_nbytes=l2_nbytes,
    )


def _driver(device: torch.device) -> tuple[int, float]:
    """SMs, and bytes of the L2."""
    if device.type != "cuda":
        return 1, GIB
    told = torch.cuda.get_device_properties(device)
    return told.multi_processor_count, float(told.L2_cache_size)


def _rates(ranks: Ranks, products: Sequence[Shape]) -> Iterator[tuple[str, float]]:
    """The best of the products in each precision that the device has."""
    makers: dict[str, Callable[[Shape, torch.device], Callable[[], object]]] = {
        **{name: partial(_product, dtype) for name, dtype in SIXTEEN_BITS.items() if _has(name, ranks.device)},
        "fp32": partial(_product, torch.float32),
        "fp8": _fp8,
    }
    for precision, make in makers.items():
        try:
            yield precision, max(2.0 * prod(shape) / _seconds(make(shape, ranks.device), ranks) for shape in products)
        except (RuntimeError, NotImplementedError, AttributeError):  # no such products here, as of fp8 before Ada
            continue


def _has(precision: str, device: torch.device) -> bool:
    if precision != "bf16" or device.type != "cuda":
        return True
    return torch.cuda.get_device_properties(device).major >= FIRST_WITH_BF16


def _product(dtype: torch.dtype, shape: Shape, device: torch.device) -> Callable[[], object]:
    m, n, k = shape
    left, right = random(m, k, device=device, dtype=dtype), random(n, k, device=device, dtype=dtype, seed=1)
    return partial(torch.mm, left, right.t(), out=torch.empty(m, n, device=device, dtype=dtype))


def _fp8(shape: Shape, device: torch.device) -> Callable[[], object]:
    """Of operands that are cast already."""
    m, n, k = shape
    left, left_scale = quantised(random(m, k, device=device, dtype=torch.bfloat16))
    right, right_scale = quantised(random(n, k, device=device, dtype=torch.bfloat16, seed=1))
    return lambda: torch._scaled_mm(left, right.t(), scale_a=left_scale, scale_b=right_scale, out_dtype=torch.bfloat16)


def _attending(ranks: Ranks, sizes: tuple[int, int, int, int], dtype: torch.dtype) -> tuple[float, float]:
    """FLOP/s of full attention, forward and backward."""
    batch, heads, length, width = sizes
    flops = 4.0 * batch * heads * length**2 * width
    q, k, v, above = (random(*sizes, device=ranks.device, dtype=dtype, seed=seed) for seed in range(4))
    forward = flops / _seconds(partial(scaled_dot_product_attention, q, k, v), ranks)
    leaves = [leaf.requires_grad_() for leaf in (q, k, v)]
    made = scaled_dot_product_attention(q, k, v)
    back = partial(torch.autograd.grad, made, leaves, above, retain_graph=True)
    return forward, BACKWARD * flops / _seconds(back, ranks)


def _copy(device: torch.device, nbytes: int) -> Callable[[], Tensor]:
    source = random(nbytes // 2, device=device, dtype=torch.bfloat16)
    return partial(torch.empty_like(source).copy_, source)


def _seconds(go: Callable[[], object], ranks: Ranks) -> float:
    return time_alone(Run(go, str), ranks).seconds
