"""Tables of elementwise kernels: widths and bytes by hand."""

import pytest

from calibrate.importers.memory_bound import COLUMNS, read
from calibrate.importers.table import table_of
from topologies.document import InputError

HEADER = "gpu,model,op,tp,num_tokens,n_embd,n_head,n_kv_head,n_expanded_embd,vocab_size,time_us"
SIZES = "8192,64,8,28672,32768"


def rows(*ops: str) -> str:
    return "\n".join((HEADER, *(f"a40,llama,{op},4,100,{SIZES},9.5" for op in ops)))


def test_columns_are_those_of_the_table() -> None:
    assert set(HEADER.split(",")) >= COLUMNS


def test_a_row_is_as_wide_as_what_its_kernel_works_on() -> None:
    """Hidden 8192; inner 28672 / 4; 72 heads of 128 / 4. Bytes per element 6, 6 (row read twice), 6, 4, 4."""
    (one,) = read(table_of(rows("add", "input_layernorm", "mlp_act", "attn_rope", "emb"), "ops.csv"), None)
    assert (one.operation, one.part) == ("memory bound", "a40")
    assert one.points["kind"].tolist() == [0, 1, 2, 3, 4]
    assert one.points["width"].tolist() == [8192, 8192, 7168, 2304, 8192]
    per_element = one.points["nbytes"] / one.points["rows"] / one.points["width"]
    assert per_element.tolist() == [6, 6, 6, 4, 4]
    assert one.seconds == pytest.approx([9.5e-6] * 5)


def test_unknown_kernels_are_left_out() -> None:
    (one,) = read(table_of(rows("add", "attn_decode"), "ops.csv"), None)
    assert one.rows.tolist() == [2]


def test_a_size_that_is_none_is_told_with_line_and_column() -> None:
    with pytest.raises(InputError, match=r"ops\.csv:3: num_tokens"):
        read(table_of(rows("add", "add").replace("4,100", "4,0", 2).replace("4,0", "4,100", 1), "ops.csv"), None)
