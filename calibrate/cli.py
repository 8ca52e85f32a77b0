"""The command `calibrate`: measurements into fits, and fits beside measurements.

The commands are in calibrate/commands; everything heavy is imported inside them, so that --help answers at once.
"""

import sys

import typer

from calibrate.commands.check import check
from calibrate.commands.compare import compare
from calibrate.commands.devices import devices
from calibrate.commands.fit import fit
from calibrate.commands.import_ import import_
from calibrate.commands.run import run
from calibrate.commands.score import score
from calibrate.commands.show import show
from calibrate.commands.verify import verify
from sim.commands import program

app = typer.Typer(
    name="calibrate",
    help="Fit the simulator to measurements, and say how well the fits hold.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.command("import")(import_)
app.command()(fit)
app.command()(score)
app.command()(show)
app.command()(devices)
app.command()(compare)
app.command()(check)
app.command()(verify)


def main() -> int:
    """Run the command line.

    Returns the exit code: 0 ok, 1 internal or a rank that died, 2 bad input, 3 beyond a tolerance, 4 no such hardware,
    5 points are left, 130 interrupted.
    """
    return program.run(app, "calibrate", "fit")


if __name__ == "__main__":
    sys.exit(main())
