"""What the shell offers at Tab, and how soon."""

import os
import subprocess
import sys

import pytest

from sim import models
from sim.commands import completion
from tests.command import ROOT


def completed(line: str, shell: str = "bash") -> list[str]:
    """What the shell is told for a line that ends where the cursor is."""
    words = line.split(" ")
    asked = {"_SHARDSIM_COMPLETE": f"complete_{shell}", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    asked |= {"_TYPER_COMPLETE_ARGS": line}
    command = [sys.executable, "-m", "sim.cli"]
    environment = os.environ | asked | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("shardsim tr", ["train"]),
        ("shardsim train llama3-7", ["llama3-70b"]),
        ("shardsim train llama3-70b dgx-h1", ["dgx-h100"]),
        ("shardsim train llama3-70b dgx-h100 --schedule in", ["interleaved"]),
        ("shardsim train llama3-70b dgx-h100 --price re", ["reserved"]),
        ("shardsim train llama3-70b dgx-h100 --global", ["--global-batch"]),
        ("shardsim models nemotron4-3", ["nemotron4-340b"]),
        ("shardsim gpus h100-8", ["h100-80gb-sxm"]),
        ("shardsim links nvlink4", ["nvlink4", "nvlink4-h800"]),
        ("shardsim schema sc", ["scenario"]),
        ("shardsim train ./my-mo", []),
    ],
)
def test_commands_names_and_options_complete(line: str, offered: list[str]) -> None:
    assert completed(line) == offered


def test_every_model_is_offered_for_nothing() -> None:
    assert completion.model("") == models.names()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_shown(shell: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "_SHARDSIM_COMPLETE": f"source_{shell}"}
    done = subprocess.run(
        [sys.executable, "-m", "sim.cli"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "_SHARDSIM_COMPLETE" in done.stdout


def test_completion_loads_nothing_heavy() -> None:
    heavy = ("numpy", "pydantic", "rich", "simpy", "jinja2")
    names = ", ".join(f"completion.{noun}('')" for noun in ("model", "cluster", "gpu", "link", "framework"))
    code = f"from sim.commands import completion; {names}; import sys; "
    code += f"sys.exit(', '.join(name for name in {heavy} if name in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
