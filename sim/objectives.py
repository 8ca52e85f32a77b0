"""What is promised to users: objectives such as "p99 ttft < 2 s", and limits that each request is to keep.

TTFT: from sending a request to its first token. TPOT: mean time of a further token of one answer. ITL: any one time
between two tokens. E2EL: from sending a request to its last token.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from topologies import quantity
from topologies.document import InputError, shorten

Metric = Literal["ttft", "tpot", "itl", "e2el"]
METRICS: Final[tuple[Metric, ...]] = get_args(Metric)
OF_REQUESTS: Final[tuple[Metric, ...]] = ("ttft", "tpot", "e2el")
"""Of these a request has one value each; `--goodput` takes them, too [vllm/benchmarks/serve.py at 009e6d4a]."""
Limits = dict[Metric, float]
"""Seconds that a request may take, by metric."""
_EXAMPLE = "write for example 'p99 ttft < 2 s' or 'mean tpot < 50 ms'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A percentile of a metric, over requests (ITL: over all gaps between tokens), is at most so many `seconds`.

    percentile: in per cent, 50 to 99.9; None: the mean.
    """

    metric: Metric
    percentile: float | None
    seconds: float

    @property
    def statistic(self) -> str:
        return "mean" if self.percentile is None else f"p{self.percentile:g}"

    def __str__(self) -> str:
        return f"{self.statistic} {self.metric} < {quantity.seconds(self.seconds)}"


def objective(text: str) -> Objective:
    """One objective, its words in any order: 'p99 ttft < 2 s', 'ttft p99 2s', 'p95 tpot <= 50ms', 'mean e2el < 1 s'.

    Raises InputError for an unknown metric or percentile, and for a time without a unit.
    """
    words = re.sub(r"<=?|≤|:|=", " ", text.strip().lower()).split()
    metrics = [word for word in words if word in METRICS]
    statistics = [word for word in words if re.fullmatch(r"mean|median|p\d+(\.\d+)?", word)]
    time = " ".join(word for word in words if word not in metrics and word not in statistics)
    if len(metrics) != 1:
        raise InputError(f"{shorten(text)}: an objective names one of {', '.join(METRICS)}; {_EXAMPLE}")
    if len(statistics) != 1 or not time:
        raise InputError(f"{shorten(text)}: an objective has one percentile (or mean) and one time; {_EXAMPLE}")
    found = next(metric for metric in METRICS if metric == metrics[0])
    return Objective(metric=found, percentile=_percentile(statistics[0], text), seconds=_seconds(time, text))


def limits_of(objectives: Iterable[Objective]) -> Limits:
    """What each request has to keep for all to be well: by metric the time of the highest percentile (of its times
    the least), since a lower one lets more requests take longer. A mean limits no single request, and an ITL is not a
    request's."""
    found: Limits = {}
    for each in sorted(objectives, key=lambda one: (one.percentile or 0.0, -one.seconds)):
        if each.percentile is not None and each.metric in OF_REQUESTS:
            found[each.metric] = each.seconds
    return found


def _percentile(word: str, text: str) -> float | None:
    if word == "mean":
        return None
    value = 50.0 if word == "median" else float(word[1:])
    if not 50.0 <= value <= 99.9:
        raise InputError(f"{shorten(text)}: {word} is not between p50 and p99.9; {_EXAMPLE}")
    return value


def _seconds(time: str, text: str) -> float:
    try:
        return quantity.parse(time, "s")
    except InputError as error:
        raise InputError(f"{shorten(text)}: {str(error).partition(';')[0]}; {_EXAMPLE}") from None
