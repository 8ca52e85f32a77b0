"""Random operands, and how far a result is from what it should be.

Never zeros, nor the same number throughout: a GPU draws less power for them, clocks higher, and is timed too fast.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from topologies.quantity import percent

SEED: Final = 6
TOLERANCE: Final = 0.02
"""Of a row's length: rounding to bf16 is off by 0.4 % at most, number by number; what is wrong is off by far more."""
NUM_ROWS: Final = 3
NUM_COLUMNS: Final = 64


def usual_dtype(device: torch.device) -> torch.dtype:
    """What people train in: bf16 on a GPU, fp32 on a processor, most of which have no instructions for less."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def random(
    *shape: int, device: torch.device, dtype: torch.dtype | None = None, seed: int = 0, scale: float = 1.0
) -> Tensor:
    """Numbers of a normal distribution, the same for the same seed and device; in what is usual there unless said."""
    generator = torch.Generator(device).manual_seed(SEED + seed)
    made = torch.randn(*shape, device=device, dtype=dtype or usual_dtype(device), generator=generator)
    return made if scale == 1.0 else made.mul_(scale)


def some(length: int, most: int) -> list[int]:
    """At most so many indices, evenly from the first to the last."""
    if length <= most:
        return list(range(length))
    return [round(index * (length - 1) / (most - 1)) for index in range(most)]


def difference(made: Tensor, expected: Tensor, rows: Sequence[int], tolerance: float = TOLERANCE) -> str:
    """What is wrong with rows of a result, beside their exact values; nothing where they are as they should be."""
    exact = expected.double()
    off = (made.double() - exact).norm(dim=-1) / exact.norm(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
    worst = int(off.nan_to_num(nan=torch.inf).argmax())
    if float(off[worst]) <= tolerance:
        return ""
    return f"result off by {percent(float(off[worst]))} at row {rows[worst]}"


def wrong_product(made: Tensor, left: Tensor, right: Tensor, scale: Tensor | float = 1.0) -> str:
    """What is wrong with made = scale left right, by some of its rows and columns computed in double precision."""
    rows, columns = some(left.shape[0], NUM_ROWS), some(right.shape[1], NUM_COLUMNS)
    expected = left[rows].double() @ right[:, columns].double() * scale
    return difference(made[rows][:, columns], expected, rows)
