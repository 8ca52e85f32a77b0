"""The noun: how requests come, how long they are, and which of them begin alike; `made` makes them.

Requests come at a rate, as a trace says, or all at once; with a concurrency they wait until one of so many users is
free, which alone is a closed loop. In sessions each turn follows the answer to the one before, and begins with it.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from topologies.quantity import DAY

DEFAULT_PROMPT: Final = 1024.0
DEFAULT_OUTPUT: Final = 128.0
DEFAULT_REQUESTS: Final = 1000
"""Tokens and requests where nobody says how many: those of `vllm bench serve` [vllm/benchmarks/serve.py, datasets.py,
0.19: --random-input-len, --random-output-len, --num-prompts]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Whole numbers, 1 or more, around `mean`.

    uniform: from floor(mean (1 - range_ratio)) to ceil(mean (1 + range_ratio)), both included, as `vllm bench serve
    --random-range-ratio` [vllm/benchmarks/datasets.py, 0.19]. normal and lognormal: of that mean and standard
    `deviation`, rounded; what falls below 1 is 1, which lifts the mean of a wide normal.
    """

    mean: float
    kind: Literal["fixed", "uniform", "normal", "lognormal"] = "fixed"
    range_ratio: float = 0.0
    deviation: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bursts:
    """Seconds in which requests come, and in which none does, in turn; the load's rate is the mean over both."""

    on: float
    off: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Diurnal:
    """The rate is rate (1 + (peak - 1) sin(2 pi t / period)): `peak`, 1 to 2, is its highest over its mean; seconds."""

    peak: float
    period: float = DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """`tokens` that come before each prompt and are common to all, or, dealt at random, to each of `groups`.

    As `vllm bench serve --random-prefix-len`, they are counted on top of the prompt's own length.
    """

    tokens: int
    groups: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """Conversations of so many `turns`, of which each prompt holds all that was said before and new tokens.

    `think_time`: mean seconds from an answer to the next turn, exponentially distributed.
    """

    turns: Distribution
    think_time: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How requests come.

    rate: requests (or, where there are sessions, sessions) that begin in a second, on average; infinite: all at once.
    None: as the trace says, and all at once without one.
    burstiness: the intervals are gamma distributed with this shape, as `vllm bench serve --burstiness`: 1 is a Poisson
    process, less is burstier, infinite a fixed interval. bursts and diurnal are Poisson processes of changing rate.
    num_requests, turns included, and duration in seconds end the load, whichever is first. None: the whole trace, or
    1,000 requests. concurrency: at most so many are under way.
    prompt, output: tokens; of sessions, of each turn. None: the trace's, or 1,024 and 128.
    trace: its rows are taken in their order, or, where more are asked for than it has, drawn at random; of its
    `window` (seconds after its first request: from, to) alone; rate_scale times as fast as they came.
    """

    rate: float | None = None
    burstiness: float = 1.0
    bursts: Bursts | None = None
    diurnal: Diurnal | None = None
    num_requests: int | None = None
    duration: float | None = None
    concurrency: int | None = None
    prompt: Distribution | None = None
    output: Distribution | None = None
    prefix: Prefix | None = None
    sessions: Sessions | None = None
    trace: Path | None = None
    rate_scale: float = 1.0
    window: tuple[float, float] | None = None

    @property
    def is_replay(self) -> bool:
        """Whether requests come when the trace says."""
        return self.trace is not None and self.rate is None

    @property
    def is_at_once(self) -> bool:
        return (self.trace is None and self.rate is None) or self.rate == math.inf
