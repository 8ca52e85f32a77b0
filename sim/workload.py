"""What is asked of the cluster: a training step, and the run that is made of such steps."""

from dataclasses import dataclass
from typing import Literal, get_args

Precision = Literal["bf16", "fp16", "fp8", "mxfp8", "nvfp4"]
Price = float | Literal["on-demand", "reserved"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertLoad:
    """How the router deals tokens to the experts of a layer.

    balanced: to all alike. power_law: an expert's popularity is drawn from a density x^-`exponent`, between limits: in
    training those of a batch (sim.costs.expert_load), in serving of a whole load (expert_routing). histogram: it is
    proportional to what `histograms` says of each expert; one histogram for all layers, or one for each layer that has
    experts. The ranks of an ep group take the experts in order, so many each.
    capacity_factor: an expert takes at most so many times its even share of the tokens and drops the rest, and is
    padded up to that; None drops nothing.
    """

    kind: Literal["balanced", "power_law", "histogram"] = "balanced"
    exponent: float = 0.0
    histograms: tuple[tuple[float, ...], ...] = ()
    capacity_factor: float | None = None


ROUTED = ExpertLoad(kind="power_law", exponent=1.0)
"""How a served model's router deals tokens where nobody says it: none is even. The exponent is about that
of published loads [aiconfigurator, collector: x^-1.01 for DeepSeek-V3, x^-1.2 for Qwen3-235B]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStep:
    """One optimizer step on sequences of `seq_len` tokens; how many of them is the plan's (`Plan.global_batch`).

    `precision` is that of the large products: fp8 with a scale per tensor, mxfp8 with one for every 32 values, nvfp4
    for every 16. All else is in 16 bits then, and the optimizer's state is kept in 32.
    """

    seq_len: int
    precision: Precision
    experts: ExpertLoad = ExpertLoad()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """All steps of a training: the tokens it sees, and dollars per GPU-hour, or which list price; None is not said."""

    tokens: int | None = None
    price: Price | None = None
