"""The documentation is true: its commands, numbers, tables, links and its tree of files, and the files in examples/."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from fnmatch import fnmatch
from pathlib import Path

import pytest
import typer

import topologies
from calibrate import cli
from calibrate.profile import Counts
from calibrate.running import summary
from calibrate.running.run import Result
from calibrate.verification import verified
from sim import models, run_scenario, scenario
from sim.commands import console
from sim.plan import Plan
from sim.scenario import serving
from sim.scenario.serving.schema import schema
from sim.serving.simulation import simulate_serving
from tests.command import Shardsim
from tests.processor import CPU
from tests.verified import PIPELINE, verification
from topologies.document import Value
from topologies.quantity import GIGA

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DESIGN = (ROOT / "docs/design.md").read_text(encoding="utf-8")
PAGES = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))]
SERVING = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
EXPLAIN = (ROOT / "docs/explain.md").read_text(encoding="utf-8")
MEASURING = ["README.md", "docs/calibrate.md", "docs/calibration.md"]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.yaml"))
NEED_NO_CAPTION = ("__init__.py", "py.typed", "__pycache__", ".*")
TREE_LINE = re.compile(r"( *)([\w.-]+/?) {2,}\S.*")


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run in a folder that has the examples, so that what is written lands there and not in the repository."""
    if not (folder / "examples").exists():
        (folder / "examples").symlink_to(ROOT / "examples")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80", "NO_COLOR": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = [line for block in blocks(README, "sh") for line in block.splitlines()]
    assert all(line.startswith("shardsim ") for line in lines)
    return [line.removeprefix("shardsim ") for line in lines]


@pytest.mark.parametrize("arguments", commands())
def test_a_command_of_the_readme_runs(arguments: str, folder: Path, shardsim: Shardsim) -> None:
    (folder / "examples").symlink_to(ROOT / "examples")
    done = shardsim(*shlex.split(arguments))
    assert (done.code, done.out != "") == (0, True), done.err


def calls_of_calibrate() -> list[tuple[str, ...]]:
    """What pages say to type after `calibrate`, whoever starts it; what the shell does with its output is left out."""
    pages = [(ROOT / page).read_text(encoding="utf-8") for page in MEASURING]
    code = "".join(
        block for page in pages for language in ("sh", "bash", "console") for block in blocks(page, language)
    )
    code += "\n".join(line for page in pages for line in re.findall(r"^ {4}calibrate .*", page, re.MULTILINE))
    lines = code.replace("\\\n", " ").splitlines()
    found = [
        re.search(r"^ *(?:srun |mpirun .*|torchrun .*)?(?:-m )?\bcalibrate(?:\.cli)? ([^>|]+)", line) for line in lines
    ]
    return sorted({tuple(shlex.split(one[1], comments=True)) for one in found if one})


@pytest.mark.parametrize("arguments", calls_of_calibrate(), ids=" ".join)
def test_a_command_of_calibrate_has_the_options_that_pages_give_it(arguments: tuple[str, ...]) -> None:
    group = typer.main.get_group(cli.app)
    name, command, rest = group.resolve_command(group.make_context("calibrate", list(arguments)), list(arguments))
    assert command is not None
    command.make_context(name, rest)


def test_the_make_commands_of_all_pages_exist() -> None:
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"(?:`|^ {4})make ([a-z-]+)", text, re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_the_demo_prints_what_the_readme_shows(tmp_path: Path) -> None:
    """Makefile: demo is `shardsim train llama3-70b dgx-h100 --gpus 64 --out out/demo`."""
    recipe = re.search(
        r"^demo:.*\n\t@\S+/shardsim (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert recipe is not None
    done = run([sys.executable, "-m", "sim.cli", *shlex.split(recipe[1])], tmp_path)
    shown = next(block for block in blocks(README, "text") if block.startswith("llama3-70b on 64 GPUs"))
    assert done.stdout.startswith(shown)
    written = sorted(path.name for path in (tmp_path / "out/demo").iterdir())
    assert len(written) == 6
    assert all(f"`{name}`" in README for name in written)


def test_the_readme_shows_what_a_served_load_prints(
    shardsim: Shardsim, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (block,) = [block for block in blocks(README, "console") if block.startswith("$ shardsim serve ")]
    command, _, shown = block.partition("\n")
    done = shardsim(*shlex.split(command)[2:])
    assert (done.code, done.out[: len(shown)]) == (0, shown)


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    (code,) = blocks(README, "python")
    assert sum(map(bool, code.splitlines())) == 5
    done = run([sys.executable, "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "'bubble'" in done.stdout


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_says_the_whole_plan_and_fits(example: str) -> None:
    said = scenario.load(ROOT / "examples" / example)
    needed = [field.name for field in fields(Plan) if field.default is MISSING]
    assert None not in [getattr(said.plan, name) for name in needed]
    assert run_scenario(said, detail="stage").fits


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_says_how_to_run_itself(example: str) -> None:
    assert f"shardsim train examples/{example}" in (ROOT / "examples" / example).read_text(encoding="utf-8")


def test_the_scenario_of_its_page_fits(tmp_path: Path) -> None:
    (text,) = blocks((ROOT / "docs/scenario.md").read_text(encoding="utf-8"), "yaml")
    path = tmp_path / "scenario.yaml"
    path.write_text(text, encoding="utf-8")
    assert run_scenario(scenario.load(path), detail="stage").fits


def test_the_serving_scenario_of_its_page_keeps_its_promises(tmp_path: Path) -> None:
    (text,) = blocks(SERVING, "yaml")
    path = tmp_path / "scenario.yaml"
    path.write_text(text, encoding="utf-8")
    assert simulate_serving(serving.load(path), finds_knee=False).is_met


def test_every_field_of_a_serving_scenario_is_in_the_pages() -> None:
    made = schema()
    sections = made["$defs"]
    assert isinstance(sections, dict)
    here = {name: section for name, section in sections.items() if name not in ("ClusterSection", "ExpertsSection")}
    named = {field for section in (made, *here.values()) for field in properties(section)}
    pages = SERVING + "".join((ROOT / f"docs/{page}.md").read_text(encoding="utf-8") for page in ("traces", "scenario"))
    assert {field for field in named if not re.search(rf"\b{field}\b", pages)} == set()


def properties(section: object) -> set[str]:
    assert isinstance(section, dict)
    return set(section.get("properties", ()))


def test_the_example_models_and_clusters_are_what_they_say() -> None:
    clusters = [topologies.load(path) for path in sorted((ROOT / "examples/clusters").iterdir())]
    assert [cluster.num_gpus for cluster in clusters] == [32, 128]
    (model,) = [models.load(path) for path in (ROOT / "examples/models").iterdir()]
    said = (ROOT / "examples/models/small-moe.yaml").read_text(encoding="utf-8")
    counts = models.num_parameters(model) / GIGA, models.active_parameters(model) / GIGA
    assert "of {:.1f} B parameters, of which a token meets {:.1f} B".format(*counts) in said


def published(row: str) -> dict[str, str]:
    tables = ("korthikanti22.csv", "megatron_sc21.csv")
    for name in tables:
        with (ROOT / "tests/measured" / name).open(newline="", encoding="utf-8") as table:
            for entry in csv.DictReader(table):
                if entry["row"] == row:
                    return entry
    raise AssertionError(f"{row} is in none of {tables}")


def predicted(row: dict[str, str]) -> float:
    """The row's plan as flags; there was no distributed optimizer."""
    flags: dict[str, Value] = {name: int(row[name]) for name in ("gpus", "tp", "pp", "vpp", "dp", "seq_len")}
    flags |= {name: row[name] for name in ("model", "precision", "schedule", "recompute")}
    flags |= {
        "micro_batch": int(row["micro_batch"]),
        "global_batch": int(row["global_batch"]),
        "sp": row["sp"] == "yes",
    }
    flags |= {"cluster": "dgx-a100", "framework": "megatron-lm", "zero": 0}
    return run_scenario(scenario.from_flags(flags), detail="stage").timeline.duration


ACCURACY = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in README.splitlines()
    if re.match(r"\| (korthikanti22|megatron-sc21)-\d", line)
]


def test_the_readme_shows_the_nine_rows_that_have_a_bound() -> None:
    assert [cells[0] for cells in ACCURACY] == [f"korthikanti22-00{row}" for row in range(1, 9)] + ["megatron-sc21-010"]


@pytest.mark.parametrize("cells", ACCURACY, ids=[cells[0] for cells in ACCURACY])
def test_a_row_of_the_readme_is_what_was_published_and_what_is_predicted(cells: list[str]) -> None:
    row = published(cells[0])
    measured, now = float(row["step_time_s"]), predicted(row)
    assert cells[1:4] == [row["model"], f"{int(row['gpus']):,}", row["recompute"]]
    assert cells[4:] == [f"{measured:.2f}", f"{now:.2f}", f"{now / measured - 1:+.1%}".replace("%", " %")]


def first_column(heading: str, page: str = DESIGN) -> set[str]:
    """The words in code of the first column of the table with this heading."""
    rows = page.split(heading, 1)[1].split("\n\n", 1)[0].splitlines()
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1] if row.startswith("|") else "")}


def test_the_keys_in_the_design_are_those_of_the_json(shardsim: Shardsim) -> None:
    result = json.loads(shardsim("train", "llama3-8b", "dgx-h100", "--gpus", "8", "--format", "json").out)
    assert first_column("| key | unit | meaning |") == set(result)
    assert first_column("| key of `breakdown` | time in which |") == set(result["breakdown"])


def test_the_keys_of_serve_in_the_design_are_those_of_the_json(shardsim: Shardsim) -> None:
    done = shardsim("serve", "llama3-8b", "dgx-h100", "--gpus", "1", "--num-requests", "4", "--format", "json")
    result = json.loads(done.out)
    assert first_column("| key of `serve` | unit | meaning |") == set(result)
    assert first_column("| key of `breakdown` of `serve` | time in which the request |") == set(result["breakdown"])
    assert set(result["first_token_breakdown"]) == set(result["breakdown"])


def test_the_keys_of_explain_in_its_page_are_those_of_the_json(shardsim: Shardsim) -> None:
    done = shardsim("explain", "llama3-8b", "dgx-h100", "--gpus", "8", "--format", "json")
    assert first_column("| key of `explain` | meaning |", EXPLAIN) == set(json.loads(done.out))


@pytest.mark.parametrize("command", ["compare", "check", "devices"])
def test_the_keys_of_calibrate_in_the_design_are_those_of_the_json(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = (str(ROOT / f"topologies/fits/{name}.yaml") for name in ("h200-sxm", "h100-80gb-sxm"))
    arguments = {"compare": [one, other], "check": [one, "--against", other], "devices": []}
    monkeypatch.setattr(sys, "argv", ["calibrate", command, *arguments[command], "--format", "json"])
    cli.main()
    assert first_column(f"| key of `calibrate {command}` | meaning |") == set(json.loads(capsys.readouterr().out))


def test_the_keys_of_run_and_verify_in_the_design_are_those_of_their_records() -> None:
    counts = Counts(points=0, seconds=0.0)
    ran = Result(machine=CPU, folder=ROOT, counts=counts, measured=(), impossible=0, done=())
    assert first_column("| key of `calibrate run` | meaning |") == set(summary.record(ran))
    assert first_column("| key of `calibrate verify` | meaning |") == set(verified.record(verification(PIPELINE)))


def test_the_exit_codes_in_the_design_are_those_of_the_command() -> None:
    rows = DESIGN.split("| exit code | meaning |", 1)[1].split("\n\n", 1)[0]
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", rows, re.MULTILINE)}
    ended = {console.OK, console.INTERNAL, console.USAGE, console.INFEASIBLE, console.INTERRUPTED}
    assert ended | {console.MISSING, console.PARTIAL} == listed


def test_the_layers_in_the_design_are_those_that_are_checked() -> None:
    """pyproject.toml lists them highest first, the design lowest first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (inside,) = (contract for contract in contracts if contract.get("containers") == ["sim"])
    checked = [set(re.findall(r"\w+", layer)) for layer in reversed(inside["layers"])]
    table = DESIGN.split("| layer | modules | what they do |", 1)[1].split("\n\n", 1)[0]
    assert [set(re.findall(r"`(\w+)`", row.split("|")[2])) for row in table.splitlines()[2:]] == checked


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_resolve(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    missing = [to for to in targets if "://" not in to and not (ROOT / page).parent.joinpath(to.split("#")[0]).exists()]
    assert not missing


def test_pictures_are_small() -> None:
    for picture in (ROOT / "docs/images").iterdir():
        assert picture.stat().st_size < 300_000, picture.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A line of the README's tree."""

    path: Path
    is_folder: bool


def tree() -> Iterator[Place]:
    """Two spaces of indent lead one folder down."""
    above: list[str] = []
    for line in blocks(README, "text")[-1].splitlines():
        found = TREE_LINE.fullmatch(line)
        assert found is not None, f"not a name and a caption: {line}"
        depth = len(found[1]) // 2
        above[depth:] = [found[2].rstrip("/")]
        yield Place(path=Path(*above), is_folder=found[2].endswith("/"))


def test_everything_in_the_tree_exists() -> None:
    wrong = [place.path for place in tree() if not (ROOT / place.path).exists()]
    wrong += [place.path for place in tree() if (ROOT / place.path).is_dir() != place.is_folder]
    assert not wrong


def test_a_folder_that_the_tree_opens_is_shown_whole() -> None:
    """At the root, where anybody may keep files, what is packed counts."""
    shown = {place.path for place in tree()}
    opened = {path.parent for path in shown if path.parent != Path()}
    left_out = [
        entry.relative_to(ROOT)
        for folder in opened
        for entry in (ROOT / folder).iterdir()
        if entry.relative_to(ROOT) not in shown and not any(fnmatch(entry.name, name) for name in NEED_NO_CAPTION)
    ]
    assert not left_out
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packed = settings["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {Path(name.lstrip("/")) for name in packed} <= shown
