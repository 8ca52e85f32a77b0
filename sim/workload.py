"""What is asked of the cluster: a training step, and the run that is made of such steps."""

from dataclasses import dataclass
from typing import Literal, get_args

Precision = Literal["bf16", "fp16", "fp8", "mxfp8", "nvfp4"]
Price = float | Literal["on-demand", "reserved"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStep:
    """One optimizer step on sequences of `seq_len` tokens; how many of them is the plan's (`Plan.global_batch`).

    `precision` is that of the large products: fp8 with a scale per tensor, mxfp8 with one for every 32 values, nvfp4 for
    every 16. All else is in 16 bits then, and the optimizer's state is kept in 32.
    """

    seq_len: int
    precision: Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """All steps of a training: the tokens it sees, and dollars per GPU-hour, or which list price; None is not said."""

    tokens: int | None = None
    price: Price | None = None
