"""When requests come: processes in time, each drawn exactly, whole columns at a time.

A renewal process has independent intervals; gamma distributed ones of shape k vary by 1/sqrt(k) of their mean, and
k = 1 is a Poisson process. One of changing rate is one of the highest rate, thinned [Lewis & Shedler 1979].
"""

import math
from collections.abc import Callable

import numpy as np

from sim.requests.load import Bursts, Diurnal, Load
from sim.requests.requests import Seconds


def drawn(load: Load, count: int | None, generator: np.random.Generator) -> Seconds:
    """Seconds, not falling: `count` of them, or those before the load's duration, whichever are fewer.

    Where the number alone ends the load, the intervals of a renewal process are stretched so that they take
    count/rate seconds together, and the rate is as asked whatever the seed, as `vllm bench serve` does
    [vllm/benchmarks/serve.py, 0.19, get_request].
    """
    if load.is_at_once:
        assert count is not None
        return np.zeros(count)
    assert load.rate is not None
    end = math.inf if load.duration is None else load.duration
    if load.bursts is not None:
        return _in_bursts(load.rate, load.bursts, count, end, generator)
    if load.diurnal is not None:
        return _thinned(load.rate, load.diurnal, count, end, generator)
    arrival = _renewal(load.rate, load.burstiness, count, end, generator)
    return arrival * (len(arrival) / load.rate / arrival[-1]) if end == math.inf and len(arrival) else arrival


def rate_at(time: Seconds, rate: float, diurnal: Diurnal) -> Seconds:
    """Requests per second at each time."""
    rates: Seconds = rate * (1.0 + (diurnal.peak - 1.0) * np.sin(2.0 * math.pi * time / diurnal.period))
    return rates


def _renewal(rate: float, burstiness: float, count: int | None, end: float, generator: np.random.Generator) -> Seconds:
    if burstiness == math.inf:
        return _gathered(lambda number: np.full(number, 1.0 / rate), rate, count, end)
    return _gathered(lambda number: generator.gamma(burstiness, 1.0 / (rate * burstiness), number), rate, count, end)


def _gathered(intervals: Callable[[int], Seconds], rate: float, count: int | None, end: float) -> Seconds:
    """Times of so many events or of those before `end`, of intervals that are drawn as many at a time as are likely."""
    parts: list[Seconds] = []
    last, missing = 0.0, math.inf if count is None else count
    while last < end and missing > 0:
        likely = (end - last) * rate
        number = int(min(missing, likely + 4.0 * math.sqrt(likely) + 16.0))
        times = last + np.cumsum(intervals(number))
        parts.append(times[times < end])
        last, missing = float(times[-1]), missing - number
    return np.concatenate(parts) if parts else np.zeros(0)


def _in_bursts(rate: float, bursts: Bursts, count: int | None, end: float, generator: np.random.Generator) -> Seconds:
    """A Poisson process on a clock that stands still while no requests come."""
    cycle = bursts.on + bursts.off
    whole, rest = (0.0, math.inf) if end == math.inf else divmod(end, cycle)
    ticking = math.inf if end == math.inf else whole * bursts.on + min(rest, bursts.on)
    ticks = _renewal(rate * cycle / bursts.on, 1.0, count, ticking, generator)
    times: Seconds = ticks + np.floor(ticks / bursts.on) * bursts.off
    return times


def _thinned(rate: float, diurnal: Diurnal, count: int | None, end: float, generator: np.random.Generator) -> Seconds:
    """Candidates at the peak's rate, each kept with the probability of the rate at its time over the peak's."""
    parts: list[Seconds] = []
    last, missing, peak = 0.0, math.inf if count is None else count, rate * diurnal.peak
    while last < end and missing > 0:
        number = None if missing == math.inf else int(missing * diurnal.peak + 16.0)
        candidates = last + _renewal(peak, 1.0, number, end - last, generator)
        kept = candidates[generator.random(len(candidates)) * peak < rate_at(candidates, rate, diurnal)]
        parts.append(kept if missing == math.inf else kept[: int(missing)])
        missing -= len(parts[-1])
        last = float(candidates[-1]) if len(candidates) == number else end
    return np.concatenate(parts) if parts else np.zeros(0)
