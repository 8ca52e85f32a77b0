"""Rows of measured runs become scenarios, and their errors are added up by campaign."""

from pathlib import Path

import pytest

from sim import measured_runs, models, validation
from sim.reports.ledger import render
from sim.validation import Ledger, Result, Skipped, concordance, reasons, summary
from topologies.document import InputError, Value

HEADER = (
    "row,campaign,model,gpu,gpus,gpus_per_node,fabric,precision,tp,pp,vpp,dp,cp,ep,sequence_parallel,sharding,"
    "recompute,schedule,micro_batch,global_batch,seq_len,step_time_s,peak_memory_gib,peak_memory_is,complete"
)
RUN = "a-1,a,gpt-22b,a100-80gb-sxm,8,8,nvlink-only,bf16,8,1,1,1,1,,yes,none,selective,none,4,4,2048,1.10,,,yes"


def table(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "runs.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def changed(run: str, **cells: str) -> str:
    named = dict(zip(HEADER.split(","), run.split(","), strict=True)) | cells
    return ",".join(named.values())


def result(
    row: str, campaign: str, measured: float, predicted: float, alike: str = "same", width: float = 0.2
) -> Result:
    """An interval of `width` times the prediction, evenly about it."""
    return Result(
        row=row,
        campaign=campaign,
        alike=(alike,),
        measured_s=measured,
        predicted_s=predicted,
        interval_s=(predicted * (1 - width / 2), predicted * (1 + width / 2)),
        measured_gib=None,
        predicted_gib=1.0,
        origins={"measured": 0.75, "interpolated": 0.0, "extrapolated": 0.0, "datasheet": 0.25},
        otherwise=(),
    )


def test_a_complete_row_is_played_and_compared(tmp_path: Path) -> None:
    ledger = validation.validate(table(tmp_path, RUN, changed(RUN, row="a-2", complete="no")))
    (played,) = ledger.results
    assert (played.row, played.campaign, played.measured_s) == ("a-1", "a", 1.10)
    assert played.error == pytest.approx(played.predicted_s / 1.10 - 1)
    assert abs(played.error) < 0.3
    assert played.interval_s[0] < played.predicted_s < played.interval_s[1]
    assert played.interval_width == pytest.approx((played.interval_s[1] - played.interval_s[0]) / played.predicted_s)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"precision": "fp8"}, "a100-80gb-sxm has no fp8; use bf16"),
        ({"sharding": "ZeRO-1"}, "sharding 'ZeRO-1' is not known; use none, zero1, zero2, zero3 or hsdp"),
        ({"precision": "BF16"}, "precision 'BF16' is not known; use bf16, fp16, fp8, mxfp8 or nvfp4"),
        ({"cp": "2"}, "cp"),
        ({"gpu": "tpu-v9"}, "unknown GPU 'tpu-v9'"),
        ({"schedule": "sideways"}, "sideways"),
        ({"fabric": "wet-string"}, "wet-string"),
        ({"gpus": "many"}, "gpus 'many' is not a whole number"),
        ({"tp": "3"}, "tp=3"),
        ({"step_time_s": "-1"}, "step_time_s '-1' is not a positive number"),
        ({"model": ""}, "model is empty"),
        ({"precision": ""}, "precision is empty"),
        ({"gpus_per_node": "0"}, "gpus_per_node is 0; write 1 or more"),
        ({"sequence_parallel": "true"}, "sequence_parallel 'true' is neither yes nor no"),
        ({"complete": "Yes"}, "complete 'Yes' is neither yes nor no"),
        ({"peak_memory_gib": "40", "peak_memory_is": "seen"}, "peak_memory_is 'seen': write allocated or reserved"),
    ],
)
def test_a_row_that_cannot_be_played_is_skipped_with_its_reason(
    tmp_path: Path, cells: dict[str, str], reason: str
) -> None:
    ledger = validation.validate(table(tmp_path, changed(RUN, **cells), changed(RUN, row="a-2")))
    assert [one.row for one in ledger.results] == ["a-2"]
    assert [one.row for one in ledger.skipped] == ["a-1"]
    assert reason in ledger.skipped[0].reason
    assert not ledger.skipped[0].reason.startswith("a-1")


def said(part: str, **cells: str) -> Value:
    """A part of the scenario that the row makes with these cells."""
    data = measured_runs.document(dict(zip(HEADER.split(","), RUN.split(","), strict=True)) | cells).data
    assert isinstance(data, dict)
    return data[part]


def test_the_shapes_of_a_row_win_over_the_catalogue() -> None:
    assert said("model", model="grok1-314b-l16", layers="16") == {"name": "grok1-314b", "num_layers": 16}
    assert said("model", model="llama3-8b", gated_mlp="no") == {"name": "llama3-8b", "activation": "gelu"}
    assert said("model", model="gpt-22b", gated_mlp="no") == {"name": "gpt-22b", "max_seq_len": 2048}


def test_what_a_row_leaves_empty_is_left_open() -> None:
    degrees = {"tp": 8, "pp": 1, "vpp": 1, "cp": 1, "dp": 1, "recompute": "selective", "schedule": "none"}
    assert said("plan", sequence_parallel="", sharding="") == degrees
    assert said("plan", sequence_parallel="no", sharding="zero1") == degrees | {"sp": False, "zero": 1}


def test_every_way_to_shard_has_its_plan() -> None:
    for sharding, zero in {"none": 0, "zero1": 1, "zero2": 2, "zero3": 3, "hsdp": 3}.items():
        assert plan(sharding=sharding)["zero"] == zero
    assert plan(sharding="hsdp", sharding_group="128")["shard"] == 128
    assert "shard" not in plan(sharding="zero3", sharding_group="")


def plan(**cells: str) -> dict[str, Value]:
    made = said("plan", **cells)
    assert isinstance(made, dict)
    return made


def test_experts_are_cut_and_dropped_as_the_row_says() -> None:
    mixtral = {"experts": "8", "top_k": "2", "moe_ffn": "14336", "ffn": "14336", "model": "mixtral-8x7b"}
    degrees = plan(**mixtral, ep="4", etp="2", cp="2")
    assert (degrees["ep"], degrees["etp"], degrees["cp"]) == (4, 2, 2)
    assert said("experts", **mixtral | {"model": "mixtral-8x7b-tokendrop"}) == {"capacity_factor": 1.0}
    assert said("experts", **mixtral, capacity_factor="1.25") == {"capacity_factor": 1.25}
    assert said("experts", **mixtral, note="experts padded to capacity factor 1.5") == {"capacity_factor": 1.5}


def test_a_row_lays_its_facts_over_the_profile_of_its_software() -> None:
    """Of Megatron-Core nothing of dp overlaps and gradients have four bytes; NeMo sums them in two, and overlaps."""
    facts = {"grad_dtype": "bf16", "overlap_grad_reduce": "yes", "overlap_tp": "no", "attention_kernel": "flash"}
    laid = {"name": "megatron-core", "overlap_grad_reduce": True, "gradient_reduce_nbytes": 2, "gradient_nbytes": 2}
    assert said("framework", framework="somebodys", **facts) == laid
    assert said("framework", framework="nemo", **facts) == {"name": "nemo", "overlap_tp": False}
    assert said("framework", framework="deepspeed-megatron") == "megatron-deepspeed"


def test_gradients_of_weights_in_fp32_stay_in_fp32() -> None:
    """FSDP in PURE precision, which Composer's runs on PyTorch 1.13 had, sends them in two bytes and keeps them beside
    fp32 weights."""
    laid = {"name": "fsdp1-composer", "gradient_reduce_nbytes": 2, "recompute_stops_early": False}
    assert said("framework", framework="fsdp1-composer", grad_dtype="bf16") == laid


def test_set_phrases_of_a_note_stand_for_columns() -> None:
    note = "router balanced; CUDA graphs; expert all-to-all overlapped with compute; dispatcher hybridep; 1 MTP layer"
    laid = {"name": "megatron-bridge", "cuda_graphs": True, "overlap_ep": True, "token_dispatcher": "deepep"}
    assert said("framework", framework="megatron-bridge", note=note) == laid
    assert said("framework", framework="megatron-bridge", note=note, token_dispatcher="alltoall") == {
        name: value for name, value in laid.items() if name != "token_dispatcher"
    }


@pytest.mark.parametrize(
    ("stages", "cells", "layers"),
    [
        (4, {"layout": "Et*4/(t*4/)*2tmL"}, [4, 4, 4, 1]),
        (4, {"note": "uneven split: layout Et/(tt/)*2mL; more"}, [1, 2, 2, 0]),
        (4, {"note": "4 layers per chunk but 1 in the last", "layers": "13"}, [4, 4, 4, 1]),
        (4, {"note": "last chunk has 3 layers fewer, plus loss", "layers": "61"}, [16, 16, 16, 13]),
        (4, {"note": "64/pp layers per stage, 1 fewer in the first and 2 fewer in the last"}, [15, 16, 16, 14]),
    ],
)
def test_uneven_stages_are_as_the_row_lays_them_out(stages: int, cells: dict[str, str], layers: list[int]) -> None:
    assert plan(model="nobodys-gpt", pp=str(stages), vpp="1", **cells)["layers"] == layers


@pytest.mark.parametrize(
    ("layout", "complaint"),
    [
        ("Et*4|t", "write letters E, t, m, L and / between stages"),
        ("Et/tL", r"2 stages of 2 layers, but pp x vpp = 4 and layers = 8"),
        ("E(t/)*9", "10 stages of 9 layers"),
        ("t*9999", "write letters"),
    ],
)
def test_a_layout_that_does_not_fit_is_refused(layout: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        plan(pp="4", vpp="1", layers="8", layout=layout)


def test_selective_recomputation_is_of_the_modules_that_the_row_names() -> None:
    row = dict(zip(HEADER.split(","), RUN.split(","), strict=True))
    assert "recompute_modules" not in plan()
    named = plan(recompute_modules="mla_up_proj+mlp"), plan(note="recomputes mla_up_proj+mlp")
    assert all(one["recompute_modules"] == ["mla_up_proj", "mlp"] for one in named)
    assert named[0]["recompute"] == "selective"
    assert measured_runs.played_otherwise(row | {"note": "recomputes mla_up_proj"}) == ()


def test_multi_token_prediction_is_as_the_row_says_and_none_in_a_variant_that_does_not_say() -> None:
    def layers(model: str, **cells: str) -> Value:
        made = said("model", model=model, **cells)
        assert isinstance(made, dict)
        return made.get("mtp_layers")

    own = models.load("deepseek-v3").mtp_layers
    assert layers("deepseek-v3") is None
    assert layers("deepseek-v3", note="1 MTP layer not in `layers`") == (1 if own != 1 else None)
    assert layers("deepseek-v3-nomtp") == (0 if own else None)
    assert layers("deepseek-v3-l4") == (0 if own else None)


def test_shares_of_the_time_by_what_they_rest_on_are_means_over_rows() -> None:
    made = summary(Ledger(results=(result("1", "a", 1.0, 1.1), result("2", "b", 1.0, 1.2)), skipped=()))
    assert made["parameters"] == {"measured": 0.75, "interpolated": 0.0, "extrapolated": 0.0, "datasheet": 0.25}
    assert "Of the time, 75.0 % rests on measurements, 25.0 % rests on data sheets.\n" in render("x", made, {})


def test_rows_of_one_name_are_counted_each() -> None:
    rows = (result("a", "a", 1.0, 1.1), result("a", "a", 1.0, 0.7))
    made = summary(Ledger(results=rows, skipped=()))
    assert made["mape"] == made["row_mape"] == pytest.approx(0.2)
    assert made["bias"] == pytest.approx(-0.1)
    assert made["worst"] == {"row": "a", "error": pytest.approx(-0.3)}


@pytest.mark.parametrize(
    ("slug", "name"),
    [
        ("llama3-405b-l8", "llama3-405b"),
        ("deepseek-v3-nomtp", "deepseek-v3"),
        ("qwen3-30b-a3b-tokendrop", "qwen3-30b-a3b"),
        ("llama3-70b", "llama3-70b"),
        ("mistral-large", "mistral-large"),
    ],
)
def test_a_proxy_is_cut_from_the_model_in_its_name(slug: str, name: str) -> None:
    assert measured_runs.base_name(slug) == name


def test_a_model_that_nobody_knows_is_played_by_its_shapes(tmp_path: Path) -> None:
    shapes = {"layers": "4", "hidden": "1024", "heads": "8", "ffn": "4096", "vocab": "32000", "gated_mlp": "no"}
    header = ",".join([HEADER, *shapes])
    row = ",".join([changed(RUN, model="nobodys-gpt"), *shapes.values()])
    ledger = validation.validate(table(tmp_path, row, header=header))
    assert [one.row for one in ledger.results] == ["a-1"]
    assert ledger.results[0].predicted_s < 0.2


def test_figures_are_means_over_campaigns() -> None:
    """Campaign a: +10 % and -20 %, mape 15 %, bias -5 %; b: +5 %. Means 10 % and 0; over rows 35/3 %; median 10 %."""
    rows = (result("a-1", "a", 1.0, 1.1), result("a-2", "a", 1.0, 0.8), result("b-1", "b", 2.0, 2.1))
    made = summary(Ledger(results=rows, skipped=(Skipped(row="c", reason="no"),)))
    assert made["rows"] == 3
    assert made["skipped"] == [{"row": "c", "reason": "no"}]
    assert made["mape"] == pytest.approx(0.10)
    assert made["bias"] == pytest.approx(0.0, abs=1e-12)
    assert made["row_mape"] == pytest.approx(0.35 / 3)
    assert made["median_ape"] == pytest.approx(0.10)
    assert made["worst"] == {"row": "a-2", "error": pytest.approx(-0.2)}


def test_coverage_counts_the_rows_whose_time_lies_in_their_interval() -> None:
    """1.0 s in 0.99 to 1.21 and in 0.7 to 1.3, but not in 1.08 to 1.32: two of three; widths 0.2, 0.2 and 0.6."""
    rows = (result("1", "a", 1.0, 1.1), result("2", "a", 1.0, 1.2), result("3", "b", 1.0, 1.0, width=0.6))
    made = summary(Ledger(results=rows, skipped=()))
    assert made["coverage_80"] == pytest.approx(2 / 3)
    assert made["median_interval_width"] == pytest.approx(0.2)
    empty = summary(Ledger(results=(), skipped=()))
    assert (empty["coverage_80"], empty["median_interval_width"]) == (None, None)


def test_concordance_counts_pairs_that_differ_in_their_plan_only() -> None:
    """Three plans of one step: pairs (1, 2) and (1, 3) in the right order, (2, 3) not: (2 - 1) / 3."""
    rows = [result("1", "a", 1.0, 1.0), result("2", "a", 2.0, 4.0), result("3", "a", 3.0, 3.0)]
    assert concordance(rows) == pytest.approx(1 / 3)
    assert concordance([*rows, result("4", "a", 9.0, 0.1, alike="another")]) == pytest.approx(1 / 3)
    assert concordance(rows[:1]) is None


def test_a_table_without_times_scores_memory_alone(tmp_path: Path) -> None:
    ledger = validation.validate(table(tmp_path, changed(RUN, step_time_s="", peak_memory_gib="40")))
    made = summary(ledger)
    assert made["mape"] is None
    assert made["memory"] == {
        "rows": 1,
        "mape": pytest.approx(abs(ledger.results[0].memory_error or 9)),
        "bias": pytest.approx(ledger.results[0].memory_error),
    }


def test_a_file_that_is_no_table_of_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"runs\.csv:1: no column row; docs/validation\.md"):
        measured_runs.read(table(tmp_path, header="a,b,c"))
    with pytest.raises(InputError, match=r"runs\.csv:3: more or fewer cells"):
        measured_runs.read(table(tmp_path, RUN, RUN + ",one more"))
    with pytest.raises(InputError, match=r"runs\.csv:1: two columns are called tp"):
        measured_runs.read(table(tmp_path, RUN + ",1", header=HEADER + ",tp"))


def test_reasons_are_counted_and_printed() -> None:
    skipped = tuple(Skipped(row=str(row), reason="fp8" if row else "cp") for row in range(3))
    ledger = Ledger(results=(result("a-1", "a", 1.0, 1.1),), skipped=skipped)
    assert reasons(ledger) == {"fp8": 2, "cp": 1}
    text = render("runs.csv", summary(ledger), reasons(ledger))
    assert "runs.csv: 1 rows played, 3 left out" in text
    assert "     2  fp8\n     1  cp\n" in text
    assert "+10.0 %" in text
