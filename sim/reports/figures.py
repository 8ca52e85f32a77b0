"""What a report says first, in words: the same figures for the terminal and for the page.

Model FLOPs utilisation counts the useful work, hardware FLOPs utilisation the recomputation too; what is missing to
100 % is the time that kernels fall short of the peak, plus the parts of the step in which no kernel runs.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sim import models
from sim.reports.palette import KINDS, MEMORY, Kind, holding, part
from sim.scenario.scenario import is_file
from sim.training import TrainingReport
from topologies.quantity import GIB, GIGA, MEGA, TERA, seconds
from topologies.quantity import percent as percent

USED_AS_IT_IS = ("name", "nodes", "gpus_per_node")
"""What a scenario may say of a known cluster without making it another."""
LEAST_SHARE = 0.0005
CENTS_BELOW = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of the headline, as text; `is_bad` where it says that the plan cannot be run."""

    name: str
    value: str
    detail: str = ""
    is_bad: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A part of a bar: how it looks, how much it is (in the bar's unit), and that as text."""

    kind: Kind
    amount: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What one pipeline rank's memory holds at its peak, in GiB: allocated, and with the allocator's reserve; and how
    much its GPUs have room for."""

    shares: tuple[Share, ...]
    allocated: float
    reserved: float
    capacity: float

    @property
    def fits(self) -> bool:
        return self.reserved <= self.capacity


def title(report: TrainingReport) -> str:
    """Model, number of GPUs, cluster; the first and the last with a word where they are not as their name says."""
    gpus, scenario = report.plan.num_gpus, report.scenario
    model = report.model.name + ("" if _is_own(scenario.get("model")) else _changed(scenario.get("model"), ("name",)))
    cluster = report.cluster.name + _changed(scenario.get("cluster"), USED_AS_IT_IS)
    return f"{model} on {gpus} GPU{'' if gpus == 1 else 's'} of {cluster}"


def layout(report: TrainingReport) -> str:
    """The plan in a line: 'tp 8, pp 2, vpp 2, dp 4, zero 1; interleaved, recompute none; 512 sequences a step'."""
    plan = report.plan
    degrees = {name: getattr(plan, name) for name in ("tp", "cp", "pp", "vpp", "ep", "dp")}
    said = ", ".join(f"{name} {degree}" for name, degree in degrees.items() if degree > 1 or name in ("tp", "pp", "dp"))
    order = f"{plan.schedule}, " if plan.pp > 1 else ""
    batch = (
        f"{plan.global_batch:,} sequences a step, {plan.micro_batch} a microbatch, {plan.num_microbatches:,} of them"
    )
    return f"{said}, zero {plan.zero}; {order}recompute {plan.recompute}; {batch}"


def _is_own(model: object) -> bool:
    """Whether a model is written out whole, under a name that the catalogue does not have."""
    name = str(model.get("name")) if isinstance(model, Mapping) else ""
    return bool(name) and not is_file(name) and models.find(name) is None


def _changed(reference: object, as_it_is: Sequence[str]) -> str:
    """' (changed)' for a known name with other fields over it."""
    is_changed = (
        isinstance(reference, Mapping) and "name" in reference and any(key not in as_it_is for key in reference)
    )
    return " (changed)" if is_changed else ""


def warning(report: TrainingReport) -> str:
    """That the plan cannot be run, where it does not fit in memory."""
    if report.result["fits"]:
        return ""
    _, need, room = tightest(report)
    return (
        f"Out of memory: {need:.1f} GiB needed of {room:.1f} GiB. The times are what the step would take if it fitted."
    )


def scenario_rows(scenario: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """Every setting with its value; nested settings as `plan.tp`."""
    rows: list[tuple[str, str]] = []
    for key, value in scenario.items():
        if isinstance(value, Mapping):
            rows += scenario_rows(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", _plain(value)))
    return rows


def headline(report: TrainingReport) -> tuple[Figure, ...]:
    """The numbers that people ask for first, the step time at the front."""
    result = report.result
    return (
        Figure(name="step time", value=seconds(number(result, "step_time_s")), detail=interval(result)),
        Figure(name="MFU", value=percent(number(result, "mfu")), detail=_other_utilisations(result)),
        Figure(
            name="tokens/s",
            value=f"{number(result, 'tokens_per_s'):,.0f}",
            detail=f"{number(result, 'tokens_per_s_per_gpu'):,.0f} per GPU",
        ),
        Figure(
            name="TFLOP/s per GPU",
            value=f"{number(result, 'model_tflops_per_gpu'):,.0f}",
            detail=f"{number(result, 'hardware_tflops_per_gpu'):,.0f} with recomputation",
        ),
        Figure(
            name="peak memory",
            value=f"{tightest(report)[0]:.1f} GiB",
            detail=_memory_verdict(report),
            is_bad=not result["fits"],
        ),
        *_costs(report),
    )


def _costs(report: TrainingReport) -> tuple[Figure, ...]:
    """What a step and the whole run cost, where the result says; without a price, how long the run takes."""
    run = report.result.get("run")
    if not isinstance(run, Mapping):
        return ()
    tokens = count(number(run, "tokens"))
    if report.result.get("price_per_gpu_hour_usd") is None:
        cost = "no price known: --price 2.50 gives one"
        return (Figure(name=f"run of {tokens} tokens", value=days(number(run, "days")), detail=cost),)
    price = dollars(number(report.result, "price_per_gpu_hour_usd"))
    per_step = dollars(number(report.result, "cost_per_step_usd"))
    num_gpus, each = report.plan.num_gpus, "on average" if report.cluster.is_mixed else "each"
    rented = f"1 GPU at {price} an hour" if num_gpus == 1 else f"{num_gpus:,} GPUs at {price} an hour {each}"
    took = f"{days(number(run, 'days'))}, {count(number(run, 'gpu_hours'))} GPU-hours"
    return (
        Figure(name="cost per step", value=per_step, detail=rented),
        Figure(name=f"run of {tokens} tokens", value=dollars(number(run, "cost_usd")), detail=took),
    )


def _other_utilisations(result: Mapping[str, object]) -> str:
    """With what is recomputed; and with half of the attention scores, as a causal kernel computes them."""
    return f"{percent(number(result, 'hfu'))} HFU; MFU {percent(number(result, 'mfu_causal'))} with causal attention"


def interval(result: Mapping[str, object]) -> str:
    """The range that holds the step time with 80 % probability, or that none is known."""
    bounds = result.get("interval")
    if not isinstance(bounds, Mapping) or bounds.get("p10_s") is None or bounds.get("p90_s") is None:
        return "no interval is known yet"
    return f"80 % within {seconds(number(bounds, 'p10_s'))} to {seconds(number(bounds, 'p90_s'))}"


def provenance(result: Mapping[str, object]) -> str:
    """On which values the time rests: measured, interpolated, extrapolated, data sheet."""
    shares = result.get("parameters")
    if not isinstance(shares, Mapping):
        return ""
    known = [(key, number(shares, key)) for key in shares if number(shares, key) > 0]
    names = {"datasheet": "data-sheet"}
    said = ", ".join(f"{percent(share, 0)} {names.get(key, key)}" for key, share in known)
    return f"Of the time, by where its parameters come from: {said}." if known else ""


def sentence(report: TrainingReport) -> str:
    """Where the time goes, largest part first after the computation."""
    parts = breakdown(mapping(report.result, "breakdown"))
    computed = sum(share.amount for share in parts if share.kind.title == "compute")
    rest = sorted((s for s in parts if s.kind.title != "compute"), key=lambda share: -share.amount)
    lost = ", ".join(f"{share.kind.title} {share.text}" for share in rest)
    step = seconds(number(report.result, "step_time_s"))
    return f"Kernels compute for {percent(computed)} of each {step} step" + (f"; the rest is {lost}." if lost else ".")


def breakdown(fractions: Mapping[str, object]) -> tuple[Share, ...]:
    """The parts of a step that show in per cent with one decimal, in the order given, as fractions."""
    amounts = ((part(key), number(fractions, key)) for key in fractions)
    return tuple(
        Share(kind=kind, amount=amount, text=percent(amount)) for kind, amount in amounts if amount >= LEAST_SHARE
    )


def holdings(report: TrainingReport) -> tuple[Holdings, ...]:
    """Per pipeline rank, what its memory holds at the peak."""
    reserved = numbers(report.result, "peak_reserved_gib")
    ranks = zip(report.memory, reserved, report.memory_capacity_gib, strict=True)
    return tuple(_holdings(held, end, room) for held, end, room in ranks)


def memory_scale(held: Iterable[Holdings]) -> float:
    """GiB that the longest bar of memory stands for: the largest capacity or need."""
    return max((max(one.capacity, one.reserved) for one in held), default=0.0)


def legend(bars: Iterable[Iterable[Share]]) -> tuple[Kind, ...]:
    """The kinds that occur in any of the bars, each once, in the palette's order."""
    order = [(kind.letter, kind.color) for kind in (*KINDS.values(), *MEMORY.values())]
    places = {look: place for place, look in enumerate(order)}
    used = dict.fromkeys(share.kind for bar in bars for share in bar)
    return tuple(sorted(used, key=lambda kind: places.get((kind.letter, kind.color), len(places))))


def tightest(report: TrainingReport) -> tuple[float, float, float]:
    """The pipeline rank that has least memory to spare: GiB allocated, GiB with the reserve, and GiB there are."""
    allocated, reserved = numbers(report.result, "peak_memory_gib"), numbers(report.result, "peak_reserved_gib")
    ranks = zip(allocated, reserved, report.memory_capacity_gib, strict=True)
    return max(ranks, key=lambda rank: rank[1] - rank[2], default=(0.0, 0.0, 0.0))


def count(amount: float) -> str:
    """A count for people, with three digits: '512', '14,600', '1.5 M', '15 T'."""
    for factor, letter in ((TERA, "T"), (GIGA, "B"), (MEGA, "M")):
        if amount >= factor * (1 - 5e-4):
            return f"{amount / factor:.3g} {letter}"
    return f"{amount:,.0f}"


def dollars(amount: float) -> str:
    """An amount of money for people: '$0.000033', '$0.0042', '$4.17', '$41,700', '$4.17 M'."""
    if amount >= MEGA:
        return f"${count(amount)}"
    if amount >= CENTS_BELOW:
        return f"${amount:,.0f}"
    return f"${amount:.2f}" if amount >= 1 else f"${_decimal(amount)}"


def _decimal(amount: float) -> str:
    """Two digits that count, without an exponent."""
    return f"{amount:.{max(0, 1 - math.floor(math.log10(amount)))}f}".rstrip("0") if amount > 0 else f"{amount:.2g}"


def days(number_of_days: float) -> str:
    """A long time for people: '159 days', '2.4 days', '7.5 hours'."""
    if number_of_days < 1:
        return f"{24 * number_of_days:.2g} hours"
    return f"{number_of_days:.1f} days" if number_of_days < 10 else f"{number_of_days:,.0f} days"


def number(values: Mapping[str, object], key: str) -> float:
    """The number under a key of a result."""
    value = values[key]
    assert isinstance(value, int | float), f"{key} is no number: {value!r}"
    return float(value)


def numbers(values: Mapping[str, object], key: str) -> tuple[float, ...]:
    """The list of numbers under a key of a result."""
    listed = values[key]
    assert isinstance(listed, list | tuple), f"{key} is no list: {listed!r}"
    return tuple(float(value) for value in listed)


def mapping(values: Mapping[str, object], key: str) -> Mapping[str, object]:
    """The mapping under a key of a result."""
    value = values[key]
    assert isinstance(value, Mapping), f"{key} is no mapping: {value!r}"
    return value


def _holdings(held: Mapping[str, float], reserved: float, capacity: float) -> Holdings:
    amounts = [(holding(key), nbytes / GIB) for key, nbytes in held.items()]
    allocated = sum(amount for _, amount in amounts)
    amounts.append((holding("reserve"), reserved - allocated))
    shares = (Share(kind=kind, amount=amount, text=f"{amount:.1f} GiB") for kind, amount in amounts if amount > 0)
    return Holdings(shares=tuple(shares), allocated=allocated, reserved=max(reserved, allocated), capacity=capacity)


def _memory_verdict(report: TrainingReport) -> str:
    _, reserved, room = tightest(report)
    said = f"{reserved:.1f} with reserve, of {room:.1f} GiB"
    return said if report.result["fits"] else f"{said}: does not fit"


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "; ".join(value)
    return "none" if value is None else str(value)
