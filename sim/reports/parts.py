"""GPUs and links as the commands of those names show them: a line each, or one with its figures and their sources.

Rates are those of one direction. What a data sheet says is followed by what was seen to be reached, and by whom.
"""

import topologies
from sim.reports.tables import Row, Sheet
from topologies import prices
from topologies.hardware import Fit, Gpu, Link
from topologies.quantity import flops, nbytes, percent, rate, seconds

GPU_COLUMNS = ("GPU", "bf16 or fp16", "memory", "bandwidth", "link", "SMs", "L2", "power", "on demand", "reserved")
LINK_COLUMNS = ("link", "bandwidth", "reached", "step", "launch")
NOTHING = "-"


def gpus() -> list[Row]:
    """A row for each GPU of the catalogue."""
    return [_gpu_row(topologies.gpu(name)) for name in topologies.names("gpus")]


def gpu(name: str) -> Sheet:
    """The GPU of that name; InputError where there is none."""
    found = topologies.gpu(name)
    return Sheet(words=tuple(gpu_words(found)), record=gpu_record(found))


def links() -> list[Row]:
    """A row for each link of the catalogue."""
    return [_link_row(topologies.link(name)) for name in topologies.names("links")]


def link(name: str) -> Sheet:
    """The link of that name; InputError where there is none."""
    found = topologies.link(name)
    return Sheet(words=tuple(link_words(found)), record=link_record(found))


def _gpu_row(found: Gpu) -> Row:
    peak = found.peak_flops.get("bf16") or found.peak_flops.get("fp16")
    price = prices.price(found.name)
    cells = (
        found.name,
        flops(peak) if peak else NOTHING,
        nbytes(found.memory_nbytes),
        rate(found.memory_bandwidth),
        found.nvlink or found.pcie or NOTHING,
        str(found.num_sms),
        nbytes(found.l2_nbytes),
        _power(found.power_limit),
        _dollars(price.on_demand if price else None),
        _dollars(price.reserved if price else None),
    )
    return Row(cells=cells, record=gpu_record(found))


def gpu_record(found: Gpu) -> dict[str, object]:
    """Everything that is known of a GPU, as data."""
    price = prices.price(found.name)
    return {
        "name": found.name,
        "peak_flops": dict(found.peak_flops),
        "memory_nbytes": found.memory_nbytes,
        "memory_bytes_per_s": found.memory_bandwidth,
        "num_sms": found.num_sms,
        "l2_nbytes": found.l2_nbytes,
        "power_limit_w": found.power_limit,
        "nvlink": found.nvlink,
        "pcie": found.pcie,
        "price_on_demand_usd": price.on_demand if price else None,
        "price_reserved_usd": price.reserved if price else None,
        "price_date": price.date if price else None,
        "price_source": price.source if price else None,
        **_fit_record(found.fit),
    }


def gpu_words(found: Gpu) -> list[tuple[str, str]]:
    """Everything that is known of a GPU, with the source of each figure."""
    sources = found.fit.sources
    peaks = ", ".join(f"{precision} {flops(peak)}" for precision, peak in found.peak_flops.items())
    return [
        ("GPU", found.name),
        ("  dense peak", _sourced(peaks, sources.get("peak_flops"))),
        ("  memory", _sourced(nbytes(found.memory_nbytes), sources.get("memory"))),
        ("  bandwidth", _sourced(rate(found.memory_bandwidth), sources.get("memory_bandwidth"))),
        ("  SMs", _sourced(str(found.num_sms), sources.get("num_sms"))),
        ("  L2 cache", _sourced(nbytes(found.l2_nbytes), sources.get("l2_cache"))),
        ("  power limit", _sourced(_power(found.power_limit), sources.get("power_limit"))),
        ("  links", ", ".join(link for link in (found.nvlink, found.pcie) if link) or "none"),
        ("  price", _price(found)),
        *_fit_words(found.fit),
    ]


def _price(found: Gpu) -> str:
    price = prices.price(found.name)
    if price is None:
        return "none is known"
    on_demand = f"{_dollars(price.on_demand)} a GPU-hour on demand" if price.on_demand is not None else ""
    reserved = f"{_dollars(price.reserved)} reserved" if price.reserved is not None else ""
    return _sourced(", ".join(filter(None, (on_demand, reserved))), f"{price.source}, {price.date}")


def _link_row(found: Link) -> Row:
    cells = (
        found.name,
        rate(found.bandwidth),
        percent(found.fit["bandwidth_efficiency"]),
        seconds(found.latency),
        seconds(found.fit["launch_latency"]),
    )
    return Row(cells=cells, record=link_record(found))


def link_record(found: Link) -> dict[str, object]:
    """Everything that is known of a link, as data."""
    return {
        "name": found.name,
        "bytes_per_s": found.bandwidth,
        "achievable_bytes_per_s": found.achievable_bandwidth,
        "latency_s": found.latency,
        **_fit_record(found.fit),
    }


def link_words(found: Link) -> list[tuple[str, str]]:
    """Everything that is known of a link, with the source of each figure."""
    sources = found.fit.sources
    return [
        ("link", found.name),
        ("  bandwidth", _sourced(f"{rate(found.bandwidth)} each way", sources.get("bandwidth"))),
        ("  latency", _sourced(f"{seconds(found.latency)} a step", sources.get("latency"))),
        *_fit_words(found.fit),
    ]


def _fit_record(fit: Fit) -> dict[str, object]:
    """Latencies are in seconds, efficiencies fractions of the data sheet's figure."""
    values = {f"{name}_s" if _is_time(name) else name: value for name, value in fit.values.items()}
    return {**values, "origin": fit.origin, "sources": dict(fit.sources)}


def _fit_words(fit: Fit) -> list[tuple[str, str]]:
    return [
        (f"  {name.replace('_', ' ')}", _sourced(_parameter(name, value), fit.sources.get(name)))
        for name, value in fit.values.items()
    ]


def _parameter(name: str, value: float) -> str:
    return seconds(value) if _is_time(name) else percent(value)


def _is_time(parameter: str) -> bool:
    return parameter.endswith("latency")


def _sourced(figure: str, source: str | None) -> str:
    return f"{figure} ({source})" if source else figure


def _power(watts: float) -> str:
    return f"{watts:g} W"


def _dollars(price: float | None) -> str:
    return NOTHING if price is None else f"${price:,.2f}"
