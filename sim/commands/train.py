"""`shardsim train`: one training step of a model on a cluster, by flags or from a scenario file."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from sim.commands import completion, console
from topologies.document import InputError, Value

if TYPE_CHECKING:
    from sim.detail import Detail
    from sim.scenario import Scenario
    from sim.training import TrainingReport

_DETAILS = ("kernel", "layer", "stage")
_MODEL_FIELDS = ("num_layers", "hidden_size", "model_type", "architectures")


def train(
    model: Annotated[
        str,
        typer.Argument(
            help="a model's name, model file or Hugging Face config.json; or a scenario file",
            autocompletion=completion.model,
        ),
    ],
    cluster: Annotated[
        str | None,
        typer.Argument(help="a cluster's name or file; none with a scenario file", autocompletion=completion.cluster),
    ] = None,
    gpus: Annotated[int | None, typer.Option(help="how many GPUs run the step")] = None,
    tp: Annotated[int | None, typer.Option(help="tensor parallelism")] = None,
    sp: Annotated[bool | None, typer.Option(help="Megatron sequence parallelism; on where tp > 1")] = None,
    pp: Annotated[int | None, typer.Option(help="pipeline parallelism")] = None,
    vpp: Annotated[int | None, typer.Option(help="model chunks per pipeline rank (interleaved)")] = None,
    cp: Annotated[int | None, typer.Option(help="context parallelism (not supported yet)")] = None,
    ep: Annotated[int | None, typer.Option(help="expert parallelism (not supported yet)")] = None,
    dp: Annotated[int | None, typer.Option(help="data parallelism; fills the GPUs")] = None,
    zero: Annotated[int | None, typer.Option(help="0, or 1: the distributed optimizer")] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="gpipe, 1f1b or interleaved; none where pp is 1",
            autocompletion=completion.words("none", "gpipe", "1f1b", "interleaved"),
        ),
    ] = None,
    recompute: Annotated[
        str | None,
        typer.Option(
            help="none, selective or full; the least that fits",
            autocompletion=completion.words("none", "selective", "full"),
        ),
    ] = None,
    micro_batch: Annotated[int | None, typer.Option(help="sequences per microbatch; 1")] = None,
    global_batch: Annotated[int | None, typer.Option(help="sequences per step; about 4 million tokens")] = None,
    seq_len: Annotated[int | None, typer.Option(help="tokens per sequence; the model's own length")] = None,
    precision: Annotated[
        str | None, typer.Option(help="bf16 or fp16", autocompletion=completion.words("bf16", "fp16"))
    ] = None,
    framework: Annotated[
        str | None, typer.Option(help="megatron-core or megatron-lm", autocompletion=completion.framework)
    ] = None,
    tokens: Annotated[str | None, typer.Option(help="tokens of the whole run, such as 15T; 1T")] = None,
    price: Annotated[
        str | None,
        typer.Option(
            help="dollars per GPU-hour, or a list price: on-demand or reserved",
            autocompletion=completion.words("on-demand", "reserved"),
        ),
    ] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="any field of a scenario: --set plan.tp=4")] = None,
    profile: Annotated[
        Path | None, typer.Option(help="fits to lay over those of the package: a file of calibrate's, or a folder")
    ] = None,
    seed: Annotated[int, typer.Option(help="same seed, same bytes; nothing is random yet")] = 0,
    detail: Annotated[
        str | None,
        typer.Option(
            help="how finely: kernel, layer or stage; the coarsest that fits",
            autocompletion=completion.words(*_DETAILS),
        ),
    ] = None,
    output: Annotated[
        str,
        typer.Option("--format", help="table, json or csv", autocompletion=completion.words("table", "json", "csv")),
    ] = "table",
    out: Annotated[Path | None, typer.Option(help="write result, trace, page and manifest into this folder")] = None,
    hta: Annotated[
        bool,
        typer.Option("--hta", help="with --out: also a trace of each rank that is played, for Holistic Trace Analysis"),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no notes and no progress on stderr")] = False,
) -> None:
    """Simulate one training step and show where its time goes."""
    if hta and out is None:
        raise InputError("--hta writes into the folder of --out; add for example --out out/run")
    console.one_of("detail", detail or "layer", _DETAILS)
    console.one_of("format", output, tuple(PRINTERS))
    flags: dict[str, Value] = {
        "gpus": gpus, "tp": tp, "sp": sp, "pp": pp, "vpp": vpp, "cp": cp, "ep": ep, "dp": dp, "zero": zero,
        "schedule": schedule, "recompute": recompute, "micro_batch": micro_batch, "global_batch": global_batch,
        "seq_len": seq_len, "precision": precision, "framework": framework, "tokens": tokens, "price": price,
    }  # fmt: skip
    report = _run(model, cluster, flags, sets or [], profile, cast("Detail | None", detail), out, hta, quiet)
    console.show(PRINTERS[output](report))
    if not report.fits:
        raise typer.Exit(console.INFEASIBLE)


def _run(
    model: str,
    cluster: str | None,
    flags: Mapping[str, Value],
    sets: list[str],
    profile: Path | None,
    detail: "Detail | None",
    out: Path | None,
    rank_traces: bool,
    quiet: bool,
) -> "TrainingReport":
    """Read, play and write, telling on a terminal which of them is under way."""
    with console.progress(quiet) as tell:
        tell("reading the scenario")
        from sim.training import resolve, run_scenario

        file = _scenario_file(model, cluster)
        scenario = _load(file, flags, sets) if file else _from_flags(model, cluster, flags, sets)
        files = (file, *scenario.files) if file else scenario.files
        if profile is not None:
            scenario, files = _calibrated(scenario, profile), (*files, *_files_of(profile))
        tell(f"choosing the plan for {scenario.model.name}")
        scenario = resolve(scenario)
        inputs = _prepared(out, files)
        tell(f"playing a step of {scenario.model.name} on {scenario.num_gpus:,} GPUs")
        report = run_scenario(scenario, detail=detail)
        if profile is not None:
            report = replace(report, command=f"{report.command} --profile {shlex.quote(str(profile))}")
        tell("writing the report")
        written = () if out is None else _write(report, scenario, out, inputs, rank_traces)
    if written and not quiet:
        console.note(f"wrote {_names(written, out)} to {out}")
    return report


def _calibrated(scenario: "Scenario", profile: Path) -> "Scenario":
    """The scenario on its cluster with the fits of a profile laid over it."""
    from topologies import fits

    return replace(scenario, cluster=fits.laid_over(scenario.cluster, fits.profile(profile)))


def _files_of(profile: Path) -> tuple[Path, ...]:
    return tuple(sorted(profile.glob("*.yaml"))) if profile.is_dir() else (profile,)


def _names(written: tuple[Path, ...], folder: Path | None) -> str:
    """The files, those of a folder within it by the folder alone."""
    assert folder is not None
    return ", ".join(dict.fromkeys(path.relative_to(folder).parts[0] for path in written))


def _prepared(out: Path | None, files: tuple[Path, ...]) -> Mapping[str, bytes]:
    """Make the folder before the run, and take the inputs as they are now."""
    if out is None:
        return {}
    from sim.reports.files import make, read

    make(out)
    return read(files)


def _write(
    report: "TrainingReport", scenario: "Scenario", folder: Path, inputs: Mapping[str, bytes], rank_traces: bool
) -> tuple[Path, ...]:
    from sim.reports.files import Extras, write
    from sim.scenario import dump, portable

    moved, copies = portable(scenario, folder)
    named = {place: str(file) for place, file in copies.items()}
    return write(report, dump(moved, folder), folder, Extras(inputs=inputs, copies=named, rank_traces=rank_traces))


def _scenario_file(model: str, cluster: str | None) -> Path | None:
    """MODEL where it is a scenario: a file, without a cluster beside it, that is not a model's."""
    if cluster is not None or not _is_yaml(model):
        return None
    fields = _fields(model)
    is_model = "kind" not in fields and any(field in fields for field in _MODEL_FIELDS)
    return None if is_model else Path(model)


def _load(file: Path, flags: Mapping[str, Value], sets: list[str]) -> "Scenario":
    from sim import scenario

    return scenario.load(file, flags, sets)


def _from_flags(model: str, cluster: str | None, flags: Mapping[str, Value], sets: list[str]) -> "Scenario":
    from sim import scenario

    if cluster is not None and "kind" in _fields(model):
        raise InputError(f"{model} is a scenario and names its own cluster; leave {cluster} away, or --set cluster=...")
    if cluster is None and not _sets_cluster(sets):
        raise InputError(f"no cluster given for {model}; write `shardsim train {model} dgx-h100 --gpus 64`")
    return scenario.from_flags({"model": model, "cluster": cluster, **flags}, sets)


def _sets_cluster(sets: list[str]) -> bool:
    return any(text.partition("=")[0].strip().partition(".")[0] == "cluster" for text in sets)


def _is_yaml(model: str) -> bool:
    return model.lower().endswith((".yaml", ".yml", ".json"))


def _fields(model: str) -> Mapping[str, Value]:
    """The fields of the file that MODEL names; none where it is a name, or no file that can be read."""
    from topologies.document import read

    try:
        data = read(Path(model)).data if _is_yaml(model) else None
    except InputError:
        return {}
    return data if isinstance(data, dict) else {}


def _as_table(report: "TrainingReport") -> str:
    from sim.reports.terminal import render

    return render(report, console.columns(), console.has_color())


def _as_json(report: "TrainingReport") -> str:
    from sim.reports.files import result_json

    return result_json(report).decode() + "\n"


def _as_csv(report: "TrainingReport") -> str:
    from sim.reports.files import result_csv

    return result_csv(report)


PRINTERS: Mapping[str, Callable[["TrainingReport"], str]] = {"table": _as_table, "json": _as_json, "csv": _as_csv}
