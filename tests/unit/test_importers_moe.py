"""MoE tables: what is read of them, and what is said of those that cannot be."""

import pytest

from calibrate.importers.moe import COLUMNS, read
from calibrate.importers.table import table_of
from topologies.document import InputError

HEADER = (
    "moe_dtype,num_tokens,hidden_size,inter_size,topk,num_experts,moe_tp_size,moe_ep_size,distribution,time_us,"
    "kernel_source"
)
ROWS = (
    "bfloat16,16,4096,1536,8,128,2,4,balanced,50,moe_torch_flow_cutlass",
    "bfloat16,16,4096,1536,8,128,1,128,power_law_1.2,60,moe_torch_flow_cutlass",
    "fp8,16,4096,14336,2,8,1,8,balanced,70,moe_torch_flow_cutlass",
    "nvfp4,16,4096,14336,2,8,1,8,balanced,70,moe_torch_flow_cutlass",
)


def table_with(row: str) -> str:
    return "\n".join((HEADER, ROWS[0], row)) + "\n"


def test_columns_are_those_of_the_table() -> None:
    assert set(HEADER.split(",")) >= COLUMNS


def test_each_precision_is_an_operation_and_others_are_left_out() -> None:
    bf16, fp8 = read(table_of("\n".join((HEADER, *ROWS)), "moe.csv"), "h100-80gb-sxm")
    assert (bf16.operation, fp8.operation) == ("grouped gemm bf16", "grouped gemm fp8")
    assert bf16.rows.tolist() == [2, 3]
    assert bf16.seconds == pytest.approx([50e-6, 60e-6])
    assert bf16.points["skew"].tolist() == [0.0, 1.2]
    assert bf16.points["ep"].tolist() == [4.0, 128.0]


def test_one_of_many_experts_ran_untuned_one_of_eight_did_not() -> None:
    bf16, fp8 = read(table_of("\n".join((HEADER, *ROWS)), "moe.csv"), "h100-80gb-sxm")
    assert bf16.points["untuned"].tolist() == [0.0, 1.0]
    assert fp8.points["untuned"].tolist() == [0.0]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("bfloat16,16,4096,1536,8,128,2,3,balanced,50,x", "moe.csv:3: moe_ep_size: does not divide num_experts"),
        ("bfloat16,16,4096,1536,8,4,2,2,balanced,50,x", "moe.csv:3: topk: more than num_experts"),
        ("bfloat16,0,4096,1536,8,128,2,4,balanced,50,x", "moe.csv:3: num_tokens"),
        ("bfloat16,1.5,4096,1536,8,128,2,4,balanced,50,x", "moe.csv:3: num_tokens: 1.5 is not a whole number"),
        ("bfloat16,16,4096,1536,8,128,2,4,zipf,50,x", "moe.csv:3: distribution: zipf: write balanced"),
        ("bfloat16,16,4096,1536,8,128,2,4,power_law_x,50,x", "moe.csv:3: distribution: power_law_x"),
        ("bfloat16,16,4096,1536,8,128,2,4,balanced,nan,x", "moe.csv:3: time_us"),
    ],
)
def test_what_cannot_be_is_told_with_line_and_column(row: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read(table_of(table_with(row), "moe.csv"), "h100-80gb-sxm")
    assert str(caught.value).startswith(said)


def test_a_table_that_names_no_gpu_needs_one() -> None:
    with pytest.raises(InputError, match="say --gpu NAME"):
        read(table_of(table_with(ROWS[1]), "moe.csv"), None)
