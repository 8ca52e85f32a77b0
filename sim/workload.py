"""What is asked of the cluster: a training step."""

from dataclasses import dataclass
from typing import Literal, get_args

Precision = Literal["bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStep:
    """One optimizer step on sequences of `seq_len` tokens; how many of them is the plan's (`Plan.global_batch`).

    `precision` is that of the large products; the optimizer's state is kept in 32 bits.
    """

    seq_len: int
    precision: Precision
