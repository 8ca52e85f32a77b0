"""The command `calibrate`: its commands have their names already, and each says that it is not supported yet."""

import argparse
import sys
from collections.abc import Sequence

USAGE_ERROR = 2

COMMANDS = {
    "run": "measure this machine: kernels, collectives, links",
    "import": "read measurements that other tools made",
    "fit": "turn samples into a profile",
    "score": "compare a profile with measured kernels or collectives",
    "show": "print a profile",
    "compare": "set two profiles side by side",
    "check": "tell whether a profile still holds on this machine",
    "verify": "run small sharded blocks and compare them with the simulator",
    "devices": "list the devices that can be measured",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; `arguments` default to the process's own. Returns the exit code: 2, not supported yet."""
    command = _parser().parse_args(arguments).command
    print(
        f"calibrate {command} is not supported yet: this release simulates from data sheets and published figures",
        file=sys.stderr,
    )
    return USAGE_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="calibrate",
        description="Measure hardware and fit the simulator to it. No command is supported yet.",
        epilog="commands:\n" + "\n".join(f"  {name:<9}{does}" for name, does in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the commands below")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="...", help="what the command takes")
    return parser
