"""The command `calibrate`: measurements into fits, and fits beside measurements.

The commands are in calibrate/commands; everything heavy is imported inside them, so that --help answers at once.
"""

import sys

import typer

from calibrate.commands.fit import fit
from calibrate.commands.import_ import import_
from calibrate.commands.score import score
from calibrate.commands.show import show
from sim.commands import program

LATER = {
    "run": "measure this machine: kernels, collectives, links",
    "compare": "set two profiles side by side",
    "check": "tell whether a profile still holds on this machine",
    "verify": "run small sharded blocks and compare them with the simulator",
    "devices": "list the devices that can be measured",
}

app = typer.Typer(
    name="calibrate",
    help="Fit the simulator to measurements, and say how well the fits hold.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("import")(import_)
app.command()(fit)
app.command()(score)
app.command()(show)

program.add_later(app, "calibrate", LATER, "`calibrate import`, fit, score and show are")


def main() -> int:
    """Run the command line. Returns the exit code: 0 ok, 1 internal, 2 bad input, 130 interrupted."""
    return program.run(app, "calibrate", "fit")


if __name__ == "__main__":
    sys.exit(main())
