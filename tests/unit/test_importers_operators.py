"""Operators of a served model, in the columns of LLMServingSim's profiler."""

from pathlib import Path

import pytest

from calibrate import importers
from calibrate.samples import Samples

DENSE = """hardware,model,tp,layer,tokens,time_us
RTX4090,meta-llama/Llama-3.1-8B,2,qkv_proj,16,56.5
RTX4090,meta-llama/Llama-3.1-8B,2,down_proj,8,131.2
RTX4090,meta-llama/Llama-3.1-8B,2,layernorm,8,4.5
"""
ATTENTION = """hardware,model,tp,prefill_chunk,kv_prefill,n_decode,kv_decode,time_us
RTX4090,meta-llama/Llama-3.1-8B,2,0,0,8,1024,55.6
RTX4090,meta-llama/Llama-3.1-8B,2,512,4096,0,0,289.5
RTX4090,meta-llama/Llama-3.1-8B,2,512,4096,8,1024,350
"""


def read(folder: Path, text: str) -> tuple[Samples, ...]:
    file = folder / "operators.csv"
    file.write_text(text, encoding="utf-8")
    return tuple(importers.read(file, None, None).samples)


def test_a_product_has_the_sides_that_a_gpu_of_tp_holds(tmp_path: Path) -> None:
    """Llama-3.1-8B on two GPUs: 16 heads of queries and 4 + 4 of keys and values, each 128 wide; 7168 of 14336."""
    (products,) = read(tmp_path, DENSE)
    assert (products.operation, products.part) == ("gemm bf16", "rtx-4090")
    sides = list(zip(products.points["m"], products.points["n"], products.points["k"], strict=True))
    assert sides == [(16, 3072, 4096), (8, 4096, 7168)]
    assert products.seconds == pytest.approx([56.5e-6, 131.2e-6])


def test_attention_of_one_kind_is_a_sample_and_that_of_both_is_none(tmp_path: Path) -> None:
    decode, prefill = read(tmp_path, ATTENTION)
    assert {name: column[0] for name, column in decode.points.items()} == {
        "batch": 8, "kv_len": 1023, "warm": 0, "num_heads": 16, "num_kv_heads": 4, "head_dim": 128,
    }  # fmt: skip
    assert {name: column[0] for name, column in prefill.points.items()} == {
        "batch": 1, "seq_len": 512, "num_cached": 4096, "num_heads": 16, "num_kv_heads": 4, "head_dim": 128,
    }  # fmt: skip
    assert [len(decode), len(prefill)] == [1, 1]
