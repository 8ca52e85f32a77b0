"""The command line as a stranger with bad luck meets it: an answer on stdout, or one or two lines on stderr."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sim import cli, limits

ROOT = Path(__file__).parents[2]
STEP = ("llama3-8b", "dgx-h100", "--gpus", "8", "--tp", "4", "--global-batch", "8")
FREE = ("llama3-70b", "dgx-h100", "--gpus", "64")
KEYS = {
    "step_time_s", "tokens_per_s", "tokens_per_s_per_gpu", "model_tflops_per_gpu", "hardware_tflops_per_gpu", "mfu",
    "hfu", "bubble_fraction", "breakdown", "peak_memory_gib", "peak_reserved_gib", "fits", "interval", "parameters",
}  # fmt: skip
BREAKDOWN = {
    "compute", "exposed_tp", "exposed_cp", "exposed_pp", "exposed_ep", "exposed_dp", "bubble", "optimizer", "host",
    "other",
}  # fmt: skip
NUMBERS = ("tp", "pp", "vpp", "dp", "cp", "ep", "zero", "gpus", "micro-batch", "global-batch", "seq-len")
SCENARIO = "kind: training\nmodel: llama3-8b\ncluster: dgx-h100\ngpus: 8\n"
MODEL = "{name: a, num_layers: 2, hidden: 64, num_heads: 4, ffn: 128, vocab: 100, max_seq_len: 32}"
CLUSTER = """\
name: mine
gpu: h100-80gb-sxm
gpus_per_node: 8
nvlink: {name: wire, bandwidth: 450 GB/s, latency: 1 us, \
achievable: {bandwidth_efficiency: 0.8, launch_latency: 8 us}}
nic: ib-ndr400
nics_per_node: 8
nodes: 4
wiring: rail-optimised
"""
ALIAS_BOMB = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
BAD_FILES: dict[str, tuple[bytes, str]] = {
    "malformed": (b"a: [1, 2", "f.yaml:1: not valid YAML"),
    "binary": (bytes(range(256)) * 9, "f.yaml: not UTF-8 text"),
    "zeros": (b"a: 1\0", "f.yaml: binary data"),
    "deep": (b"[" * 5000, "f.yaml:1: nested more than 100 levels deep"),
    "alias bomb": (ALIAS_BOMB.encode(), r"f.yaml:2: aliases \(\*a\) are not read"),
    "tag": (b'a: !!python/object/apply:os.mkdir ["made"]', "f.yaml:1: YAML tags such as !name are not read"),
    "empty": (b"", "f.yaml: the file is empty"),
    "2 MB": (b"a: 1\n" * 400_000, "f.yaml: larger than 1 MB"),
    "latin-1": ("kind: tra\xeening".encode("latin-1"), "f.yaml: not UTF-8 text"),
    "utf-16": (SCENARIO.encode("utf-16"), "f.yaml: not UTF-8 text"),
    "a list": (b"- 1", "f.yaml: should be a mapping of fields"),
    "a number": (b"42", "f.yaml: should be a mapping of fields"),
    "something else": (b"colour: red", "f.yaml:1: colour: unknown field"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    out: str
    err: str


Shardsim = Callable[..., Answer]


@pytest.fixture
def shardsim(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shardsim:
    """Runs the command in this process."""

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["shardsim", *arguments])
        code = cli.main()
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def process(*arguments: str, **options: object) -> "subprocess.Popen[str]":
    """Runs the command in a process of its own."""
    command = [sys.executable, "-m", "sim.cli", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(command, env=environment, text=True, **streams)  # type: ignore[call-overload,no-any-return]


def assert_refused(answer: Answer, message: str) -> None:
    assert (answer.code, answer.out) == (2, ""), answer
    assert re.search(message, answer.err), answer.err
    assert answer.err.startswith("shardsim: ")
    assert answer.err.count("\n") <= 2
    assert len(answer.err) < 400
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing command"),
        (("--foo",), "No such option: --foo"),
        (("trian", "x"), "No such command 'trian'.*train"),
        (("train",), "Missing argument"),
        (("train", "llama3-8b"), "no cluster given for llama3-8b; write `shardsim train llama3-8b dgx-h100 --gpus 64`"),
        (("train", "llama3-8b", "dgx-h100"), "how many GPUs of dgx-h100 is not said"),
        (("train", "llama3-8b", "dgx-h100", "x", "--gpus", "8"), r"unexpected extra argument\(s\) \(x\)"),
        (("train", "lama3-70b", "dgx-h100", "--gpus", "8"), "unknown model 'lama3-70b'; did you mean llama3-70b"),
        (("train", "", "", "--gpus", "8"), "model: "),
        (("train", "x" * 5000, "dgx-h100", "--gpus", "8"), "unknown model 'xxx"),
        (("train", "\x1b[31mx", "dgx-h100", "--gpus", "8"), r"unknown model '\\x1b\[31mx'"),
        (("train", "\udcff.yaml", "dgx-h100", "--gpus", "8"), "not UTF-8 text"),
        (("train", "a\0.yaml", "dgx-h100", "--gpus", "8"), "cannot be read: embedded null byte"),
        (("train", "llama3-8b", "dgx-h10", "--gpus", "8"), "unknown cluster 'dgx-h10'; did you mean dgx-h100"),
        (("models", "lama3-70b"), "did you mean llama3-70b"),
        (("clusters", "dgx-h10"), "did you mean dgx-h100"),
        (("models", "a", "b"), "unexpected extra argument"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(shardsim: Shardsim, arguments: tuple[str, ...], message: str) -> None:
    assert_refused(shardsim(*arguments), message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--tp 3", "tp=3 does not divide num_heads=64 of llama3-70b; use 1, 2, 4, 8"),
        ("--tp 8 --pp 3", "tp x pp = 8 x 3 = 24 does not divide gpus=64"),
        ("--set gpus=40000", "gpus=40000: dgx-h100 has 32768"),
        ("--set gpus=9000000", "gpus=9000000: dgx-h100 has 32768"),
        ("--set cluster.nodes=2", "gpus=64, but dgx-h100 has 16"),
        ("--tp 8 --dp 3", "use dp=8, or gpus=24"),
        ("--tp 8 --pp 8 --vpp 3", "24 stages do not divide 80 layers"),
        ("--schedule interleaved --tp 8 --pp 8", "use vpp=2 or more"),
        ("--global-batch 7 --tp 8", "global_batch=7 is not a multiple of micro_batch x dp = 1 x 8 = 8"),
        ("--sp --tp 1", "sp .* needs tp > 1"),
        ("--schedule 1f1b --schedule gpipe", "--schedule is given twice"),
        ("--gpus=8", "--gpus is given twice"),
        ("--schedule zigzag", "plan.schedule: .*got 'zigzag'"),
        ("--recompute all", "plan.recompute: .*got 'all'"),
        ("--precision bf61", "precision: .*got 'bf61'"),
        ("--framework megatron-cor", "did you mean megatron-core"),
        ("--format xml", "--format 'xml' is not known; use table, json, csv"),
        ("--detail foo", "--detail 'foo' is not known; use kernel, layer, stage"),
        ("--gpu 8", "No such option: --gpu .*--gpus"),
        ("--tpp 8", "No such option: --tpp .*--tp"),
        ("--sp=3", "does not take a value"),
        ("--tp", "requires an argument"),
        ("--set nonsense", "write FIELD=VALUE, for example --set plan.tp=4"),
        ("--set plan.tq=4", "plan.tq: unknown field"),
        ("--set plan=3", "plan: should be a mapping"),
        ("--set plan.tp=[1,2]", "plan.tp: .*got a list"),
        ("--set plan.tp=*a", "aliases"),
        ("--set plan.tp=!!int", "tags"),
        ("--set model=7", "model: .*got 7"),
        ("--set " + "a." * 3000 + "b=1", "no field lies that deep"),
        ("--set plan.tp=" + "[" * 9000, "nested more than 100 levels deep"),
        ("--set plan.tp=" + "9" * 5000, "a number of 5000 characters"),
    ],
)
def test_what_does_not_go_together_is_refused(shardsim: Shardsim, arguments: str, message: str) -> None:
    assert_refused(shardsim("train", *FREE, *arguments.split()), message)


@pytest.mark.parametrize("flag", NUMBERS)
@pytest.mark.parametrize("number", ["0", "-1", "1.5", "many", "", "1e3", str(10**12), str(10**18), str(10**30)])
def test_an_absurd_number_is_refused(shardsim: Shardsim, flag: str, number: str) -> None:
    others = ("llama3-8b", "dgx-h100", *(() if flag == "gpus" else ("--gpus", "8")))
    if (flag, number) != ("zero", "0"):
        assert_refused(shardsim("train", *others, f"--{flag}", number), flag.split("-")[0])


@pytest.mark.parametrize(
    "arguments",
    ["--cp 2", "--ep 4", "--zero 2", "--zero 3", "--schedule dualpipe", "--schedule zb-v", "--precision fp8",
     "--framework fsdp", "--profile x", "--set kind=serving", "--set plan.tp={choices:[1,2]}",
     "--set gpus={range:[8,64]}", "--set plan.schedule={choices:[1f1b,gpipe]}"],
)  # fmt: skip
def test_what_a_later_release_brings_is_not_supported_yet(shardsim: Shardsim, arguments: str) -> None:
    written = arguments.replace(":[", ": [").split(maxsplit=1)
    assert_refused(shardsim("train", *FREE, *written), "not supported yet")


@pytest.mark.parametrize("command", cli.LATER)
def test_a_later_command_is_not_supported_yet_whatever_it_is_given(shardsim: Shardsim, command: str) -> None:
    for arguments in ((), ("llama3-70b", "dgx-h100", "--rate", "4", "-x")):
        assert_refused(shardsim(command, *arguments), f"shardsim {command} is not supported yet")


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_refused_as_model_cluster_and_scenario(shardsim: Shardsim, folder: Path, kind: str) -> None:
    content, message = BAD_FILES[kind]
    (folder / "f.yaml").write_bytes(content)
    assert_refused(shardsim("train", "f.yaml", "dgx-h100", "--gpus", "8"), message)
    assert_refused(shardsim("train", "llama3-8b", "f.yaml", "--gpus", "8"), message)
    assert_refused(shardsim("train", "f.yaml"), message)
    assert_refused(shardsim("models", "f.yaml"), message)
    assert_refused(shardsim("clusters", "f.yaml"), message)
    assert not (folder / "made").exists()


def test_a_file_that_is_none_is_named(shardsim: Shardsim, folder: Path) -> None:
    """A pipe, which would be waited for, too."""
    (folder / "folder.yaml").mkdir()
    (folder / "loop.yaml").symlink_to("loop.yaml")
    os.mkfifo(folder / "pipe.yaml")
    for name, message in (
        ("gone.yaml", "gone.yaml: there is no such file"),
        ("folder.yaml", "folder.yaml: this is a directory"),
        ("loop.yaml", "cannot be read: too many levels of symbolic links"),
        ("pipe.yaml", "pipe.yaml: not a regular file"),
    ):
        assert_refused(shardsim("train", name, "dgx-h100", "--gpus", "8"), message)
        assert_refused(shardsim("train", "llama3-8b", name, "--gpus", "8"), message)
        assert_refused(shardsim("train", name), message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("450 GB/s", "-450 GB/s", "f.yaml:4: nvlink.bandwidth: '-450 GB/s': a bandwidth must be positive"),
        ("450 GB/s", "0 GB/s", "a bandwidth must be positive"),
        ("450 GB/s", "1e300 GB/s", "absurdly large for a bandwidth"),
        ("450 GB/s", "1e-300 GB/s", "absurdly small for a bandwidth"),
        ("450 GB/s", "450", "has no unit; write for example '450 GB/s'"),
        ("450 GB/s", "450 GB", "is not a bandwidth"),
        ("1 us", "-1 us", "a time must be positive"),
        ("0.8", "1.8", "bandwidth_efficiency: .*less than or equal to 1"),
        ("per_node: 8", "per_node: 0", "f.yaml:3: gpus_per_node: .*greater than or equal to 1"),
        ("nodes: 4", "nodes: 1000000000", "f.yaml:7: nodes: .*less than or equal to"),
        ("gpu: h100-80gb-sxm", "gpu: h100-80gb-sxn", "f.yaml:2: gpu: unknown GPU.*did you mean h100-80gb-sxm"),
        ("rail-optimised", "string", "f.yaml:8: wiring: "),
    ],
)
def test_a_cluster_that_cannot_be_is_refused_at_its_line(
    shardsim: Shardsim, folder: Path, old: str, new: str, message: str
) -> None:
    (folder / "f.yaml").write_text(CLUSTER)
    assert shardsim("train", "llama3-8b", "f.yaml", *STEP[2:]).code == 0
    (folder / "f.yaml").write_text(CLUSTER.replace(old, new, 1))
    assert_refused(shardsim("train", "llama3-8b", "f.yaml", *STEP[2:]), message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SCENARIO.replace("training", "serving"), "f.yaml:1: kind: serving is not supported yet"),
        (
            SCENARIO + "plan: {tp: {choices: [1, 2]}}",
            r"f.yaml:5: plan.tp: several values \(a sweep\) are not supported",
        ),
        (SCENARIO + "plan: {tp: {choices: [1, 2]", "f.yaml:5: not valid YAML"),
        (SCENARIO + "plam: {tp: 2}", "f.yaml:5: plam: unknown field; did you mean plan"),
        (SCENARIO + "plan: {tp: 3}", "tp=3 does not divide num_heads=32"),
        (SCENARIO + "gpus: 16", "f.yaml:5: 'gpus' is given twice"),
        (SCENARIO.replace("llama3-8b", "f.yaml"), "f.yaml:2: model: f.yaml:1: kind: unknown field"),
        (SCENARIO.replace("gpus: 8", "gpus: 0"), "f.yaml:4: gpus: .*greater than or equal to 1"),
        (MODEL, "f.yaml:1: name: unknown field"),
    ],
)
def test_a_scenario_that_cannot_be_is_refused_at_its_line(
    shardsim: Shardsim, folder: Path, text: str, message: str
) -> None:
    (folder / "f.yaml").write_text(text)
    assert_refused(shardsim("train", "f.yaml"), message)


def test_a_config_of_hugging_face_is_not_supported_yet(shardsim: Shardsim, folder: Path) -> None:
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "hidden_size": 4096}')
    assert_refused(shardsim("train", "config.json", "dgx-h100", "--gpus", "8"), "Hugging Face config.json is not supp")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("llama3-70b dgx-h100 --gpus 64 --seq-len 3", r"[\d,]+ microbatches .* use --global-batch \d+ or less"),
        ("llama3-70b dgx-h100 --gpus 64 --global-batch 10000000", r"use --global-batch \d+ or less"),
        ("llama3-8b dgx-h100 --gpus 64 --micro-batch 10000000", "global_batch=.* is not possible"),
        ("llama3-8b dgx-h100 --gpus 8 --tp 8 --global-batch 200000", "use --detail stage, or --global-batch"),
        ("gpt-1t dgx-a100 --gpus 512 --tp 8 --pp 64 --detail kernel", "use --detail layer, or --global-batch"),
        ("llama3-8b dgx-h100 --gpus 32764 --tp 2", "unequal ranks are too many .* use whole nodes"),
        ("f.yaml dgx-h100 --gpus 8", r"[\d,]+ microbatches .* use --global-batch \d+ or less"),
        ("llama3-8b large.yaml --gpus 10000000", "gpus=10000000 are too many to simulate; use at most 1,000,000"),
    ],
)
def test_a_step_that_would_take_hours_is_refused_soon(
    shardsim: Shardsim, folder: Path, arguments: str, message: str
) -> None:
    (folder / "f.yaml").write_text(MODEL.replace("32}", "1}"))
    (folder / "large.yaml").write_text(CLUSTER.replace("nodes: 4", "nodes: 100000").replace("node: 8", "node: 100"))
    assert_refused(shardsim("train", *arguments.split()), message)


@pytest.mark.parametrize(("pp", "most", "beyond"), [("1", "12", "14"), ("2", "6", "8")])
def test_the_batch_that_is_offered_instead_is_taken_and_the_next_is_not(
    shardsim: Shardsim, monkeypatch: pytest.MonkeyPatch, pp: str, most: str, beyond: str
) -> None:
    """A microbatch through 32 layers is 2 x (4 + 32) = 72 operations, on two stages 2 x (8 + 32) = 80: of 500 at most,
    6 microbatches either way, with dp=2 12 sequences."""
    monkeypatch.setattr(limits, "MAX_OPERATIONS", 500)
    arguments = ("train", "llama3-8b", "dgx-h100", "--gpus", "8", "--tp", "4", "--pp", pp, "--detail", "layer")
    for batch in ("1000", beyond):
        refused = shardsim(*arguments, "--global-batch", batch)
        assert_refused(refused, f"use --detail stage, or --global-batch {most} or less")
    assert shardsim(*arguments, "--global-batch", most).code == 0


def test_an_explicit_plan_that_does_not_fit_is_reported_all_the_same(shardsim: Shardsim) -> None:
    answer = shardsim("train", "llama3-70b", "dgx-h100", "--gpus", "8", "--tp", "8", "--format", "json")
    assert (answer.code, answer.err) == (3, "")
    assert json.loads(answer.out)["fits"] is False
    assert "Out of memory" in shardsim("train", "llama3-70b", "dgx-h100", "--gpus", "8", "--tp", "8").out


def test_where_no_plan_fits_one_line_says_by_how_much(shardsim: Shardsim) -> None:
    answer = shardsim("train", "llama3-405b", "dgx-h100", "--gpus", "8", "--format", "json")
    assert (answer.code, answer.out) == (3, "")
    assert re.fullmatch(
        r"shardsim: none of \d+ plans of llama3-405b on 8 GPUs .* needs .* GiB of .* GiB .*\n", answer.err
    )


def test_json_is_alone_on_stdout_with_every_key_of_the_design(shardsim: Shardsim) -> None:
    answer = shardsim("train", *STEP, "--format", "json")
    result = json.loads(answer.out)
    assert (answer.code, answer.err) == (0, "")
    assert result.keys() >= KEYS
    assert result["breakdown"].keys() == BREAKDOWN
    assert sum(result["breakdown"].values()) == pytest.approx(1, abs=1e-9)
    assert result["interval"].keys() == {"p10_s", "p50_s", "p90_s"}
    assert result["parameters"].keys() == {"measured", "interpolated", "extrapolated", "datasheet"}
    assert sum(result["parameters"].values()) == pytest.approx(1, abs=1e-9)
    assert result["bubble_fraction"] == result["breakdown"]["bubble"]
    assert result["tokens_per_s"] == pytest.approx(8 * 8192 / result["step_time_s"], rel=1e-12)


def test_csv_is_a_line_of_names_and_a_line_of_the_same_values(shardsim: Shardsim) -> None:
    names, values = shardsim("train", *STEP, "--format", "csv").out.splitlines()
    row = dict(zip(names.split(","), values.split(","), strict=True))
    result = json.loads(shardsim("train", *STEP, "--format", "json").out)
    assert float(row["step_time_s"]) == result["step_time_s"]
    assert float(row["breakdown.exposed_tp"]) == result["breakdown"]["exposed_tp"]
    assert float(row["peak_memory_gib"]) == max(result["peak_memory_gib"])
    assert (row["fits"], row["interval.p10_s"]) == ("true", "")


def test_the_same_command_gives_the_same_bytes(shardsim: Shardsim) -> None:
    for output in ("table", "json", "csv"):
        answers = [shardsim("train", *STEP, "--format", output, "--seed", seed) for seed in ("0", "0", "7")]
        assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize(
    "arguments",
    [
        "llama3-8b dgx-h100 --gpus 8",
        "gpt-22b dgx-a100 --gpus 32 --tp 4 --pp 4 --vpp 2 --no-sp --framework megatron-lm --precision fp16",
        "llama3-8b dgx-h100 --gpus 16 --tp 2 --pp 2 --zero 0 --schedule gpipe --global-batch 16 --detail kernel",
    ],
)
def test_the_command_in_a_result_gives_that_result(shardsim: Shardsim, arguments: str) -> None:
    first = shardsim("train", *arguments.split(), "--format", "json")
    again = shardsim(*shlex.split(json.loads(first.out)["command"])[1:], "--format", "json")
    assert first == again


def test_a_scenario_file_says_the_same_as_flags(shardsim: Shardsim, folder: Path) -> None:
    by_flags = shardsim("train", *STEP, "--format", "json")
    (folder / "step.YAML").write_text(SCENARIO + "plan: {tp: 4}\nbatch: {global: 8}\n")
    assert shardsim("train", "step.YAML", "--format", "json") == by_flags
    fields = {"kind": "training", "model": "llama3-8b", "cluster": "dgx-h100", "gpus": 8}
    (folder / "step.json").write_text(json.dumps({**fields, "plan": {"tp": 4}, "batch": {"global": 8}}))
    assert shardsim("train", "step.json", "--format", "json") == by_flags
    halved = shardsim("train", "step.YAML", "--tp", "2", "--set", "batch.global=16", "--format", "json")
    assert json.loads(halved.out)["scenario"]["plan"]["tp"] == 2
    assert json.loads(halved.out)["scenario"]["batch"]["global"] == 16


def test_the_scenario_that_is_written_gives_the_same_bytes_again(shardsim: Shardsim, folder: Path) -> None:
    """In every file, the picture of the command in manifest and page included."""
    (folder / "my model.yaml").write_text(MODEL)
    for arguments in (STEP, ("llama3-8b", "dgx-h100", "--gpus", "8"), ("my model.yaml", *STEP[1:])):
        assert shardsim("train", *arguments, "--out", "first").code == 0
        assert shardsim("train", "first/scenario.yaml", "--out", "second").code == 0
        names = sorted(path.name for path in Path("first").iterdir())
        assert names == ["manifest.json", "report.html", "result.json", "scenario.yaml", "timeline.json.gz"]
        for name in names:
            assert Path("first", name).read_bytes() == Path("second", name).read_bytes(), name


def test_notes_go_to_stderr_and_quiet_keeps_them_back(shardsim: Shardsim, folder: Path) -> None:
    told = shardsim("train", *STEP, "--format", "json", "--out", "runs/a b")
    quiet = shardsim("train", *STEP, "--format", "json", "--out", "runs/a b", "--quiet")
    assert re.fullmatch(r"wrote result.json, .* to runs/a b\n", told.err)
    assert quiet == Answer(0, told.out, "")


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere", "x" * 300])
def test_a_place_that_cannot_be_written_is_refused_before_the_run(
    shardsim: Shardsim, folder: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (folder / "file").write_text("mine")
    monkeypatch.setattr("sim.training.run_scenario", lambda *_, **__: pytest.fail("it ran"))
    assert_refused(shardsim("train", *STEP, "--out", place), f"cannot write to {place}: .*; use another --out")
    assert (folder / "file").read_text() == "mine"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("no_color", "is_coloured"), [(None, True), ("", True), ("1", False), ("0", False)])
def test_colour_is_for_a_terminal_without_no_color(
    monkeypatch: pytest.MonkeyPatch, shardsim: Shardsim, no_color: str | None, is_coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    assert "\x1b" not in shardsim("train", *STEP).out
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    shardsim("train", *STEP)
    assert ("\x1b[" in terminal.getvalue()) == is_coloured


def test_catalogues_are_listed_and_shown(shardsim: Shardsim) -> None:
    for arguments, shown in (
        (("models",), "llama3-405b"),
        (("models", "llama3-8b"), "num_layers"),
        (("clusters",), "dgx-a100"),
        (("clusters", "dgx-h100"), "nvlink4"),
    ):
        answer = shardsim(*arguments)
        assert (answer.code, answer.err) == (0, "")
        assert shown in answer.out


def test_help_names_every_command_and_option(shardsim: Shardsim) -> None:
    for command in ("train", "models", "clusters", *cli.LATER):
        assert re.search(rf"^  {command} ", shardsim("--help").out, re.MULTILINE)
    options = shardsim("train", "-h").out
    for option in (*NUMBERS, "sp / --no-sp", "schedule", "recompute", "precision", "framework", "set", "out", "format"):
        assert f"--{option} " in options


def test_a_mistake_of_ours_is_one_line_and_exit_1(shardsim: Shardsim, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("lost count")

    monkeypatch.setattr("sim.training.run_scenario", fail)
    assert shardsim("train", *STEP) == Answer(
        1, "", "shardsim: internal error, please report it: RuntimeError: lost count\n"
    )
    monkeypatch.setenv("SHARDSIM_DEBUG", "1")
    with pytest.raises(RuntimeError):
        shardsim("train", *STEP)


def test_memory_that_runs_out_is_said(shardsim: Shardsim, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("sim.training.run_scenario", fail)
    assert shardsim("train", *STEP).err == "shardsim: out of memory; use --detail stage, or a smaller --global-batch\n"


def test_ctrl_c_ends_a_long_run_with_130(tmp_path: Path) -> None:
    """The folder appears just before the run begins."""
    long = "gpt-1t dgx-a100 --gpus 512 --tp 8 --pp 64 --global-batch 512 --detail kernel"
    running = process("train", *long.split(), "--out", str(tmp_path / "out"))
    while not (tmp_path / "out").exists() and running.poll() is None:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    assert running.communicate(timeout=60) == ("", "shardsim: interrupted\n")
    assert running.returncode == 130
    assert list((tmp_path / "out").iterdir()) == []


def test_a_reader_that_goes_away_is_no_error() -> None:
    for arguments in (("train", *STEP, "--format", "json"), ("models",)):
        running = process(*arguments)
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert (running.stderr.read(), running.wait(60)) == ("", 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full disk to offer")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        running = process("models", stdout=full)
        assert running.communicate(timeout=60)[1] == "shardsim: cannot print the result: No space left on device\n"
    assert running.returncode == 2


@pytest.mark.parametrize(
    "code",
    [
        "import topologies",
        "import sim",
        "import sys; sys.argv = ['shardsim', '--help']; import sim.cli; sim.cli.main()",
    ],
)
def test_help_and_import_load_nothing_heavy(code: str) -> None:
    heavy = ("numpy", "pydantic", "rich", "simpy", "torch", "pandas", "scipy", "streamlit", "ruamel", "jinja2")
    check = f"; import sys; sys.exit(', '.join(name for name in {heavy} if name in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code + check], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
