"""The command `shardsim`: its commands, and what an error becomes: one or two lines on stderr, and an exit code.

The commands are in sim/commands; everything heavy is imported inside them, so that --help answers at once.
"""

import io
import os
import sys
from collections.abc import Callable

import typer

from sim.commands import catalogue
from sim.commands.console import INFEASIBLE, INTERNAL, INTERRUPTED, OK, USAGE
from sim.commands.train import train
from sim.commands.validate import validate
from topologies.document import Infeasible, InputError, shorten

LATER = {
    "serve": "simulate an inference server under load",
    "plan": "search the best layout",
    "sweep": "run a study of many scenarios",
    "compare": "say why one scenario is slower than another",
    "explain": "say what bounds a step and what would help",
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
COMMANDS = (
    train,
    validate,
    catalogue.models,
    catalogue.clusters,
    catalogue.gpus,
    catalogue.links,
    catalogue.schema,
)
for _command in COMMANDS:
    app.command()(_command)


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


def _check_arguments(arguments: list[str]) -> None:
    """An option counts once, so that none is ignored, and --sp rules out --no-sp; --set may come again."""
    given = [argument.partition("=")[0] for argument in arguments if argument.startswith("--")]
    for option in given:
        if option != "--set" and given.count(option) > 1:
            raise InputError(f"{option} is given twice; keep one of them")
        if f"--no-{option[2:]}" in given:
            raise InputError(f"{option} and --no-{option[2:]} say different things; keep one of them")
    for argument in arguments:
        if any("\udc80" <= character <= "\udcff" for character in argument):
            raise InputError(f"{shorten(argument)} is not UTF-8 text; write it, or name the file, in UTF-8")


def _open_closed_streams() -> None:
    """A program started with `>&-` has no stdout at all; what it would print there goes nowhere."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - it stays open
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115 - it stays open


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"shardsim: {message}\n")
    return code


def main() -> int:
    """Run the command line. Returns the exit code: 0 ok, 1 internal, 2 bad input, 3 does not fit, 130 interrupted."""
    _open_closed_streams()
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
