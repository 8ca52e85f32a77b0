"""A table of measured servers, one a row: mean TTFT and TPOT under so many users, or the most tokens a second.

The columns are those of AIConfigurator's measured servers and of TensorRT-LLM's performance overview, which
docs/validation.md describes. A row names no protocol: sim.serving.closed_loop says what is assumed.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

import topologies
from sim import models
from sim.deployment import Cache, Deployment, Layout, Scheduling, WeightPrecision
from sim.frameworks import serving
from sim.measured_runs.table import Row, cell
from sim.models import Transformer
from sim.serving.replay import CONFIGURATION, known_model
from topologies.document import InputError, read_text
from topologies.hardware import Cluster

Kind = Literal["configurations", "servers", "throughput", "training"]
LATENCY: Final = ("id", "backend", "model_path", "system", "isl", "osl", "concurrency", "tp_size", "silicon_ttft_ms")
THROUGHPUT: Final = ("release", "model", "gpu", "precision", "parallelism", "num_gpus", "isl", "osl", "metric", "value")
NODE: Final = 8
_WEIGHTS: Final[Mapping[str, WeightPrecision]] = {"": "bf16", "unspecified": "bf16", "fp4": "nvfp4"}
_OWN: Final[Mapping[str, WeightPrecision]] = {"gpt-oss-120b": "mxfp4", "gpt-oss-20b": "mxfp4"}
"""Models that are published in one precision alone [gpt-oss model card, arXiv 2508.10925]."""
_PROMPTS: Final[Mapping[tuple[int, int], int]] = {
    (128, 128): 30_000, (128, 2048): 3000, (128, 4096): 1500, (500, 2000): 3000, (1000, 1000): 3000,
    (1000, 2000): 1500, (1024, 2048): 1500, (2048, 128): 3000, (2048, 2048): 1500, (5000, 500): 1500,
    (20000, 2000): 1000,
}  # fmt: skip
"""Requests by input and output length [TensorRT-LLM, docs/source/performance/perf-overview.md, at 00f3768]."""
MOST_PROMPTS: Final = 1500
"""Where nothing else is said; of a row's own, at most twice as many are played."""
UTILIZATION: Final = 0.95
"""Of what is free, given to the cache in many of those runs [same]."""
WHOLE_PROMPT: Final = 8192
"""Tokens of a pass by default, in which TensorRT-LLM takes whole prompts [1.0, llmapi/llm_args.py, max_num_tokens]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A row to be played: lengths in tokens; of `concurrency` users, or all `num_prompts` at once where that is None.
    Measured in seconds and tokens a second, None where it was not."""

    name: str
    model: Transformer
    cluster: Cluster
    deployment: Deployment
    framework: serving.ServingFramework
    prompt: int
    output: int
    concurrency: int | None
    num_prompts: int | None
    ttft_ms: float | None
    tpot_ms: float | None
    output_throughput: float | None


def kind_of(path: Path) -> Kind:
    """What a table is of, told by its columns."""
    header = set(next(csv.reader(io.StringIO(read_text(path, what="CSV"))), ()))
    for kind, columns in (("configurations", CONFIGURATION), ("servers", LATENCY), ("throughput", THROUGHPUT)):
        if set(columns) <= header:
            return next(known for known in get_args(Kind) if known == kind)
    return "training"


def rows(path: Path) -> list[Row]:
    """The rows of a table, every cell a text without blanks around it; InputError for one of another length."""
    table = csv.DictReader(io.StringIO(read_text(path, what="CSV")), restkey="", strict=True)
    try:
        return [_stripped(row, f"{path.name}:{table.line_num}") for row in table]
    except csv.Error as error:
        raise InputError(f"{path.name}:{table.line_num}: {error}") from None


def name_of(row: Row, place: int) -> str:
    """What a row is called: its id, or its number."""
    return cell(row, "id") or f"row {place + 1}"


def server(row: Row, name: str) -> Server:
    """A row of mean latencies. Raises InputError for what it leaves out or is not known.

    A client that asks for no sampling [aiconfigurator, eval/benchmarks/genai_perf_runner.py, at 5e16187] gets from vLLM
    what the model's generation_config.json says, mostly top-p; SGLang's own asks for temperature 0 [0.5.9,
    bench_serving.py]; TensorRT-LLM takes the likeliest token in any case.
    """
    model = models.load(known_model(row["model_path"]))
    tp, dp = _count(row, "tp_size"), _count(row, "attention_dp_size", 1)
    layout = Layout(tp=tp, pp=_count(row, "pp_size", 1), dp=dp, ep=max(1, _count(row, "moe_ep_size", 1)))
    return Server(
        name=name,
        model=model,
        cluster=_cluster(row["system"], layout.num_gpus),
        deployment=Deployment(
            layout=layout,
            scheduling=_scheduling(row, model),
            weights=_weights(row, model),
            sampling="top-p" if row["backend"] == "vllm" else "greedy",
        ),
        framework=serving.load(f"{row['backend']} {cell(row, 'backend_version')}".strip()),
        prompt=_count(row, "isl"),
        output=_count(row, "osl"),
        concurrency=_count(row, "concurrency"),
        num_prompts=None,
        ttft_ms=_number(row, "silicon_ttft_ms"),
        tpot_ms=_number(row, "silicon_tpot_ms"),
        output_throughput=None,
    )


def throughput(row: Row, name: str) -> Server:
    """A row of the most tokens a second; all requests come at once. NVIDIA's checkpoints in fp8 have a cache
    in fp8 [TensorRT-LLM 0.20, docs/source/performance/perf-overview.md]."""
    if row["metric"] != "total_output_tokens_per_s":
        raise InputError(f"metric {row['metric']!r} is not total_output_tokens_per_s")
    model = models.load(known_model(row["model"]))
    gpus = _count(row, "num_gpus")
    if row["parallelism"] != f"TP{gpus}":
        raise InputError(f"parallelism {row['parallelism']!r} is not known; write TP{gpus}")
    lengths = _count(row, "isl"), _count(row, "osl")
    return Server(
        name=name,
        model=model,
        cluster=_cluster(row["gpu"], gpus),
        deployment=Deployment(
            layout=Layout(tp=gpus),
            scheduling=_scheduling(row, model),
            cache=Cache(utilization=UTILIZATION, precision="fp8" if row["precision"] == "FP8" else "auto"),
            weights=_weights(row, model),
        ),
        framework=serving.load(f"trtllm {row['release']}"),
        prompt=lengths[0],
        output=lengths[1],
        concurrency=None,
        num_prompts=min(_PROMPTS.get(lengths, MOST_PROMPTS), 2 * MOST_PROMPTS),
        ttft_ms=None,
        tpot_ms=None,
        output_throughput=_number(row, "value"),
    )


def _cluster(gpu: str, num_gpus: int) -> Cluster:
    """Nodes of eight, on the network of a DGX where there are several."""
    nodes = -(-num_gpus // NODE)
    fabric = "nvlink-only" if nodes == 1 else "ib-ndr400x8"
    return topologies.build(gpu=gpu, gpus_per_node=NODE, fabric=fabric, nodes=nodes)


def _scheduling(row: Row, model: Transformer) -> Scheduling:
    """A server that was measured took the row's lengths, also where they are beyond those of the model's pre-training,
    or of a pass."""
    asked = _count(row, "isl") + 2 * _count(row, "osl")
    return Scheduling(
        max_model_len=max(model.max_seq_len, asked),
        chunked_prefill=True if asked > WHOLE_PROMPT else None,
    )


def _weights(row: Row, model: Transformer) -> WeightPrecision:
    if model.name in _OWN:
        return _OWN[model.name]
    said = (cell(row, "gemm_quant_mode") or cell(row, "precision")).lower()
    known = next((one for one in get_args(WeightPrecision) if one == said), None)
    if known is None and said not in _WEIGHTS:
        raise InputError(f"precision {said!r} is not known; write {', '.join(get_args(WeightPrecision))}")
    return known or _WEIGHTS[said]


def _count(row: Row, column: str, default: int | None = None) -> int:
    """A whole number, which some tables write as 8.0."""
    value = _number(row, column)
    if value is None and default is not None:
        return default
    if value is None or value != int(value):
        raise InputError(f"{column} {cell(row, column)!r} is not a whole number")
    return int(value)


def _number(row: Row, column: str) -> float | None:
    text = cell(row, column)
    try:
        value = float(text) if text else None
    except ValueError:
        value = -1.0
    if value is not None and not 0 <= value < float("inf"):
        raise InputError(f"{column} {text!r} is not a number of 0 or more")
    return value


def _stripped(row: Mapping[str, str | Sequence[str] | None], where: str) -> Row:
    if "" in row or None in row.values():
        raise InputError(f"{where}: more or fewer cells than the header has columns; quote texts that hold commas")
    return {column: str(text).strip() for column, text in row.items()}
