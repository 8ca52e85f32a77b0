"""`shardsim validate`: a table of measured runs in, errors of predictions out."""

import csv
import io
import json
from pathlib import Path

from tests.command import Shardsim, assert_refused

HEAD = (
    "row,campaign,model,gpu,gpus,seq_len,precision,micro_batch,global_batch,complete,tp,sequence_parallel,step_time_s"
)
TABLE = f"""{HEAD}
a-1,a,llama3-8b,h100-80gb-sxm,8,8192,bf16,1,8,yes,4,yes,2.0
a-2,a,llama3-8b,h100-80gb-sxm,8,8192,fp32,1,8,yes,4,yes,2.0
a-3,a,llama3-8b,h100-80gb-sxm,8,8192,bf16,1,8,no,4,yes,2.0
"""


def test_a_table_is_scored_in_every_format(shardsim: Shardsim, folder: Path) -> None:
    (folder / "runs.csv").write_text(TABLE)
    text, data, rows = (shardsim("validate", "runs.csv", "--format", output) for output in ("table", "json", "csv"))
    assert {(answer.code, answer.err) for answer in (text, data, rows)} == {(0, "")}
    assert text.out.startswith("runs.csv: 1 rows played, 1 left out")
    score = json.loads(data.out)
    assert (score["rows"], [one["row"] for one in score["skipped"]]) == (1, ["a-2"])
    (row,) = csv.DictReader(io.StringIO(rows.out))
    assert float(row["error"]) == score["results"][0]["error"] == float(row["predicted_s"]) / 2.0 - 1


def test_a_file_that_is_no_table_is_refused(shardsim: Shardsim, folder: Path) -> None:
    (folder / "runs.csv").write_text("a,b\n1,2\n")
    assert_refused(shardsim("validate", "runs.csv"), "runs.csv:1: no column row; docs/validation.md lists")
