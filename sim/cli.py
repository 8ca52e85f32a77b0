"""The command `shardsim`. It reads arguments, calls the public face, prints; results on stdout, the rest on stderr.

Everything heavy is imported inside the commands, so that --help answers at once.
"""

import io
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from topologies.document import Infeasible, InputError, Value, shorten

if TYPE_CHECKING:
    from sim.detail import Detail
    from sim.scenario import Scenario
    from sim.training import TrainingReport

OK, INTERNAL, USAGE, INFEASIBLE, INTERRUPTED = 0, 1, 2, 3, 130
SCENARIO_SUFFIXES = (".yaml", ".yml", ".json")

LATER = {
    "serve": "simulate an inference server under load",
    "plan": "search the best layout",
    "sweep": "run a study of many scenarios",
    "compare": "say why one scenario is slower than another",
    "explain": "say what bounds a step and what would help",
    "validate": "score predictions against a table of measured runs",
    "report": "write a planning report",
    "web": "open the app",
}

app = typer.Typer(
    name="shardsim",
    help="Simulate sharded LLM training: a model, run by a plan, on a cluster.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="a model's name or file, or a scenario file")],
    cluster: Annotated[str | None, typer.Argument(help="a cluster's name or file; none with a scenario file")] = None,
    gpus: Annotated[int | None, typer.Option(help="how many GPUs run the step")] = None,
    tp: Annotated[int | None, typer.Option(help="tensor parallelism")] = None,
    sp: Annotated[bool | None, typer.Option(help="Megatron sequence parallelism; on where tp > 1")] = None,
    pp: Annotated[int | None, typer.Option(help="pipeline parallelism")] = None,
    vpp: Annotated[int | None, typer.Option(help="model chunks per pipeline rank (interleaved)")] = None,
    cp: Annotated[int | None, typer.Option(help="context parallelism (not supported yet)")] = None,
    ep: Annotated[int | None, typer.Option(help="expert parallelism (not supported yet)")] = None,
    dp: Annotated[int | None, typer.Option(help="data parallelism; fills the GPUs")] = None,
    zero: Annotated[int | None, typer.Option(help="0, or 1: the distributed optimizer")] = None,
    schedule: Annotated[str | None, typer.Option(help="gpipe, 1f1b or interleaved")] = None,
    recompute: Annotated[str | None, typer.Option(help="none, selective or full; the least that fits")] = None,
    micro_batch: Annotated[int | None, typer.Option(help="sequences per microbatch")] = None,
    global_batch: Annotated[int | None, typer.Option(help="sequences per step")] = None,
    seq_len: Annotated[int | None, typer.Option(help="tokens per sequence")] = None,
    precision: Annotated[str | None, typer.Option(help="bf16 or fp16")] = None,
    framework: Annotated[str | None, typer.Option(help="megatron-core or megatron-lm")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="any field of a scenario: --set plan.tp=4")] = None,
    profile: Annotated[str | None, typer.Option(help="a profile of calibrate (not supported yet)")] = None,
    seed: Annotated[int, typer.Option(help="same seed, same bytes; nothing is random yet")] = 0,
    detail: Annotated[
        str | None, typer.Option(help="how finely: kernel, layer or stage; the coarsest that fits")
    ] = None,
    output: Annotated[str, typer.Option("--format", help="table, json or csv")] = "table",
    out: Annotated[Path | None, typer.Option(help="write result, trace, page and manifest into this folder")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no notes on stderr")] = False,
) -> None:
    """Simulate one training step and show where its time goes."""
    if profile is not None:
        raise InputError(
            "--profile is not supported yet: this release simulates from data sheets and published figures"
        )
    _one_of("detail", detail or "layer", ("kernel", "layer", "stage"))
    _one_of("format", output, tuple(PRINTERS))
    flags: dict[str, Value] = {
        "gpus": gpus, "tp": tp, "sp": sp, "pp": pp, "vpp": vpp, "cp": cp, "ep": ep, "dp": dp, "zero": zero,
        "schedule": schedule, "recompute": recompute, "micro_batch": micro_batch, "global_batch": global_batch,
        "seq_len": seq_len, "precision": precision, "framework": framework,
    }  # fmt: skip
    from sim.training import resolve, run_scenario

    scenario = resolve(_scenario(model, cluster, flags, sets or []))
    if out is not None:
        from sim.reports.files import make

        make(out)
    report = run_scenario(scenario, detail=cast("Detail | None", detail))
    if out is not None:
        _write(report, scenario, out, quiet)
    _print(PRINTERS[output](report))
    if not report.fits:
        raise typer.Exit(INFEASIBLE)


@app.command()
def models(name: Annotated[str | None, typer.Argument(help="a model's name or file")] = None) -> None:
    """List the models, or show one."""
    from sim import models as catalogue
    from sim.reports.catalogue import model_details, model_list

    _print(model_list() if name is None else model_details(catalogue.load(name)))


@app.command()
def clusters(name: Annotated[str | None, typer.Argument(help="a cluster's name or file")] = None) -> None:
    """List the clusters, or show one."""
    import topologies
    from sim.reports.catalogue import cluster_details, cluster_list

    _print(cluster_list() if name is None else cluster_details(topologies.load(name)))


def _refuse(name: str) -> Callable[[], None]:
    def refuse() -> None:
        raise InputError(f"shardsim {name} is not supported yet; `shardsim train` is")

    return refuse


for _name, _does in LATER.items():
    app.command(
        _name,
        help=f"{_does.capitalize()} (not supported yet).",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(_refuse(_name))


def _scenario(model: str, cluster: str | None, flags: Mapping[str, Value], sets: list[str]) -> "Scenario":
    """The scenario in a file, or the one that the flags describe; flags win over the file."""
    from sim import scenario

    if cluster is None and model.lower().endswith(SCENARIO_SUFFIXES):
        return scenario.load(Path(model), flags, sets)
    if cluster is not None and _is_scenario(model):
        raise InputError(f"{model} is a scenario and names its own cluster; leave {cluster} away, or --set cluster=...")
    if cluster is None:
        raise InputError(f"no cluster given for {model}; write `shardsim train {model} dgx-h100 --gpus 64`")
    return scenario.from_flags({"model": model, "cluster": cluster, **flags}, sets)


def _is_scenario(model: str) -> bool:
    from topologies.document import read

    path = Path(model)
    if not model.lower().endswith(SCENARIO_SUFFIXES) or not path.is_file():
        return False
    data = read(path).data
    return isinstance(data, dict) and "kind" in data


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"--{option} {value!r} is not known; use {', '.join(known)}")


def _write(report: "TrainingReport", scenario: "Scenario", folder: Path, quiet: bool) -> None:
    from sim.reports.files import write
    from sim.scenario import dump

    paths = write(report, dump(scenario), folder)
    if not quiet:
        sys.stderr.write(f"wrote {', '.join(path.name for path in paths)} to {folder}\n")


def _as_table(report: "TrainingReport") -> str:
    from sim.reports.terminal import render

    return render(report, shutil.get_terminal_size().columns, _has_color())


def _as_json(report: "TrainingReport") -> str:
    from sim.reports.files import result_json

    return result_json(report).decode() + "\n"


def _as_csv(report: "TrainingReport") -> str:
    from sim.reports.files import result_csv

    return result_csv(report)


PRINTERS: Mapping[str, Callable[["TrainingReport"], str]] = {"table": _as_table, "json": _as_json, "csv": _as_csv}


def _has_color() -> bool:
    """Colour on a terminal, unless NO_COLOR is set to anything [no-color.org]."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _print(text: str) -> None:
    """Print a result; that its reader has gone away (`| head -1`) is no error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left in the buffer
        if not isinstance(error, BrokenPipeError):
            raise InputError(f"cannot print the result: {error.strerror}") from None


def _check_arguments(arguments: list[str]) -> None:
    """An option counts once, so that none is ignored; --set may come again."""
    given = [argument.partition("=")[0] for argument in arguments if argument.startswith("--")]
    for option in given:
        if option != "--set" and given.count(option) > 1:
            raise InputError(f"{option} is given twice; keep one of them")
    for argument in arguments:
        if any("\udc80" <= character <= "\udcff" for character in argument):
            raise InputError(f"{shorten(argument)} is not UTF-8 text; write it, or name the file, in UTF-8")


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"shardsim: {message}\n")
    return code


def main() -> int:
    """Run the command line. Returns the exit code: 0 ok, 1 internal, 2 bad input, 3 does not fit, 130 interrupted."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        _check_arguments(sys.argv[1:])
        code = app(prog_name="shardsim", standalone_mode=False)
        if code == INTERRUPTED:  # what typer makes of Ctrl-C within a command
            raise KeyboardInterrupt
    except typer.TyperException as error:
        return _complain(f"{error.format_message()}\nsee `shardsim --help`, or `shardsim train --help`", USAGE)
    except InputError as error:
        return _complain(str(error), USAGE)
    except Infeasible as error:
        return _complain(str(error), INFEASIBLE)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", INTERRUPTED)
    except RecursionError:
        return _complain("a field is nested too deeply; write one such as plan.tp", USAGE)
    except MemoryError:
        return _complain("out of memory; use --detail stage, or a smaller --global-batch", INTERNAL)
    except Exception as error:
        if "SHARDSIM_DEBUG" in os.environ:
            raise
        return _complain(f"internal error, please report it: {type(error).__name__}: {error}", INTERNAL)
    return code if isinstance(code, int) else OK


if __name__ == "__main__":
    sys.exit(main())
