"""The serving half of docs/accuracy.md: servers that others measured, beside predictions.

`make accuracy` plays every row. Their tables are not part of the repository: where they do not lie beside it, the half
stays as it was written last. Shown are sums, and the rows that are furthest off.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean, median
from typing import Final

from sim.measured_runs import servers
from sim.measured_runs.servers import Kind
from sim.measured_runs.table import Row
from sim.serving import replay
from sim.serving_validation import SATURATED_MS, Result, Skipped, play
from tests.measured import kv_blocks
from topologies.quantity import KILO, MILLISECOND

FOLDER: Final = Path(__file__).parents[3] / "shared" / "measured" / "serving"
HEADING: Final = "## Serving"
KINDS: Final[Mapping[str, Kind]] = {"dense": "servers", "moe": "servers", "throughput": "throughput"}
FILES: Final = {"dense": "servers_dense.csv", "moe": "servers_moe.csv", "throughput": "trtllm_max_throughput.csv"}
WORST, WORST_SATURATED = 12, 4
TTFT, TPOT, THROUGHPUT = "mean_ttft_ms", "mean_tpot_ms", "output_throughput"
UNITS: Final = {TTFT: "ms", TPOT: "ms", THROUGHPUT: "tokens/s"}

Pick = Callable[[Row], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A row of a table, by its number (`dense-17`), and what came of it."""

    name: str
    row: Row
    result: Result


LOOKS: Final[Mapping[str, Pick]] = {
    "server": lambda row: f"{row['backend']} {row['backend_version'] or '(version unknown)'}",
    "model": lambda row: f"{row['model_path'].rpartition('/')[2]} ({row['backend']})",
    "GPUs of a replica": lambda row: _layout(row),
    "users": lambda row: f"{int(row['concurrency'] or 0):3} ({row['backend']})",
    "tokens of a prompt": lambda row: f"{int(row['isl']):5}",
}
"""Along what the errors of servers are looked at."""


def is_here() -> bool:
    """Whether the measured tables lie beside the repository."""
    return FOLDER.is_dir()


def half() -> str:
    """All sections, each row of each table played, in several processes."""
    lines = [*_head(), *recorded(), "", *caches(), ""]
    for table, title in (("dense", "Dense models"), ("moe", "Mixtures of experts")):
        lines += _servers(table, title)
    return "\n".join([*lines, *_throughputs()])


@cache
def rows(table: str) -> list[Row]:
    """The rows of a table, in its order."""
    return servers.rows(FOLDER / FILES[table])


def played(table: str) -> tuple[list[Played], list[Skipped]]:
    """What came of each row of a table."""
    names = [f"{table}-{place + 1}" for place in range(len(rows(table)))]
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(play, rows(table), [KINDS[table]] * len(names), names, chunksize=4))
    results = [
        Played(name=name, row=row, result=one)
        for name, row, one in zip(names, rows(table), found, strict=True)
        if isinstance(one, Result)
    ]
    return results, [one for one in found if isinstance(one, Skipped)]


def line_of(name: str) -> str:
    """The line of one row, played anew."""
    table, _, number = name.partition("-")
    row = rows(table)[int(number) - 1]
    found = play(row, KINDS[table], name)
    assert isinstance(found, Result)
    return _line(Played(name=name, row=row, result=found))


def _head() -> Iterator[str]:
    yield from (
        HEADING,
        "",
        "Servers that others measured. No row is fitted, but the dense servers are not unseen: one number for",
        "each framework (the host's seconds of a pass and of a request, bytes of sampling) was read off them, as",
        "[their files](../sim/frameworks/serving) say, and how wide intervals are. A median error is the median of",
        "errors without their signs, a bias the median of errors with them.",
        "",
    )


def recorded() -> Iterator[str]:
    """The server of which every request is known."""
    (server,) = replay.configurations(FOLDER / "vllm_runs" / "configurations.csv")
    recording = replay.recording(FOLDER / "vllm_runs" / "requests.csv", server)
    with_ops, without = (replay.replay(server, recording, ops) for ops in (FOLDER / "vllm_runs", None))
    yield "### A recorded server, played again"
    yield ""
    yield (
        f"vLLM {server.version}, {server.model} on one {server.hardware}, {with_ops.num_requests} requests at the\n"
        "times at which they came [LLMServingSim 2.0, bench/examples]: once with the operators' times that were\n"
        "measured on that GPU, once with our own costs. The number of KV blocks is predicted in both."
    )
    yield ""
    yield "| figure | measured | operators' times | error | our own costs | error |"
    yield "|---|--:|--:|--:|--:|--:|"
    for name, value in with_ops.measured.items():
        yield _replayed(name, value, with_ops.predicted[name], without.predicted[name])


def _replayed(name: str, measured: float, *predicted: float) -> str:
    unit, text = (1.0, "KV blocks") if name == "kv_blocks" else (MILLISECOND, _words(name))
    shown = " | ".join(f"{_number(one / unit)} | {one / measured - 1:+.1%}" for one in predicted)
    return f"| {text} | {_number(measured / unit)} | {shown} |"


def _words(name: str) -> str:
    statistic, _, metric = name.partition("_")
    return f"{statistic} {metric if metric == 'latency' else metric.upper()}, ms"


def caches() -> Iterator[str]:
    """Published sizes of caches."""
    yield "### Blocks of the cache"
    yield ""
    yield (
        "Sizes that servers printed as they started, each with its source in\n"
        "[kv_blocks.csv](../tests/measured/kv_blocks.csv). What vLLM holds beside weights and activations was read\n"
        "off the H100s."
    )
    yield ""
    yield "| server | model | GPUs | weights, cache | tokens measured | predicted | error |"
    yield "|---|---|---|---|--:|--:|--:|"
    yield from map(_cache, kv_blocks.ROWS)


def _cache(row: Row) -> str:
    found, measured = kv_blocks.predicted(row), int(row["kv_tokens"])
    kept = f"{row['weights']}, {row['kv_dtype'].replace('auto', 'bf16')}"
    what = f"{row['row']} | {row['model']} | {row['tp']} {row['gpu']} | {kept}"
    return f"| {what} | {measured:,} | {found:,} | {found / measured - 1:+.1%} |"


def _servers(table: str, title: str) -> Iterator[str]:
    found, left_out = played(table)
    calm, queueing = _parted(found)
    yield f"### {title}: mean TTFT and TPOT of {len(found)} servers on H100"
    yield ""
    yield from _protocol() if table == "dense" else ()
    yield _sentence("Unsaturated", calm)
    yield _sentence("Saturated", queueing)
    yield ""
    for what, pick in LOOKS.items():
        yield from (*_groups(what, pick, found), "")
    yield from _worst(f"The {WORST} unsaturated rows that are furthest off", calm, WORST, (TTFT, TPOT))
    yield from _worst(f"The {WORST_SATURATED} saturated rows that are", queueing, WORST_SATURATED, (TTFT, TPOT))
    yield from _left_out(left_out)


def _protocol() -> Iterator[str]:
    yield (
        "Means that others measured [NVIDIA AIConfigurator]. The rows name lengths, users and GPUs, and no protocol.\n"
        "Assumed is a closed loop of so many users, ten requests of each, answers whose lengths differ by 2 % (by\n"
        "nothing with SGLang, whose client asks for exact lengths), the version's defaults for all else, and with\n"
        "TensorRT-LLM an engine built for the row's batch. Rows whose measured TTFT is\n"
        f"{SATURATED_MS / KILO:g} s or more are *saturated*: queueing multiplies errors; some of these tell of a\n"
        "server that ran few of its users at a time, which no column says."
    )
    yield ""


def _sentence(which: str, some: Sequence[Played]) -> str:
    if not some:
        return f"- {which}: none"
    shown = ", ".join(f"{name} median error {_median(some, metric)}, bias {_bias(some, metric)}"
                      for name, metric in (("TTFT", TTFT), ("TPOT", TPOT)))  # fmt: skip
    covered = " and ".join(f"{fmean(one.result.is_covered(metric) for one in some):.0%}" for metric in (TTFT, TPOT))
    return f"- {which}: {len(some)} rows; {shown}; in their 80 % intervals {covered}"


def _groups(what: str, pick: Pick, found: Iterable[Played]) -> Iterator[str]:
    groups: defaultdict[str, list[Played]] = defaultdict(list)
    for one in found:
        groups[pick(one.row)].append(one)
    yield f"| {what} | rows | TTFT | bias | TPOT | bias | saturated rows | TTFT | TPOT |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    for name, group in sorted(groups.items()):
        calm, queueing = _parted(group)
        first = " | ".join((_median(calm, TTFT), _bias(calm, TTFT), _median(calm, TPOT), _bias(calm, TPOT)))
        rest = f"{_median(queueing, TTFT)} | {_median(queueing, TPOT)}"
        yield f"| {name.strip()} | {len(calm)} | {first} | {len(queueing)} | {rest} |"


def _throughputs() -> Iterator[str]:
    found, left_out = played("throughput")
    yield f"### Largest throughput of TensorRT-LLM: {len(found)} rows"
    yield ""
    yield (
        "Tokens of answers a second where all requests come at once, as many as the page says, 3,000 at most\n"
        "[TensorRT-LLM 0.20, perf-overview.md, fp8 on H100]."
    )
    yield ""
    yield "| model | rows | median error | bias | worst |"
    yield "|---|--:|--:|--:|--:|"
    for name, group in _by_model(found).items():
        worst = max((one.result.errors[THROUGHPUT] for one in group), key=abs)
        yield f"| {name} | {len(group)} | {_median(group, THROUGHPUT)} | {_bias(group, THROUGHPUT)} | {worst:+.0%} |"
    yield ""
    yield from _worst(f"The {WORST // 2} rows that are furthest off", found, WORST // 2, (THROUGHPUT,))
    yield from _left_out(left_out)


def _by_model(found: Iterable[Played]) -> dict[str, list[Played]]:
    groups: defaultdict[str, list[Played]] = defaultdict(list)
    for one in found:
        groups[f"{one.row['model']}, {one.row['parallelism']}"].append(one)
    return dict(sorted(groups.items()))


def _worst(title: str, found: Sequence[Played], number: int, metrics: Sequence[str]) -> Iterator[str]:
    yield f"{title}:" if found else f"{title}: none"
    yield ""
    if found:
        names = {TTFT: "TTFT", TPOT: "TPOT", THROUGHPUT: "tokens of answers"}
        heads = " | ".join(f"{names[metric]}, {UNITS[metric]} | predicted | error" for metric in metrics)
        yield f"| row | server | model | GPUs | tokens | users | {heads} |"
        yield "|---|---|---|---|---|--:|" + "--:|--:|--:|" * len(metrics)
        yield from map(_line, sorted(found, key=_miss, reverse=True)[:number])
        yield ""


def _line(one: Played) -> str:
    row, result = one.row, one.result
    server = f"trtllm {row['release']}" if "release" in row else f"{row['backend']} {row['backend_version']}".strip()
    model = (row.get("model_path") or row["model"]).rpartition("/")[2]
    layout = row["parallelism"] if "release" in row else _layout(row)
    about = f"{server} | {model} | {layout} | {row['isl']} + {row['osl']} | {row.get('concurrency') or 'all'}"
    figures = " | ".join(
        f"{_number(value)} | {_number(result.predicted[metric])} | {result.errors[metric]:+.0%}"
        for metric, value in result.measured.items()
    )
    return f"| {one.name} | {about} | {figures} |"


def _left_out(skipped: Sequence[Skipped]) -> Iterator[str]:
    reasons: defaultdict[str, int] = defaultdict(int)
    for one in skipped:
        reasons[one.reason] += 1
    if reasons:
        yield from ("Left out:", "", *(f"- {count} rows: {reason}" for reason, count in sorted(reasons.items())), "")


def _layout(row: Row) -> str:
    """Its degrees, which the tables write as 4.0, or not at all for 1."""
    degrees = {"tp": row["tp_size"], "dp": row["attention_dp_size"], "ep": row["moe_ep_size"]}
    shown = [f"{axis} {float(degree):g}" for axis, degree in degrees.items() if float(degree or 1) > 1 or axis == "tp"]
    return f"{', '.join(shown)} ({row['backend']})"


def _parted(found: Iterable[Played]) -> tuple[list[Played], list[Played]]:
    """Unsaturated rows, and saturated ones."""
    listed = list(found)
    return [one for one in listed if not one.result.is_saturated], [one for one in listed if one.result.is_saturated]


def _miss(one: Played) -> float:
    return max(map(abs, one.result.errors.values()))


def _median(some: Sequence[Played], metric: str) -> str:
    return f"{median(abs(one.result.errors[metric]) for one in some):.1%}" if some else ""


def _bias(some: Sequence[Played], metric: str) -> str:
    return f"{median(one.result.errors[metric] for one in some):+.1%}" if some else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= KILO else f"{value:.4g}"
