"""Tables of a serving engine's attention become samples of prefill and of decoding."""

from pathlib import Path

import numpy as np
import pytest

import topologies
from calibrate.importers import read
from calibrate.samples import Samples
from sim.costs.attention import LAWS
from sim.costs.law import starting_fit
from topologies.document import InputError

PREFILL = """batch_size,isl,num_heads,kv_heads,head_dim,attn_dtype,kv_cache_dtype,time_us
1,1,8,1,128,bfloat16,bfloat16,11.2
2,512,32,8,128,bfloat16,bfloat16,50.5
2,512,32,8,128,bfloat16,fp8,60.5
2,512,32,8,128,bfloat16,int4,60.5
"""
DECODE = """batch_size,kv_len,num_heads,kv_heads,head_dim,kv_cache_dtype,time_us
4,1023,32,8,64,bfloat16,20.5
4,1023,32,8,64,fp8,18.5
"""


def samples_of(folder: Path, text: str) -> dict[str, Samples]:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return {samples.operation: samples for samples in read(path, "h100", None).samples}


def test_a_prefill_of_one_token_is_decoding_with_an_empty_cache(tmp_path: Path) -> None:
    found = samples_of(tmp_path, PREFILL)
    assert set(found) == {"attention prefill bf16", "attention prefill fp8kv", "attention decode bf16"}
    alone = found["attention decode bf16"]
    assert (alone.points["kv_len"], alone.points["batch"], alone.rows) == ([0], [1], [2])
    assert alone.seconds == pytest.approx([11.2e-6])


def test_columns_become_inputs_of_the_law(tmp_path: Path) -> None:
    laws = {law.operation: law for law in LAWS}
    for text in (PREFILL, DECODE):
        for operation, samples in samples_of(tmp_path, text).items():
            assert tuple(samples.points) == laws[operation].inputs
            assert samples.part == "h100-80gb-sxm"


def test_a_cache_in_another_format_is_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(PREFILL, encoding="utf-8")
    (skipped,) = read(path, "h100", None).skipped
    assert skipped.row == 5
    assert "cache in another format" in skipped.reason


def test_samples_can_be_predicted(tmp_path: Path) -> None:
    for samples in samples_of(tmp_path, DECODE).values():
        (law,) = [law for law in LAWS if law.operation == samples.operation]
        seconds = law.seconds(topologies.gpu("h100"), starting_fit(law).values, samples.points)
        assert np.all(np.abs(seconds / samples.seconds - 1) < 0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DECODE.replace("20.5", "-20.5"), "table.csv:2: time_us: -20.5"),
        (DECODE.replace("4,1023,32,8,64,fp8", "4,1023,32,5,64,fp8"), "table.csv:3: kv_heads: 5 does not divide"),
        (DECODE.replace("4,1023,32,8,64,fp8", "0,1023,32,8,64,fp8"), "table.csv:3: batch_size: 0"),
        (DECODE.replace("kv_len", "length"), "write the column isl"),
    ],
)
def test_what_cannot_be_is_told_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        samples_of(tmp_path, text)


def test_the_gpu_must_be_said(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(DECODE, encoding="utf-8")
    with pytest.raises(InputError, match="--gpu NAME"):
        read(path, None, None)
