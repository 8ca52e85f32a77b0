"""The command `calibrate`: each of its commands has its name, and says that it is not supported yet."""

import subprocess
import sys
from pathlib import Path

import pytest

from calibrate import cli

ROOT = Path(__file__).parents[2]
COMMANDS = ("run", "import", "fit", "score", "show", "compare", "check", "verify", "devices")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("arguments", [[], ["table.csv", "--gpu", "h100-80gb-sxm", "--format", "json"], ["-x"]])
def test_a_command_is_not_supported_yet_whatever_it_is_given(
    command: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"calibrate {command} is not supported yet")
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["fits"], ["--foo"], ["--foo", "run"]])
def test_what_is_not_there_is_refused_in_two_lines(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.count("\n") == 2
    assert "calibrate: error: " in err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    out, err = capsys.readouterr()
    assert (ended.value.code or 0, err) == (0, "")
    assert all(f"\n  {command} " in out for command in COMMANDS)


def test_help_loads_nothing_heavy() -> None:
    heavy = ("numpy", "pydantic", "rich", "simpy", "torch", "pandas", "scipy", "streamlit")
    code = "import sys; from calibrate import cli; cli.main(['show'])"
    check = f"; sys.exit(', '.join(name for name in {heavy} if name in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code + check], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
