"""Charted rates of flash attention become samples of the kernel that training runs."""

import numpy as np
import pytest

import topologies
from calibrate.importers import flash_attention
from calibrate.importers.table import table_of
from sim.costs.attention import FORWARD, Shape, flash_forward
from sim.costs.law import fit_of

HEAD = "gpu,kernel,dtype,causal,head_dim,batch,heads,seqlen,tflops"
ROWS = (
    "H100,FA3,fp16,causal,128,2,16,8192,600",
    "H100,FA3,fp16,non-causal,256,1,hidden 2048,16384,500",
    "H100,FA2,fp16,causal,128,2,16,8192,400",
    "H100,FA3,fp8,causal,128,2,16,8192,900",
    "H100,FA3,fp16,not in title,128,2,16,8192,600",
)
H100 = topologies.gpu("h100")


def test_the_mask_halves_the_work_and_a_hidden_size_is_heads() -> None:
    """Causal: 2 x 2 x 8192^2 x 16 x 128 FLOPs at 600 TFLOP/s; full: 4 x 16384^2 x 2048 at 500 TFLOP/s, 8 heads."""
    (found,) = flash_attention.read(table_of("\n".join([HEAD, *ROWS]), "t.csv"), H100.name)
    assert (found.operation, found.part) == ("attention forward", H100.name)
    assert found.rows.tolist() == [2, 3], "others ran another kernel, another format, or do not say their mask"
    assert found.points["num_heads"].tolist() == [16, 8]
    assert found.seconds.tolist() == pytest.approx([2 * 2 * 8192**2 * 2048 / 600e12, 4 * 16384**2 * 2048 / 500e12])


def test_before_hopper_training_runs_flash_attention_2() -> None:
    (found,) = flash_attention.read(table_of("\n".join([HEAD, *ROWS]), "t.csv"), "a100-80gb-sxm")
    assert found.rows.tolist() == [4]


@pytest.mark.parametrize("causal", [False, True])
def test_the_law_is_what_a_training_step_takes(causal: bool) -> None:
    shape = Shape(
        batch=2, seq_len=4096, num_heads=16, num_kv_heads=16, head_dim=128, value_dim=128, precision="bf16",
        causal=causal,
    )  # fmt: skip
    point = {"batch": 2, "seq_len": 4096, "num_heads": 16, "head_dim": 128, "causal": int(causal)}
    points = {name: np.array([float(number)]) for name, number in point.items()}
    assert FORWARD.seconds(H100, fit_of(H100, FORWARD).values, points)[0] == flash_forward(H100, shape)
