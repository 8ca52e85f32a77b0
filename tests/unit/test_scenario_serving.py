"""A serving scenario: what is wrong is named by file, line and field; text, flags and command line say the same."""

import shlex
from pathlib import Path

import pytest

from sim.commands.serve import serve
from sim.scenario import serving
from sim.scenario.overrides import SERVING_FLAGS
from topologies.document import InputError, Value

SCENARIO = """\
kind: serving
model: llama3-70b
cluster: dgx-h100
gpus: 8
deployment: {tp: 4, weights: fp8, scheduling: {max_num_seqs: 64}, cache: {precision: fp8}}
load: {rate: 4, num_requests: 200, input_len: {mean: 512, deviation: 100}, output_len: 128}
slo: [p99 ttft < 2 s, mean tpot < 50 ms]
framework: vllm-0.19
price: 2.5
seed: 3
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind: serving", "kind: training", "s.yaml:1: kind: training is for `shardsim train`"),
        ("tp: 4", "tp: 3", "s.yaml:5: deployment.tp: 3 does not divide num_heads=64; use 1, 2, 4, 8"),
        ("tp: 4", "tp: 0", "s.yaml:5: deployment.tp: must be 1 or more, got 0"),
        ("tp: 4", "pp: 81", "s.yaml:5: deployment.pp: 81 stages for 80 layers; use at most 80"),
        ("tp: 4", "layers: [40, 41]", "s.yaml:5: deployment.layers: .* sum to 81"),
        ("tp: 4", "tp: 4, ep: 2", "s.yaml:5: deployment.ep: llama3-70b has no experts; take it out"),
        ("tp: 4", "tp: 4, cp_kind: all-to-all", "s.yaml:5: deployment.cp_kind: cp is 1, so that it changes nothing"),
        ("tp: 4", "tp: 4, ep_kind: deepep", "s.yaml:5: deployment.ep_kind: ep is 1, so that it changes nothing"),
        ("tp: 4", "tp: 8, router: least-loaded", "s.yaml:5: deployment.router: all requests go to one rank"),
        ("tp: 4", "tp: 4, router_delay: 1", "s.yaml:5: deployment.router_delay: round-robin counts nothing"),
        ("max_num_seqs: 64", "new_token_ratio: 0.5", "scheduling.new_token_ratio: is for policy sglang, not vllm"),
        ("tp: 4", "tp: 4, experts: {redundant: 8}", "s.yaml:5: deployment.experts.redundant: llama3-70b has no exp"),
        ("tp: 4", "tp: 4, dp: 3", "replicas of 12 GPUs .* do not fill gpus=8"),
        ("tp: 4", "tp: 4, replicas: 3", "deployment.replicas=3 of 4 GPUs are 12, but gpus=8; use replicas=2, or"),
        ("weights: fp8", "weights: fp7", "s.yaml:5: deployment.weights: must be 'bf16', 'fp16', 'fp8'"),
        ("max_num_seqs: 64", "max_seqs: 64", "s.yaml:5: deployment.scheduling.max_seqs: unknown field; did you mean"),
        ("rate: 4", "rate: 0", "s.yaml:6: load.rate: must be more than 0, got 0"),
        ("rate: 4", "rate: 4, bursts: {on: 1 s, off: 2}, burstiness: 2", "s.yaml:6: load.burstiness: not with bursts"),
        ("rate: 4", "duration: 10 s", "s.yaml:6: load.duration: all requests come at once"),
        ("rate: 4", "rate_scale: 2", "s.yaml:6: load.rate_scale: only where requests come as a trace says"),
        ("output_len: 128", "output_len: 1.5", "s.yaml:6: load.output_len: 1.5 is not a whole number of tokens"),
        ("deviation: 100", "range_ratio: 0.5, kind: normal", "range_ratio is for kind: uniform, not normal"),
        ("p99 ttft < 2 s", "p99 latency < 2 s", "s.yaml:7: slo.0: .* an objective names one of ttft, tpot, itl, e2el"),
        ("p99 ttft < 2 s", "p99 ttft < 2", "s.yaml:7: slo.0: .* has no unit"),
        ("vllm-0.19", "vlm", "s.yaml:8: framework: .*'vlm' is not known; did you mean vllm"),
        ("gpus: 8", "gpus: {choices: [8, 16]}", "s.yaml:4: gpus: several values"),
    ],
)
def test_what_is_wrong_is_named_by_line_and_field(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(SCENARIO.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        serving.load(file)


@pytest.mark.parametrize("said", ["redundant=8", "rebalanced=100"])
def test_experts_that_are_split_have_no_copies(said: str) -> None:
    flags: dict[str, Value] = {"model": "mixtral-8x7b", "cluster": "dgx-h100", "gpus": 8, "tp": 8}
    with pytest.raises(InputError, match=f"deployment.experts.{said[:5]}.*: each expert is split over all ranks"):
        serving.from_flags(flags, [f"deployment.experts.{said}"])
    assert serving.from_flags({**flags, "ep": 8}, [f"deployment.experts.{said}"]).deployment.layout.ep == 8


def test_a_field_within_a_flags_text_is_named() -> None:
    flags: dict[str, Value] = {
        "model": "llama3-8b", "cluster": "dgx-h100", "gpus": 1, "input_len": "{mean: 512, deviatoin: 3}",
    }  # fmt: skip
    with pytest.raises(InputError, match=r"load.input_len: unknown field 'deviatoin'; did you mean deviation"):
        serving.from_flags(flags)


def test_what_is_written_reads_back_to_the_same(tmp_path: Path) -> None:
    for text in (SCENARIO, SCENARIO.replace("tp: 4", "prefill: {tp: 4}, speculation: {tokens: 3, acceptance: 0.7}")):
        file = tmp_path / "s.yaml"
        file.write_text(text)
        scenario = serving.load(file)
        file.write_text(serving.dump(scenario, tmp_path))
        assert serving.load(file) == scenario


def test_flags_say_the_same_as_the_file(tmp_path: Path) -> None:
    """The command line that a scenario gives, taken apart into its flags, gives that scenario."""
    file = tmp_path / "s.yaml"
    file.write_text(SCENARIO)
    scenario = serving.load(file)
    words = shlex.split(serving.command(scenario))
    assert words[:4] == ["shardsim", "serve", "llama3-70b", "dgx-h100"]
    pairs = list(zip(words[4::2], words[5::2], strict=True))
    sets = [value for option, value in pairs if option == "--set"]
    slo: list[Value] = [value for option, value in pairs if option == "--slo"]
    numbers = {"gpus", "tp", "pp", "replicas", "max_num_seqs", "num_requests", "seed"}
    flags = {name[2:].replace("-", "_"): text for name, text in pairs if name not in ("--set", "--slo")}
    said = {name: int(text) if name in numbers else text for name, text in flags.items()}
    found = serving.from_flags({"model": words[2], "cluster": words[3], **said, "slo": slo}, sets)
    assert serving.described(found) == serving.described(scenario)


def test_every_flag_of_a_field_is_a_flag_of_the_command() -> None:
    assert SERVING_FLAGS.keys() <= set(serve.__annotations__)


def test_a_trace_is_found_from_the_scenario_and_copied_with_it(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("arrival,prompt,output\n0,10,5\n")
    file = tmp_path / "s.yaml"
    file.write_text("kind: serving\nmodel: llama3-8b\ncluster: dgx-h100\ngpus: 1\nload: {trace: t.csv}\n")
    scenario = serving.load(file)
    assert scenario.files == (tmp_path / "t.csv",)
    moved, copies = serving.portable(scenario, tmp_path / "out")
    assert list(copies.values()) == [tmp_path / "t.csv"]
    assert f"trace: inputs/trace/{tmp_path.name}/t.csv" in serving.dump(moved, tmp_path / "out").replace('"', "")


@pytest.mark.parametrize(
    ("model", "weights", "gpus", "layout"),
    [
        ("llama3-8b", "bf16", 8, (1, 1, 8)),
        ("llama3-70b", "bf16", 8, (4, 1, 2)),
        ("llama3-70b", "int4", 8, (1, 1, 8)),
        ("llama3.1-405b", "bf16", 32, (8, 2, 2)),
        ("llama3.1-405b", "fp8", 8, (8, 1, 1)),
    ],
)
def test_the_smallest_replica_that_holds_the_weights_well_is_taken(
    model: str, weights: str, gpus: int, layout: tuple[int, int, int]
) -> None:
    """At most 0.6 x 85 GB: 141 GB of llama3-70b are 35 GB on each of 4, and too many on 2; 812 GB of llama3.1-405b are
    50.7 GB on each of 16, in fp8 on each of 8."""
    flags: dict[str, Value] = {"model": model, "cluster": "dgx-h100", "gpus": gpus, "weights": weights}
    found = serving.from_flags(flags).deployment
    assert (found.layout.tp, found.layout.pp, found.replicas) == layout


def test_key_and_value_heads_are_cut_whole_or_copied() -> None:
    """8 of them: over 16 GPUs each has two copies; 24 does not divide the 64 heads."""
    flags: dict[str, Value] = {"model": "llama3-70b", "cluster": "dgx-h100", "gpus": 16, "tp": 16}
    assert serving.from_flags(flags).deployment.layout.tp == 16


def test_null_takes_back_what_a_file_says(tmp_path: Path) -> None:
    """Users that wait for one another no longer do; what a scenario needs cannot be taken back."""
    file = tmp_path / "load.yaml"
    file.write_text("kind: serving\nmodel: llama3-8b\ncluster: dgx-h100\ngpus: 1\nload: {rate: 4.0, concurrency: 8}\n")
    assert serving.load(file).load.concurrency == 8
    assert serving.load(file, sets=["load.concurrency=null"]).load.concurrency is None
    with pytest.raises(InputError, match=r"load\.yaml: model: must be text, got nothing"):
        serving.load(file, sets=["model=null"])
