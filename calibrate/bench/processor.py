"""The data sheet of this machine's processor, as one process of those that measure sees it, in a few seconds.

A process gets one thread. What was the best of a few shapes stands where a GPU has its peak, with some room above: the
machine may be quieter later. All is in fp32, in which it also makes what layers reckon in 16 bits.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from calibrate.bench.point import Ranks, Run
from calibrate.bench.tensors import random
from calibrate.bench.timing import repeated_on_processor, sample_on_processor
from calibrate.machines.at_hand import processor_part
from topologies import quantity
from topologies.document import Document, Value, validate
from topologies.quantity import KIB, MIB
from topologies.sheets import GpuSheet

PRODUCTS: Final = ((128, 512, 128), (256, 256, 256), (512, 512, 512))
ATTENTION: Final = (1, 4, 512, 64)
"""Batch, heads, tokens, size of a head."""
COPIED: Final = int(128 * MIB)
HEADROOM: Final = 1.3
"""Peak and bandwidth over the best that was seen."""
NOMINAL_POWER: Final = "100 W"
"""No prediction looks at it."""
CACHES: Final = Path("/sys/devices/system/cpu/cpu0/cache")
NO_CACHES: Final = 32 * MIB
"""Where the machine does not say."""


def sheets(ranks: Ranks) -> dict[str, Value]:
    """The fields of a GPU's sheet, for the processor; all ranks call it at once, for they share memory and caches."""
    product, forward, backward = _rates(ranks.device)
    bandwidth = 2 * COPIED / _seconds(_copy(ranks.device))
    tiny = torch.zeros(8)
    peak = HEADROOM * max(product, forward, backward)
    made: dict[str, Value] = {
        "name": processor_part(),
        "peak_flops": {"bf16": quantity.flops(peak), "fp32": quantity.flops(peak)},
        "memory": quantity.nbytes(_memory_nbytes() / ranks.num_ranks),
        "memory_bandwidth": quantity.rate(HEADROOM * bandwidth),
        "num_sms": 1,
        "l2_cache": quantity.nbytes(_cache_nbytes()),
        "power_limit": NOMINAL_POWER,
        "achievable": {
            "gemm_efficiency": _share(product, peak),
            "memory_efficiency": _share(1.0, HEADROOM),
            "kernel_latency": quantity.seconds(_seconds(lambda: tiny.add_(1.0))),
            "flash_forward_efficiency": _share(forward, peak),
            "flash_backward_efficiency": _share(backward, peak),
        },
    }
    validate(Document(name="processor", data=made, lines={}), GpuSheet)
    return made


def _rates(device: torch.device) -> tuple[float, float, float]:
    """FLOP/s: the best product, and full attention, forward and backward."""
    batch, heads, length, width = ATTENTION
    flops = 4.0 * batch * heads * length**2 * width
    q, k, v, above = (random(batch, heads, length, width, device=device, seed=seed) for seed in range(4))
    forward = flops / _seconds(lambda: scaled_dot_product_attention(q, k, v))
    leaves = [leaf.requires_grad_() for leaf in (q, k, v)]
    made = scaled_dot_product_attention(q, k, v)
    backward = 2.5 * flops / _seconds(lambda: torch.autograd.grad(made, leaves, above, retain_graph=True))
    product = max(2.0 * m * n * k / _seconds(_product(m, n, k, device)) for m, n, k in PRODUCTS)
    return product, forward, backward


def _product(m: int, n: int, k: int, device: torch.device) -> Callable[[], Tensor]:
    left, right = random(m, k, device=device), random(n, k, device=device, seed=1)
    return lambda: left @ right.t()


def _copy(device: torch.device) -> Callable[[], Tensor]:
    source = random(COPIED // 4, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def _seconds(go: Callable[[], object]) -> float:
    return repeated_on_processor(sample_on_processor(Run(go, str))).seconds


def _share(part: float, whole: float) -> float:
    """A fraction with four digits."""
    return float(f"{part / whole:.4g}")


def _memory_nbytes() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _cache_nbytes() -> float:
    """The largest cache, which is the last before the memory."""
    sizes = [float(path.read_text(encoding="ascii").strip().rstrip("K")) * KIB for path in CACHES.glob("index*/size")]
    return max(sizes, default=NO_CACHES)
