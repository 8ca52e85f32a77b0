"""Units: text such as "450 GB/s" outside, SI floats (bytes, seconds, FLOP/s, watts) inside.

Prefixes are decimal (k, M, G, T, P) or binary (Ki, Mi, Gi, Ti, Pi); `b` is a bit and `B` a byte, as network vendors and
memory vendors write them: 400 Gb/s are 50 GB/s. Every factor such as 1e9 or 1024 of the project lives in this file.
"""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, NamedTuple

from topologies.document import InputError, shorten

KILO, MEGA, GIGA, TERA, PETA = 1e3, 1e6, 1e9, 1e12, 1e15
KB, MB, GB, TB = KILO, MEGA, GIGA, TERA
KIB, MIB, GIB, TIB = 2.0**10, 2.0**20, 2.0**30, 2.0**40
MILLISECOND, MICROSECOND, NANOSECOND = 1e-3, 1e-6, 1e-9
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
BITS_PER_BYTE = 8
SMALLEST, LARGEST = 1e-15, 1e30

Unit = Literal["B", "B/s", "s", "FLOP/s", "W"]

_COUNTS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


class _Dimension(NamedTuple):
    """What a unit measures, an example for messages, and the SI value of each spelling."""

    noun: str
    example: str
    factors: Mapping[str, float]


_PREFIXES = {"": 1.0, "k": KILO, "K": KILO, "M": MEGA, "G": GIGA, "T": TERA, "P": PETA}
_PREFIXES |= {"Ki": KIB, "Mi": MIB, "Gi": GIB, "Ti": TIB, "Pi": 2.0**50}
_TIMES = {"s": 1.0, "ms": MILLISECOND, "us": MICROSECOND, "µs": MICROSECOND, "μs": MICROSECOND, "ns": NANOSECOND}
_QUANTITY = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?)\s*([^\s\d.][^\s]*)?", re.ASCII)


def _prefixed(*symbols: str, scale: float = 1.0) -> dict[str, float]:
    return {prefix + symbol: factor * scale for symbol in symbols for prefix, factor in _PREFIXES.items()}


_DIMENSIONS: dict[str, _Dimension] = {
    "B": _Dimension("size", "80 GB", _prefixed("B")),
    "B/s": _Dimension(
        "bandwidth", "450 GB/s", _prefixed("B/s") | _prefixed("b/s", "bit/s", "bps", scale=1 / BITS_PER_BYTE)
    ),
    "s": _Dimension("time", "1.5 us", _TIMES),
    "FLOP/s": _Dimension("rate of computing", "312 TFLOP/s", _prefixed("FLOP/s", "FLOPS", "FLOPs", "flops", "OP/s")),
    "W": _Dimension("power", "700 W", _prefixed("W")),
}


def parse(text: object, unit: Unit) -> float:
    """The amount in SI units: parse("450 GB/s", "B/s") == 4.5e11.

    Raises InputError unless `text` is a number with a unit of the right kind, positive and at most 1e30.
    """
    dimension = _DIMENSIONS[unit]
    fix = f"write for example '{dimension.example}'"
    found = _QUANTITY.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None and not isinstance(text, (int, float)):
        raise InputError(f"{shorten(text)} is not a {dimension.noun}; {fix}")
    if found is None or found[2] is None:
        raise InputError(f"{shorten(text)} has no unit; {fix}")
    if found[2] not in dimension.factors:
        raise InputError(f"{shorten(text)} is not a {dimension.noun}; {fix}")
    amount = float(Decimal(found[1]) * Decimal(repr(dimension.factors[found[2]])))
    return _positive(amount, shorten(text), dimension.noun)


def example(unit: Unit) -> str:
    """How an amount of that unit may be written: '450 GB/s'."""
    return _DIMENSIONS[unit].example


def pattern(unit: Unit) -> str:
    """What such an amount looks like, as a regular expression for editors."""
    units = "|".join(_DIMENSIONS[unit].factors)
    return rf"^\s*\+?(\d+\.?\d*|\.\d+)([eE][-+]?\d{{1,3}})?\s*({units})\s*$"


def count(text: object) -> int:
    """A whole number, with K, M, B (10^9) or T behind it: count("1.5T") == 1_500_000_000_000.

    Raises InputError unless `text` is such a number, positive and at most 1e30.
    """
    found = _QUANTITY.fullmatch(str(text).strip())
    suffix = (found[2] or "").upper().replace("G", "B") if found else ""
    if found is None or isinstance(text, bool) or suffix not in _COUNTS:
        raise InputError(f"{shorten(text)} is not a number of things; write for example 300B or 15T")
    amount = Decimal(found[1]) * _COUNTS[suffix]
    _positive(float(amount), shorten(text), "number")
    if amount != int(amount):
        raise InputError(f"{shorten(text)} is not a whole number; write for example 300B or 15T")
    return int(amount)


def count_text(number: int) -> str:
    """A whole number as `count` reads it, exactly, as short as it can be: '15T', '1500B'."""
    suffix = max((suffix for suffix, factor in _COUNTS.items() if number % factor == 0), key=lambda key: _COUNTS[key])
    return f"{number // _COUNTS[suffix]}{suffix}"


def seconds(time: float) -> str:
    """A time for people, with four digits: '1.234 s', '56.78 ms', '3.1 us'."""
    return _scaled(time, {1.0: "s", MILLISECOND: "ms", MICROSECOND: "us", NANOSECOND: "ns"})


def nbytes(size: float) -> str:
    """A size for people, in binary units as memory is counted: '79.15 GiB'."""
    return _scaled(size, {TIB: "TiB", GIB: "GiB", MIB: "MiB", KIB: "KiB", 1.0: "B"})


def rate(bandwidth: float) -> str:
    """A bandwidth for people: '450 GB/s'."""
    return _scaled(bandwidth, {TB: "TB/s", GB: "GB/s", MB: "MB/s", KB: "kB/s", 1.0: "B/s"})


def flops(rate_of_computing: float) -> str:
    """FLOP/s for people: '312 TFLOP/s'."""
    return _scaled(
        rate_of_computing, {PETA: "PFLOP/s", TERA: "TFLOP/s", GIGA: "GFLOP/s", MEGA: "MFLOP/s", 1.0: "FLOP/s"}
    )


def percent(fraction: float, decimals: int = 1) -> str:
    """A fraction for people."""
    return f"{fraction:.{decimals}%}".replace("%", " %")


def _positive(amount: float, shown: str, noun: str) -> float:
    if not math.isfinite(amount) or amount > LARGEST:
        raise InputError(f"{shown}: absurdly large for a {noun}; check the unit")
    if amount <= 0:
        raise InputError(f"{shown}: a {noun} must be positive")
    if amount < SMALLEST:
        raise InputError(f"{shown}: absurdly small for a {noun}; check the unit")
    return amount


def _scaled(amount: float, units: Mapping[float, str]) -> str:
    """The amount in the largest unit that it fills at least once (else the smallest), with four digits."""
    fitting = [factor for factor in units if abs(amount) >= factor * (1 - 5e-5)]
    factor = max(fitting, default=min(units))
    return f"{amount / factor:.4g} {units[factor]}"
