"""Logs of nccl-tests, as published ones look, become rows; what cannot be used is told."""

import json

import pytest

from calibrate.importers.nccl_json import read_json
from calibrate.importers.nccl_tests import is_log, read_log
from topologies.document import InputError

RANK = "#  Rank {rank:2d} Group  0 Pid  {pid} on {host} device  {slot} [0000:0{slot}:00] NVIDIA H100 80GB HBM3"
HEAD = (
    "# nThread 1 nGpus 1 minBytes 8 maxBytes 256 step: 2(factor) warmup iters: 5 iters: 20 graph: 0\n# Using devices\n"
)
COLUMNS = """\
#
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
"""
ROWS = """\
           8             2     float     sum      -1    31.96    0.00    0.00      0    31.87    0.00    0.00      0
        1024           256     float     sum      -1    34.05    0.03    0.06    N/A    1.1e+3    0.03    0.06    N/A
"""
FOOT = "# Out of bounds values : 0 OK\n# Avg bus bandwidth    : 123.4\n#\n"


def ranks(hosts: int, per_host: int = 8) -> str:
    lines = [
        RANK.format(rank=host * per_host + slot, pid=1000 + slot, host=f"node{host}", slot=slot)
        for host in range(hosts)
        for slot in range(per_host)
    ]
    return "\n".join(lines) + "\n"


def log(command: str = "all_reduce_perf -b 8 -e 1G", hosts: int = 1, rows: str = ROWS) -> str:
    return f"> mpirun ./build/{command}\n{HEAD}{ranks(hosts)}{COLUMNS}{rows}{FOOT}"


def test_a_log_becomes_a_row_for_each_size() -> None:
    table, skipped = read_log(log(), "a.log", None, None)
    assert is_log(log())
    assert list(table.texts("size_bytes")) == ["8", "1024"]
    assert list(table.numbers("time_us_oop")) == [31.96, 34.05]
    assert list(table.numbers("time_us_ip")) == [31.87, 1100.0]
    assert set(table.texts("gpu")) == {"h100-80gb-sxm"}
    assert set(table.texts("fabric")) == {"nvlink-only"}
    assert (table.texts("num_gpus")[0], table.texts("nodes")[0], table.texts("gpus_per_node")[0]) == ("8", "1", "8")
    assert set(table.texts("collective")) == {"all_reduce"}
    assert skipped == ()
    assert log().splitlines()[table.rows[0] - 1].split()[0] == "8"


def test_several_collectives_in_one_log_stay_apart() -> None:
    both = log("all_gather_perf") + log("alltoall_perf", hosts=2).replace("sum", "none")
    table, _ = read_log(both, "a.log", None, "ib-ndr400x8")
    assert list(table.texts("collective")) == ["all_gather"] * 2 + ["alltoall"] * 2
    assert list(table.texts("num_gpus")) == ["8", "8", "16", "16"]
    assert list(table.texts("nodes")) == ["1", "1", "2", "2"]


def test_mpi_prefixes_newer_headers_and_versions_are_read() -> None:
    head = "# nccl-tests version 2.17.1 nccl-headers=22703 nccl-library=22703\n"
    head += "# Collective test starting: reduce_scatter_perf\n"
    foot = "# Collective test concluded: reduce_scatter_perf\n"
    text = head + log().split("\n", 1)[1] + foot
    table, _ = read_log("\n".join(f"[1,0]<stdout>:{line}" for line in text.splitlines()), "a.log", None, None)
    assert set(table.texts("collective")) == {"reduce_scatter"}
    assert set(table.texts("nccl_version")) == {"2.27.3"}


def test_per_iteration_columns_do_not_shift_the_times() -> None:
    side = "time   algbw   busbw  #wrong    i_min    i_max    i_p99    i_cv%"
    head = f"#       size         count      type   redop    root     {side}     {side}\n"
    row = "  8  2  float  sum  -1" + "".join(
        f"  {time}  0.00  0.00  0  30.0  33.0  32.9  1.2" for time in (31.96, 35.87)
    )
    text = f"all_reduce_perf\n{HEAD}{ranks(1)}{head}{row}\n{FOOT}"
    table, _ = read_log(text, "a.log", None, None)
    assert (table.numbers("time_us_oop")[0], table.numbers("time_us_ip")[0]) == (31.96, 35.87)


def test_old_logs_without_root_and_command_are_told_by_their_operator() -> None:
    """256 floats are the whole 1,024 bytes of an all-reduce, and the share of 1 in 8 of a reduce-scatter of 8,192."""
    side = "time   algbw   busbw  error"
    times = "20.00    0.05    0.09  2e-07    20.00    0.05    0.09  2e-07"
    old = f"{HEAD}{ranks(1)}#       size         count    type   redop     {side}     {side}\n"
    old += "".join(f"        {size}           256   float     sum    {times}\n" for size in (1024, 8192))
    table, _ = read_log(old, "a.log", None, None)
    assert list(table.texts("collective")) == ["all_reduce", "reduce_scatter"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2048 512 float sum -1 31.96 0.00 0.00 3 31.87 0.00 0.00 0", "#wrong is not 0"),
        ("0 0 float sum -1 31.96 0.00 0.00 0 31.87 0.00 0.00 0", "a size of 0 bytes"),
        ("2048 512 float sum -1 31.96 0.0", "the line is cut off"),
    ],
)
def test_rows_that_cannot_be_used_are_told(row: str, reason: str) -> None:
    table, skipped = read_log(log(rows=f"{ROWS}  {row}\n"), "a.log", None, None)
    assert len(table) == 2
    assert [one.reason.startswith(reason) for one in skipped] == [True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (log(hosts=2), "2 hosts, which nccl-tests does not tell the network of; add for example --fabric"),
        (log("hypercube_perf"), "hypercube is not simulated"),
        (log().replace("time ", "cputime "), "times of the CPU"),
        (log().replace("# Rank", "# rank").replace("#  Rank", "#"), "which GPUs ran is not said"),
        (log().replace("H100 80GB HBM3", "X900"), "NVIDIA X900 is not in the catalogue; say --gpu NAME"),
        (log().replace("Rank  7 Group  0", "Rank  7 Group  1"), "2 groups ran at once"),
        (f"all_reduce_perf\n{HEAD}", "no row of nccl-tests"),
        (log("gather_perf").replace("gather_perf", "").replace("sum", "none"), "which collective ran is not said"),
    ],
)
def test_a_log_that_does_not_say_enough_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        read_log(text, "a.log", None, None)
    assert str(refused.value).startswith("a.log")
    assert "\n" not in str(refused.value)


def as_json(**changes: object) -> str:
    devices = [
        {"rank": rank, "group": 0, "hostname": f"n{rank // 8}", "device": rank % 8, "device_info": "NVIDIA H200"}
        for rank in range(16)
    ]
    side = {"time": 50.0, "alg_bw": 0.02, "bus_bw": 0.04, "nwrong": 0.0}
    result = {
        "size": 1024,
        "count": 256,
        "type": "float",
        "redop": "sum",
        "root": "-1",
        "out_of_place": side,
        "in_place": None,
    }
    data = {
        "version": 2, "args": ["/opt/all_reduce_perf", "-J", "x"], "env": ["NCCL_ALGO=Ring"], "nccl_version": 22809,
        "config": {"nthreads": 1, "ngpus": 1, "devices": devices}, "results": [result, {**result, "in_place": side}],
    }  # fmt: skip
    return json.dumps(data | changes)


def test_json_of_nccl_tests_becomes_the_same_rows() -> None:
    table, skipped = read_json(as_json(), "a.json", None, "ib-ndr400x8")
    assert (len(table), skipped) == (2, ())
    assert list(table.texts("time_us_ip")) == ["", "50.0"]
    assert set(table.texts("gpu")) == {"h200-sxm"}
    assert (table.texts("num_gpus")[0], table.texts("nodes")[0]) == ("16", "2")
    assert (table.texts("nccl_version")[0], table.texts("algo_hint")[0]) == ("2.28.9", "Ring")


def test_older_json_lists_one_device_per_process() -> None:
    config = {"nthreads": 1, "ngpus": 8, "devices": [{"rank": 0, "hostname": "a", "device_info": "NVIDIA H200"}]}
    table, _ = read_json(as_json(config=config), "a.json", None, None)
    assert table.texts("num_gpus")[0] == "8"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (as_json()[:300], r"a\.json:1: not complete JSON"),
        ("{}", "not what nccl-tests writes"),
        (as_json(results=None), "no list of results"),
        (as_json(config={"devices": []}), "config.devices"),
        ("[" * 100_000, "a.json"),
    ],
)
def test_json_that_is_not_whole_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_json(text, "a.json", None, "ib-ndr400x8")


def test_a_negative_size_is_not_passed_over() -> None:
    row = "  -1024  256  float  sum  -1  34.05  0.03  0.06  0  31.0  0.03  0.06  0\n"
    table, _ = read_log(log(rows=ROWS + row), "a.log", None, None)
    with pytest.raises(
        InputError, match=r"^a\.log:\d+: size_bytes: -1024 is not possible; write a number greater than 0"
    ):
        table.numbers("size_bytes")
