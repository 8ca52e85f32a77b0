"""A table of timed linear layers becomes samples by precision."""

import pytest

from calibrate.importers import gemm
from calibrate.importers.table import table_of
from topologies.document import InputError

TABLE = """\
dtype,m,n,k,time_us,tflops
bfloat16,8,256,512,3.5,0.6
fp8_block,16,256,512,5.25,0.8
int3,1,1,1,1,1
float16,32,256,512,3.6,2.3
"""


def test_rows_become_samples_of_their_precision() -> None:
    bf16, block = gemm.read(table_of(TABLE, "g.csv"), "h100-80gb-sxm")
    assert (bf16.operation, bf16.part, bf16.rows.tolist()) == ("gemm bf16", "h100-80gb-sxm", [2, 5])
    assert {name: column.tolist() for name, column in bf16.points.items()} == {
        "m": [8, 32], "n": [256, 256], "k": [512, 512],
    }  # fmt: skip
    assert bf16.seconds.tolist() == pytest.approx([3.5e-6, 3.6e-6])
    assert (block.operation, block.rows.tolist()) == ("gemm fp8_block", [3])


def test_a_table_without_a_gpu_asks_for_one() -> None:
    with pytest.raises(InputError, match=r"g\.csv: the table does not name the GPU"):
        gemm.read(table_of(TABLE, "g.csv"), None)


@pytest.mark.parametrize(("cell", "told"), [("0", "g.csv:2: m: 0"), ("nan", "g.csv:2: m"), ("x", "g.csv:2: m: 'x'")])
def test_a_size_that_cannot_be_is_told_with_its_place(cell: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        gemm.read(table_of(TABLE.replace("bfloat16,8", f"bfloat16,{cell}"), "g.csv"), "h100-80gb-sxm")
