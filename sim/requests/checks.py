"""What a load may say: amounts in their ranges, and nothing beside what makes it idle."""

import math
from typing import Final

from sim.requests.load import Distribution, Load
from topologies.document import InputError, shorten

MAX_TOKENS: Final = 10_000_000
"""Of one prompt or answer; more is a mistake, as the longest contexts that any model has been trained for."""
MAX_REQUESTS: Final = 20_000_000
"""Of one load: a few hundred bytes each."""
MAX_TURNS: Final = 10_000
MAX_SECONDS: Final = 1e9


def check(load: Load) -> None:
    """Raises InputError, which begins with the field, for a load that no requests can be made of."""
    _check_arrivals(load)
    _check_extent(load)
    for name in ("prompt", "output"):
        _check_distribution(getattr(load, name), name, "tokens", MAX_TOKENS)
    if load.prefix is not None:
        _check_count(load.prefix.tokens, "prefix.tokens", MAX_TOKENS)
        _check_count(load.prefix.groups, "prefix.groups", MAX_REQUESTS)
    if load.sessions is not None:
        _check_distribution(load.sessions.turns, "sessions.turns", "turns", MAX_TURNS)
        _check_number(load.sessions.think_time, "sessions.think_time", 0.0, MAX_SECONDS, "seconds; write 10")


def _check_arrivals(load: Load) -> None:
    if load.rate is not None and load.rate != math.inf:
        _check_positive(load.rate, "rate", "requests per second; write 4, or inf for all at once")
    if load.burstiness != math.inf:
        _check_positive(load.burstiness, "burstiness", "a shape; write 1 for Poisson, less for bursts")
    shapes = {"burstiness": load.burstiness != 1, "bursts": load.bursts, "diurnal": load.diurnal}
    given = [name for name, value in shapes.items() if value]
    if len(given) > 1:
        raise InputError(f"{given[0]}: not with {given[1]}; keep one of them")
    if given and (load.rate is None or load.rate == math.inf):
        raise InputError(f"{given[0]}: needs a rate; write rate: 4")
    if load.bursts is not None:
        _check_positive(load.bursts.on, "bursts.on", "seconds; write 10")
        _check_number(load.bursts.off, "bursts.off", 0.0, MAX_SECONDS, "seconds; write 50")
    if load.diurnal is not None:
        _check_number(load.diurnal.peak, "diurnal.peak", 1.0, 2.0, "the highest rate over the mean; write 1.8")
        _check_positive(load.diurnal.period, "diurnal.period", "seconds; write 86400")


def _check_extent(load: Load) -> None:
    if load.num_requests is not None:
        _check_count(load.num_requests, "num_requests", MAX_REQUESTS)
    if load.concurrency is not None:
        _check_count(load.concurrency, "concurrency", MAX_REQUESTS)
    if load.duration is not None:
        _check_positive(load.duration, "duration", "seconds; write 600")
        if load.is_at_once:
            raise InputError("duration: all requests come at once; write num_requests, or a rate")
        if load.num_requests is None and (load.rate or 0) * load.duration > MAX_REQUESTS:
            raise InputError(f"duration: more than {MAX_REQUESTS:,} requests; write fewer seconds or a lower rate")
    _check_trace(load)


def _check_trace(load: Load) -> None:
    _check_positive(load.rate_scale, "rate_scale", "a factor; write 2 for twice as fast")
    if load.rate_scale != 1 and not load.is_replay:
        raise InputError("rate_scale: only where requests come as a trace says; name a trace and write no rate")
    if load.window is None:
        return
    if load.trace is None:
        raise InputError("window: it is of a trace; name one, or write duration")
    start, end = load.window
    if not 0 <= start < end:
        raise InputError(
            f"window: from {start:g} to {end:g} s holds nothing; write seconds from and to, such as 0, 600"
        )


def _check_distribution(distribution: Distribution | None, name: str, unit: str, largest: int) -> None:
    if distribution is None:
        return
    _check_number(distribution.mean, name, 1.0, largest, f"{unit}; write 8")
    if distribution.kind == "fixed" and distribution.mean != int(distribution.mean):
        raise InputError(
            f"{name}: {distribution.mean:g} is not a whole number of {unit}; write {distribution.mean:.0f}"
        )
    if not 0 <= distribution.range_ratio < 1:
        raise InputError(f"{name}.range_ratio: must be at least 0 and below 1, got {shorten(distribution.range_ratio)}")
    _check_number(distribution.deviation, f"{name}.deviation", 0.0, largest, f"{unit}; write 4")


def _check_count(value: int, name: str, largest: int) -> None:
    if not 1 <= value <= largest:
        raise InputError(f"{name}: must be a whole number from 1 to {largest:,}, got {shorten(value)}")


def _check_positive(value: float, name: str, what: str) -> None:
    if not 0 < value <= MAX_SECONDS:
        raise InputError(f"{name}: must be positive and at most {MAX_SECONDS:.0e}, got {shorten(value)} ({what})")


def _check_number(value: float, name: str, lowest: float, largest: float, what: str) -> None:
    if not lowest <= value <= largest:
        raise InputError(f"{name}: must be from {lowest:g} to {largest:g}, got {shorten(value)} ({what})")
