"""A scenario says the same in a file, in flags and in --set; what it cannot say is refused at its line."""

from pathlib import Path

import pytest

from sim import scenario
from sim.default_plan import PartialPlan
from topologies.document import InputError, Value

TEXT = """\
kind: training
model: llama3-70b
cluster: dgx-h100          # or {name: dgx-h100, nodes: 8}
gpus: 64
plan: {tp: 8, pp: 4, vpp: 5, schedule: interleaved, zero: 1, recompute: selective}
batch: {global: 256, micro: 1, seq_len: 8192}
precision: bf16
framework: megatron-core
"""
FLAGS: dict[str, Value] = {
    "model": "llama3-70b",
    "cluster": "dgx-h100",
    "gpus": 64,
    "tp": 8,
    "pp": 4,
    "vpp": 5,
    "schedule": "interleaved",
    "zero": 1,
    "recompute": "selective",
    "global_batch": 256,
    "micro_batch": 1,
    "seq_len": 8192,
    "precision": "bf16",
    "framework": "megatron-core",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "step.yaml"
    file.write_text(TEXT)
    return file


def rewritten(path: Path, old: str, new: str) -> Path:
    assert old in TEXT
    path.write_text(TEXT.replace(old, new))
    return path


def test_file_and_flags_say_the_same(path: Path) -> None:
    assert scenario.load(path) == scenario.from_flags(FLAGS)


def test_set_says_the_same_as_flags(path: Path) -> None:
    by_set = scenario.load(path, sets=["plan.tp=4", "batch.micro=2", "precision=fp16"])
    assert by_set == scenario.load(path, {"tp": 4, "micro_batch": 2, "precision": "fp16"})
    assert (by_set.plan.tp, by_set.plan.micro_batch, by_set.step.precision) == (4, 2, "fp16")


def test_a_flag_not_given_changes_nothing(path: Path) -> None:
    assert scenario.load(path, dict.fromkeys(FLAGS)) == scenario.load(path)


def test_set_wins_over_a_flag(path: Path) -> None:
    assert scenario.load(path, {"tp": 4}, ["plan.tp=2"]).plan.tp == 2


def test_what_is_not_said_has_a_default() -> None:
    short = scenario.from_flags({"model": "gpt3-175b", "cluster": "dgx-a100", "gpus": 12})
    assert short.plan == PartialPlan()
    assert (short.step.seq_len, short.step.precision, short.framework.name) == (2048, "bf16", "megatron-core")
    assert (short.num_gpus, short.cluster.num_nodes) == (12, 2)


def test_nodes_say_how_many_gpus(path: Path) -> None:
    rewritten(
        path,
        "cluster: dgx-h100          # or {name: dgx-h100, nodes: 8}\ngpus: 64",
        "cluster: {name: dgx-h100, nodes: 8}",
    )
    assert scenario.load(path).num_gpus == 64


def test_degrees_say_how_many_gpus() -> None:
    said = scenario.from_flags({"model": "llama3-8b", "cluster": "dgx-h100", "tp": 2, "dp": 8})
    assert said.num_gpus == 16


@pytest.mark.parametrize("flags", [FLAGS, {"model": "gpt-22b", "cluster": "dgx-a100", "gpus": 8, "sp": False}])
def test_a_dumped_scenario_reads_back(path: Path, flags: dict[str, Value]) -> None:
    said = scenario.from_flags(flags)
    path.write_text(scenario.dump(said))
    assert scenario.load(path) == said


def test_a_model_file_keeps_its_path_when_dumped(path: Path, tmp_path: Path) -> None:
    model = tmp_path / "my model: a.yaml"
    model.write_text("{name: a, num_layers: 2, hidden: 64, num_heads: 4, ffn: 128, vocab: 100, max_seq_len: 32}")
    said = scenario.from_flags({"model": str(model), "cluster": "dgx-h100", "gpus": 8})
    path.write_text(scenario.dump(said))
    assert scenario.load(path) == said


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tp: 8", "tpp: 8", r"step.yaml:5: plan.tpp: unknown field; did you mean tp\?"),
        ("tp: 8", "tp: -3", "step.yaml:5: plan.tp: input should be greater than or equal to 1, got -3"),
        ("tp: 8", "tp: true", "step.yaml:5: plan.tp: input should be a valid integer"),
        ("tp: 8", "tp: {choices: [1, 2]}", "step.yaml:5: plan.tp: several values .* not supported yet"),
        ("gpus: 64", "gpus: {range: [8, 64]}", "step.yaml:4: gpus: several values .* not supported yet"),
        ("tp: 8", "tp: 8, cp: 2", "step.yaml:5: plan.cp: 2 is not supported yet; use 1"),
        ("zero: 1", "zero: 3", "step.yaml:5: plan.zero: 3 is not supported yet"),
        ("interleaved", "zb-h1", "step.yaml:5: plan.schedule: zb-h1 is not supported yet"),
        ("bf16", "fp8", "step.yaml:7: precision: fp8 is not supported yet"),
        ("kind: training", "kind: serving", "step.yaml:1: kind: serving is not supported yet"),
        ("llama3-70b", "llama3-7b", "step.yaml:2: model: unknown model 'llama3-7b'; did you mean llama3-70b"),
        (
            "cluster: dgx-h100",
            "cluster: dgx-h10",
            "step.yaml:3: cluster: unknown cluster 'dgx-h10'; did you mean dgx-h100",
        ),
        ("megatron-core", "fsdp", "step.yaml:8: framework: framework 'fsdp' is not supported yet"),
        ("gpus: 64\n", "", "step.yaml: gpus: how many GPUs of dgx-h100 is not said"),
        ("gpus: 64", "gpus: 9000000", "step.yaml: gpus=9000000: dgx-h100 has"),
        ("batch: {", "batch: [{", "step.yaml:"),
    ],
)
def test_a_bad_field_is_refused_at_its_line(path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        scenario.load(rewritten(path, old, new))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plan.tp=-4", "step.yaml: plan.tp: input should be greater"),
        ("plan.tp", "write FIELD=VALUE, for example --set plan.tp=4"),
        ("plan.tp=", "write FIELD=VALUE"),
        ("gpus.x=3", "gpus is 64, which has no field x"),
        ("a.b=1", "a: unknown field"),
        ("plan.tp=[", "not valid YAML"),
        ("plan.tp=!!python/object:os.system {}", "tags"),
    ],
)
def test_a_bad_set_is_refused(path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        scenario.load(path, sets=[text])
