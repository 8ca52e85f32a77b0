"""A server's recorded run, played again: the same requests at the same times, and how far latencies and cache are off.

A table of configurations has one row for each run, a table of requests what came of each; beside them may stand how
full the cache was, second by second, which tells how many blocks it has. Nothing is fitted to a run.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

import topologies
from sim import models
from sim.deployment import Cache, CachePrecision, Deployment, Layout, Scheduling, WeightPrecision
from sim.frameworks import serving
from sim.requests import Requests
from sim.requests.traces.source import lines
from sim.serving.costs import operators
from sim.serving.costs.forward import pass_costs
from sim.serving.costs.measured import measured_costs
from sim.serving.defaults import settings
from sim.serving.fleet import in_lock_step
from sim.serving.memory import num_blocks
from sim.serving.passes import PassCosts
from sim.serving.record import Record
from sim.serving.service import serve
from topologies.document import InputError, shorten
from topologies.hardware import Cluster

Times = NDArray[np.float64]

CONFIGURATION: Final = (
    "hardware", "model", "vllm", "tp", "dp", "ep", "max_num_seqs", "max_num_batched_tokens", "dtype", "kv_dtype",
)  # fmt: skip
REQUEST: Final = ("hardware", "model", "input_toks", "output_toks", "arrival_s", "ttft_s", "tpot_s", "last_token_s")
USAGE: Final = ("hardware", "model", "kv_cache_pct")
USAGE_FILE: Final = "timeseries_1s.csv"
"""The columns that the tables need, and what the table of the cache's use is called beside that of configurations."""

STATISTICS: Final[Mapping[str, Callable[[Times], float]]] = {
    "mean": lambda times: float(np.mean(times)),
    "p90": lambda times: float(np.percentile(times, 90)),
    "p99": lambda times: float(np.percentile(times, 99)),
}
_DTYPES: Final[Mapping[str, WeightPrecision]] = {"bfloat16": "bf16", "float16": "fp16", "fp8": "fp8"}
_CACHES: Final[Mapping[str, CachePrecision]] = {"auto": "auto", "fp8": "fp8", "fp8_e4m3": "fp8", "bfloat16": "auto"}
_ENOUGH, _MOST, _CLEAR = 20, 10_000, 1.1
"""A number of blocks is told by so many different uses of the cache, up to so many, where none within this factor would
do as well."""
_ROUNDING: Final = 0.5001e-4
"""Half a hundredth of a per cent."""

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One server: as the table spells hardware and model, and as we have them. `num_blocks` of its cache, where that
    is known."""

    hardware: str
    model: str
    source: str
    version: str
    cluster: Cluster
    transformer: models.Transformer
    deployment: Deployment
    num_blocks: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What clients sent, and what they saw, in seconds, by request."""

    requests: Requests
    ttft: Times
    tpot: Times
    latency: Times


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """By metric (`mean_ttft`, `p99_latency`, `kv_blocks`, ...): seconds or blocks, measured and predicted."""

    configuration: Configuration
    num_requests: int
    measured: Mapping[str, float] = field(hash=False)
    predicted: Mapping[str, float] = field(hash=False)

    @property
    def errors(self) -> dict[str, float]:
        """Predicted over measured, less 1."""
        return {name: self.predicted[name] / value - 1 for name, value in self.measured.items()}


def configurations(path: Path) -> tuple[Configuration, ...]:
    """The servers of a table. Raises InputError for a column that is missing and for what is not known."""
    usage = path.with_name(USAGE_FILE)
    used = list(_rows(usage, USAGE)) if usage.is_file() else []
    return tuple(_configuration(row, used, path) for row in _rows(path, CONFIGURATION))


def recording(path: Path, configuration: Configuration) -> Recording:
    """The requests that went to a server, in the order in which they were sent.

    Raises InputError for a column that is missing, a cell that is no number, and where there is none of that server.
    """
    rows = [row for row in _rows(path, REQUEST) if _belongs(row, configuration)]
    if not rows:
        raise InputError(f"{path.name}: no requests of {configuration.model} on {configuration.hardware}")
    rows.sort(key=lambda row: _number(row, "arrival_s", path))
    columns = {name: np.array([_number(row, name, path) for row in rows]) for name in REQUEST[2:]}
    requests = Requests(
        arrival=columns["arrival_s"],
        prompt=columns["input_toks"].astype(np.int64),
        output=columns["output_toks"].astype(np.int64),
    )
    latency = columns["last_token_s"] - columns["arrival_s"]
    return Recording(requests=requests, ttft=columns["ttft_s"], tpot=columns["tpot_s"], latency=latency)


def replay(configuration: Configuration, recorded: Recording, ops: Path | None = None) -> Score:
    """A server's run again, with the operators' measured times in the folder `ops`, or with our own costs."""
    record = played(configuration, recorded, ops)
    measured = _statistics(recorded.ttft, recorded.tpot, recorded.latency)
    if configuration.num_blocks is not None:
        measured["kv_blocks"] = float(configuration.num_blocks)
    predicted = _statistics(*_seen(record)) | {"kv_blocks": float(record.num_blocks)}
    return Score(
        configuration=configuration, num_requests=len(recorded.requests), measured=measured, predicted=predicted
    )


def played(configuration: Configuration, recorded: Recording, ops: Path | None = None) -> Record:
    """What our server leaves behind when the recorded requests come to it."""
    model, cluster = configuration.transformer, configuration.cluster
    framework = serving.load(serving.of_version("vllm", configuration.version))
    longest = int((recorded.requests.prompt + recorded.requests.output).max())
    deployment = _reaching(configuration.deployment, max(longest, model.max_seq_len))
    costs: PassCosts
    if ops is None:
        costs = pass_costs(model, cluster, deployment, framework)
    else:
        found = operators.read(ops, configuration.hardware, configuration.model, deployment.layout.tp)
        costs = measured_costs(found, model, cluster, deployment, framework)
    memory = num_blocks(model, cluster, deployment, framework)
    goes_by = settings(deployment, framework, model, cluster, num_blocks=memory.num_blocks)
    replicas, dp = in_lock_step(1, deployment.layout.dp, has_experts=model.moe is not None)
    return serve(recorded.requests, goes_by, costs, replicas=replicas, dp=dp)


def _reaching(deployment: Deployment, longest: int) -> Deployment:
    return replace(deployment, scheduling=replace(deployment.scheduling, max_model_len=longest))


def _seen(record: Record) -> tuple[Times, Times, Times]:
    """TTFT, TPOT (of answers of more than one token) and latency of those that were answered."""
    tokens = record.requests.output - 1
    ttft, latency = record.first_token - record.sent, record.finished - record.sent
    longer = (tokens > 0) & ~np.isnan(latency)
    return ttft[~np.isnan(ttft)], (latency - ttft)[longer] / tokens[longer], latency[~np.isnan(latency)]


def _statistics(ttft: Times, tpot: Times, latency: Times) -> dict[str, float]:
    metrics = {"ttft": ttft, "tpot": tpot, "latency": latency}
    return {f"{name}_{metric}": of(times) for metric, times in metrics.items() for name, of in STATISTICS.items()}


def blocks_in(percentages: Sequence[float]) -> int | None:
    """Of how many blocks the cache is, when it was so full at one time or another, in hundredths of a per cent: the
    number whose parts all these are. None where they do not tell it from its neighbours."""
    shares = np.unique(np.array(percentages)) / 100
    if len(shares) < _ENOUGH:
        return None
    counts = np.arange(1, _MOST)
    for share in shares:
        counts = counts[np.abs(np.round(share * counts) / counts - share) <= _ROUNDING]
    if not len(counts) or np.any((counts > counts[0]) & (counts < _CLEAR * counts[0])):
        return None
    return int(counts[0])


def _configuration(row: Row, used: Sequence[Row], path: Path) -> Configuration:
    tp, dp = (int(_number(row, name, path)) for name in ("tp", "dp"))
    dealt = row["ep"].strip().lower() in ("true", "yes", "1")
    for name, known in (("dtype", _DTYPES), ("kv_dtype", _CACHES)):
        if row[name] not in known:
            raise InputError(f"{path.name}: {name}: {shorten(row[name])} is not known; write one of {', '.join(known)}")
    own = [row_of for row_of in used if (row_of["hardware"], row_of["model"]) == (row["hardware"], row["model"])]
    scheduling = Scheduling(
        max_num_seqs=int(_number(row, "max_num_seqs", path)),
        max_num_batched_tokens=int(_number(row, "max_num_batched_tokens", path)),
    )
    return Configuration(
        hardware=row["hardware"],
        model=row["model"],
        source=row.get("source", ""),
        version=row["vllm"],
        cluster=topologies.build(gpu=row["hardware"], gpus_per_node=tp * dp, nodes=1),
        transformer=models.load(known_model(row["model"])),
        deployment=Deployment(
            layout=Layout(tp=tp, dp=dp, ep=tp * dp if dealt else 1),
            scheduling=scheduling,
            cache=Cache(precision=_CACHES[row["kv_dtype"]]),
            weights=_DTYPES[row["dtype"]],
        ),
        num_blocks=_told(row, own, path),
    )


def _told(row: Row, used: Sequence[Row], path: Path) -> int | None:
    """Blocks as the table says, or as the cache's use tells: vLLM keeps one for itself."""
    if row.get("num_gpu_blocks"):
        return int(_number(row, "num_gpu_blocks", path))
    found = blocks_in([_number(one, "kv_cache_pct", path) for one in used])
    return None if found is None else found + 1


def known_model(name: str) -> str:
    """Without the owner, and without endings such as -Instruct-2507 that change no shape."""
    text = name.rpartition("/")[2].lower()
    pieces = text.split("-")
    shorter = ("-".join(pieces[:count]) for count in range(len(pieces), 1, -1))
    return next((one for one in shorter if models.find(one) is not None), text)


def _belongs(row: Row, configuration: Configuration) -> bool:
    if (row["hardware"], row["model"]) != (configuration.hardware, configuration.model):
        return False
    return not configuration.source or row.get("source", configuration.source).startswith(configuration.source)


def _rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    rows = csv.DictReader(lines(path))
    missing = [name for name in columns if name not in (rows.fieldnames or ())]
    if missing:
        raise InputError(f"{path.name}: no column {missing[0]}; it needs {', '.join(columns)}")
    return iter(rows)


def _number(row: Row, name: str, path: Path) -> float:
    try:
        value = float(row[name])
    except (TypeError, ValueError):
        value = np.nan
    if not 0 <= value < np.inf:
        raise InputError(f"{path.name}: {name}: {shorten(row[name])} is not a number of 0 or more")
    return value
