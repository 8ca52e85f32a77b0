"""What a run takes and costs: steps x the time of one; GPUs x hours x the price of an hour.

The price is a list price per GPU-hour (topologies/prices.yaml), on demand or reserved, or what the user says. Counted
are the GPUs of the job while steps run: no failures, checkpoints, storage, network traffic, or GPUs that stand idle.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sim.workload import TrainingRun
from topologies import prices
from topologies.hardware import Cluster, Gpu
from topologies.quantity import DAY, HOUR, TERA, count_text

DEFAULT_TOKENS = int(TERA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a step and a run cost, under the keys of docs/design.md, section 6, and sentences on what that rests on."""

    result: Mapping[str, object]
    notes: tuple[str, ...]


def bill(step_time: float, tokens_per_step: int, run: TrainingRun, cluster: Cluster, num_gpus: int) -> Bill:
    """The bill for a run whose steps take `step_time` seconds each on the first `num_gpus` GPUs of a cluster."""
    dollars, note = hourly(run, cluster, num_gpus)
    tokens = run.tokens or DEFAULT_TOKENS
    result = costs(step_time, tokens_per_step, tokens, num_gpus, dollars)
    return Bill(result=result, notes=(note, _note_on_tokens(run)))


def costs(
    step_time: float, tokens_per_step: int, tokens: int, num_gpus: int, dollars: float | None
) -> dict[str, object]:
    """What a step and a run over `tokens` take and cost, at so many dollars per GPU-hour; null where that is None."""
    steps = -(-tokens // tokens_per_step)
    hours_per_step = num_gpus * step_time / HOUR
    return {
        "price_per_gpu_hour_usd": dollars,
        "cost_per_step_usd": None if dollars is None else hours_per_step * dollars,
        "run": {
            "tokens": tokens,
            "steps": steps,
            "days": steps * step_time / DAY,
            "gpu_hours": steps * hours_per_step,
            "cost_usd": None if dollars is None else steps * hours_per_step * dollars,
        },
    }


def hourly(run: TrainingRun, cluster: Cluster, num_gpus: int) -> tuple[float | None, str]:
    """Dollars per GPU-hour, None where they are not known, and where from; of a mixed cluster, the mean of its GPUs."""
    if isinstance(run.price, float):
        return run.price, f"Price as given: {_dollars(run.price)} per GPU-hour."
    used = list(_used(cluster, num_gpus))
    listed = [_listed(gpu, is_reserved=run.price == "reserved") for gpu, _ in used]
    note = " ".join(dict.fromkeys(sentence for _, sentence in listed))
    known = [price * count for (price, _), (_, count) in zip(listed, used, strict=True) if price is not None]
    return (sum(known) / num_gpus if len(known) == len(used) else None), note


def _used(cluster: Cluster, num_gpus: int) -> Iterator[tuple[Gpu, int]]:
    """The kinds of GPU under the first ranks, and how many of each."""
    for pool in cluster.pools:
        count = min(num_gpus, pool.num_gpus)
        num_gpus -= count
        if count:
            yield pool.node.gpu, count


def _listed(gpu: Gpu, *, is_reserved: bool) -> tuple[float | None, str]:
    price, kind = prices.price(gpu.name), "reserved" if is_reserved else "on demand"
    dollars = None if price is None else price.reserved if is_reserved else price.on_demand
    if price is None or dollars is None:
        return None, f"No price of {gpu.name} {kind} is known{_other(price)}; --price 2.50 gives one."
    said = f"Price of {gpu.name} {kind}: {_dollars(dollars)} per GPU-hour"
    return dollars, f"{said} ({price.source}, {price.date})."


def _other(price: prices.Price | None) -> str:
    """The price that is listed where the one that was asked for is not."""
    for kind, dollars in () if price is None else (("on-demand", price.on_demand), ("reserved", price.reserved)):
        if dollars is not None:
            return f", only one {kind.replace('-', ' ')}: {_dollars(dollars)} per GPU-hour (--price {kind})"
    return ""


def _note_on_tokens(run: TrainingRun) -> str:
    what_counts = "only its steps count: no failures, checkpoints or evaluation"
    if run.tokens is None:
        assumed = f"A run is taken as {count_text(DEFAULT_TOKENS)} tokens, an assumption (--tokens gives another)"
        return f"{assumed}; {what_counts}."
    return f"A run is {count_text(run.tokens)} tokens; {what_counts}."


def _dollars(amount: float) -> str:
    return f"${amount:,.2f}"
