"""What fails, how often, and what it takes: published counts, turned into rates of one part.

Failures are taken as independent and memoryless, so rates add up: a job of N GPUs is as many parts in series [Kokolis
et al. 2024, whose mean time to failure falls as 1/N]. Worn parts that fail again and again are not told apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from topologies.catalogue import quick
from topologies.document import InputError, Value, closest, shorten
from topologies.quantity import DAY

Unit = Literal["gpu", "node", "switch", "link", "job"]

_RATES = Path(__file__).parent / "rates.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The parts that a job runs on; `gpus_per_switch`: GPUs below one first switch (Llama 3: a rack of two nodes)."""

    num_gpus: int
    gpus_per_node: int = 8
    gpus_per_switch: int = 16

    @property
    def num_nodes(self) -> int:
        return -(-self.num_gpus // self.gpus_per_node)

    def count(self, unit: Unit) -> int:
        """How many of these it has; a link is one of each GPU."""
        switches = -(-self.num_gpus // self.gpus_per_switch)
        counts: dict[Unit, int] = {"node": self.num_nodes, "switch": switches, "job": 1}
        return counts.get(unit, self.num_gpus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a job is interrupted; `rate` is per second and unit.

    takes_node: the node goes to repair; hangs: nothing crashes, a collective times out; is_planned: it is known before.
    """

    name: str
    rate: float
    per: Unit = "job"
    takes_node: bool = False
    hangs: bool = False
    is_planned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """All causes, and where their rates are from."""

    causes: tuple[Cause, ...]
    source: str

    def rate(self, fleet: Fleet) -> float:
        """Interruptions a second."""
        return sum(rates_on(self, fleet))

    def mean_time_between(self, fleet: Fleet) -> float:
        """Seconds; infinite where nothing fails."""
        rate = self.rate(fleet)
        return 1 / rate if rate else float("inf")


NONE = Failures(causes=(), source="no failures")


def of_hardware(failures: Failures) -> Failures:
    """Without what comes once for each job, whatever its size: bugs of its software, and what its operators plan."""
    causes = tuple(cause for cause in failures.causes if cause.per != "job")
    return Failures(causes=causes, source=f"{failures.source}; hardware only")


def rates_on(failures: Failures, fleet: Fleet) -> tuple[float, ...]:
    """The rate of each cause on all parts of a fleet, per second."""
    return tuple(cause.rate * fleet.count(cause.per) for cause in failures.causes)


def names() -> list[str]:
    """The published sets of rates."""
    return sorted(_published())


def load(name: str) -> Failures:
    """A published set of rates; InputError with the known names if there is none of that name."""
    fields = _published().get(name)
    if fields is None:
        guess = closest(name, names())
        raise InputError(f"unknown failure rates {shorten(name)}{guess or ';'} known are {', '.join(names())}")
    return Failures(causes=tuple(_causes(fields)), source=str(fields["source"]))


@lru_cache
def _published() -> Mapping[str, Mapping[str, Value]]:
    data = quick(_RATES).data
    assert isinstance(data, dict)
    return {name: fields for name, fields in data.items() if isinstance(fields, dict)}


def _causes(fields: Mapping[str, Value]) -> list[Cause]:
    units, causes, days = fields["units"], fields["causes"], fields["days"]
    assert isinstance(units, dict)
    assert isinstance(causes, dict)
    return [_cause(name, cause, units, _number(days) * DAY) for name, cause in causes.items()]


def _cause(name: str, fields: Value, units: Mapping[str, Value], seconds: float) -> Cause:
    assert isinstance(fields, dict)
    per = next(unit for unit in get_args(Unit) if unit == fields["per"])
    return Cause(
        name=name,
        rate=_number(fields["count"]) / (_number(units[per]) * seconds),
        per=per,
        takes_node=_is_set(fields, "node"),
        hangs=_is_set(fields, "hang"),
        is_planned=_is_set(fields, "planned"),
    )


def _is_set(fields: Mapping[str, Value], flag: str) -> bool:
    value = fields.get(flag, False)
    assert isinstance(value, bool)
    return value


def _number(value: Value) -> float:
    assert isinstance(value, (int, float))
    return float(value)
