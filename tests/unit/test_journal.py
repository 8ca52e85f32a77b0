"""The journal of a run: nothing that was told is lost, and what is no measurement is named with its line."""

import json
import math
import os
import random
import time
from dataclasses import replace
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import NoReturn

import pytest

from calibrate.journal import FORMAT, Journal, check_same, read, read_whole, samples
from calibrate.machines.machine import Machine
from calibrate.measurement import Measurement
from calibrate.records import record
from topologies.document import InputError

MACHINE = Machine(
    backend="nccl", part="h200-sxm", link="nvlink4", device="NVIDIA H200", num_gpus=8, hosts=("n1",),
    software={"driver": "550.54", "nccl": "2.27.3"}, clocks={"sm": 1980.0},
)  # fmt: skip
ONE = Measurement(
    operation="gemm bf16", part="h200-sxm", inputs={"m": 64.0, "n": 128.0, "k": 256.0}, seconds=1e-5, low=0.9e-5,
    high=1.2e-5, repeats=20, slowest=1.1e-5, slowest_rank=3, clock=1.9e9,
)  # fmt: skip


ALL_REDUCE = {
    "operation": 0.0, "num_gpus": 8.0, "nbytes": 8.0, "is_integer": 0.0, "nccl_version": 22703.0, "num_nodes": 1.0,
    "gpus_per_node": 8.0,
}  # fmt: skip


def with_rows(path: Path, *rows: int) -> None:
    journal = Journal(path, MACHINE)
    for rows_of in rows:
        journal.add(row(rows_of))
    journal.close()


def row(m: int) -> Measurement:
    return replace(ONE, inputs={**ONE.inputs, "m": float(m)})


GPUS = {"backend": "nccl", "part": "h200-sxm", "link": "nvlink4", "device": "x", "num_gpus": 8, "num_nodes": 1}
PROCESSES = {**GPUS, "backend": "gloo", "part": "cpu-x", "link": "gloo-loopback"}


def changed(**fields: object) -> str:
    """A line with other values in some fields."""
    return json.dumps({**record(ONE), **fields})


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    with_rows(tmp_path / "samples.jsonl", 64, 128)
    machine, found = read(tmp_path / "samples.jsonl")
    assert machine == MACHINE
    assert [one.key for one in found] == [row(64).key, row(128).key]
    assert (found[0].seconds, found[0].slowest_rank, found[0].clock) == (1e-5, 3, 1.9e9)
    assert math.isnan(found[0].power)


def test_a_torn_last_line_is_dropped_and_the_next_goes_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    with_rows(path, 64, 128)
    whole = path.read_bytes()
    for length in (len(whole) - 1, len(whole) - 40):
        path.write_bytes(whole[:length])
        assert len(read(path)[1]) == 1
        with_rows(path, 256)
        assert [one.inputs["m"] for one in read(path)[1]] == [64, 256]


def test_a_file_torn_in_its_first_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text('{"format": "shards')
    with pytest.raises(InputError, match="nothing was measured yet"):
        read(path)
    with_rows(path, 64)
    assert len(read(path)[1]) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "samples.jsonl:2: not a line of JSON"),
        ('{"operation": "gemm bf16"}', "samples.jsonl:2: inputs: must be a mapping"),
        ('{"operation": "a", "part": "b", "inputs": {}, "seconds": 1}', "inputs are empty"),
        ('{"operation": "a", "part": "b", "inputs": {"m": 1}, "seconds": -1}', "seconds must be more than 0"),
        ('{"operation": "a", "part": "b", "inputs": {"m": 1}, "seconds": NaN}', "not a line of JSON"),
        ('{"operation": "a", "part": "b", "inputs": {"m": "x"}, "seconds": 1}', "inputs.m must be a number"),
        ('{"operation": "", "part": "b", "inputs": {"m": 1}, "seconds": 1, "low": 1, "high": 1}', "operation must be"),
        ("[" * 2000, "not a line of JSON"),
        (changed(seconds=1e30), "seconds must be more than 0 seconds and at most a day's"),
        (changed(took="x"), "took must be a number"),
        (changed(repeats=-3), "repeats must be a whole number, 0 or more"),
        (changed(throttled=True), "throttled must be text"),
        (changed(inputs={"m": 1, "n": 1}), "inputs.k is missing"),
        (changed(inputs={"m": 0, "n": 1, "k": 1}), "inputs.m must be more than 0"),
        (changed(inputs={"m": 1, "n": 1, "k": 1e30}), "inputs.k must be from 0 to 1e[+]15"),
        (changed(part="h100-80gb-sxm"), "of h100-80gb-sxm, but the first line is of h200-sxm"),
        (changed(part="nvlink4", gpu="h100-80gb-sxm"), "of nvlink4 of h100-80gb-sxm, but the first line is of h200"),
        ('{"format": "shardsim samples 1"}', "another run begins here"),
    ],
)
def test_a_broken_line_that_is_not_the_last_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "samples.jsonl"
    with_rows(path, 64)
    first, second = path.read_text().splitlines()
    path.write_text("\n".join([first, line, second, ""]))
    with pytest.raises(InputError, match=message):
        read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, "format 'x' is not"),
        ({"machine": 3}, "machine: must be a mapping"),
        ({"machine": {"backend": "mpi"}}, "must be nccl or gloo"),
        ({"machine": {"backend": "nccl", "part": "a", "link": "b", "device": "c", "num_gpus": 0}}, "num_gpus must be"),
        ({"machine": {"colour": 1}}, "machine.'colour' is not known"),
        ({"machine": {**GPUS, "num_nodes": 3}}, "num_nodes 3 does not divide machine.num_gpus 8"),
        ({"machine": {**GPUS, "part": "cpu-x"}}, "machine.part 'cpu-x' is a processor's, but machine.backend is nccl"),
        ({"machine": {**GPUS, "backend": "gloo"}}, "machine.part 'h200-sxm' is no processor's"),
        ({"machine": {**GPUS, "hardware": {"gpu": {"name": "x"}}}}, "hardware.gpu: peak_flops: this field is missing"),
        ({"machine": PROCESSES}, "machine.hardware.gpu is missing"),
    ],
)
def test_a_first_line_that_says_nothing_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(json.dumps({"format": FORMAT, "machine": {}, **change}) + "\n")
    with pytest.raises(InputError, match=message):
        read(path)


def test_what_is_missing_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.jsonl"):
        with pytest.raises(InputError, match="cannot be read"):
            read(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Journal(tmp_path / "file" / "samples.jsonl", MACHINE)


def test_the_first_line_says_by_which_command(tmp_path: Path) -> None:
    Journal(tmp_path / "samples.jsonl", MACHINE, command="calibrate run --quick").close()
    header, found = read_whole(tmp_path / "samples.jsonl")
    assert (header.command, found) == ("calibrate run --quick", ())


def test_two_runs_never_write_one_journal(tmp_path: Path) -> None:
    first = Journal(tmp_path / "samples.jsonl", MACHINE)
    with pytest.raises(InputError, match="another run is writing it"):
        Journal(tmp_path / "samples.jsonl", MACHINE)
    first.close()
    Journal(tmp_path / "samples.jsonl", MACHINE).close()


def test_wrong_and_throttled_points_are_kept_and_never_fitted(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "samples.jsonl", MACHINE)
    for one in (
        row(1),
        replace(row(2), throttled="it was hot"),
        replace(row(3), wrong="out of memory", seconds=math.nan, low=math.nan, high=math.nan),
        row(4),
        replace(ONE, operation="nccl node", part="nvlink4", gpu="h200-sxm", inputs=ALL_REDUCE),
    ):
        journal.add(one)
    machine, found = read(tmp_path / "samples.jsonl")
    assert len(found) == 5
    products, collectives = samples(machine, found)
    assert list(products.points["m"]) == [1, 4]
    assert list(products.rows) == [2, 5]
    assert (collectives.operation, collectives.gpu, list(collectives.rows)) == ("nccl node", "h200-sxm", [6])
    assert "NVIDIA H200" in products.source
    assert len({one.key for one in found}) == 5


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"num_gpus": 4}, "num_gpus 8 there, 4 here"),
        ({"part": "h100-80gb-sxm"}, "part h200-sxm there, h100-80gb-sxm here"),
        ({"software": {"driver": "550.54", "nccl": "2.28"}}, "nccl 2.27.3 there, 2.28 here"),
        ({"software": {"nccl": "2.27.3"}}, "driver 550.54 there, none here"),
    ],
)
def test_only_the_same_machine_resumes(changed: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        check_same(MACHINE, replace(MACHINE, **changed))  # type: ignore[arg-type]
    check_same(MACHINE, replace(MACHINE, hosts=("n2",), clocks={}))


def write_on(path: Path, begin: int, told: int) -> NoReturn:
    """Rows without end, from a number on; that of each is told once it was added."""
    journal = Journal(path, MACHINE)
    for m in count(begin):
        journal.add(row(m + 1))
        os.write(told, f"{m}\n".encode())


def test_no_line_that_was_told_is_lost_when_the_writer_is_killed(tmp_path: Path) -> None:
    """Ten times, at random moments: what it printed is in the journal, at most one more is, and the next goes on."""
    path, random_moment = tmp_path / "samples.jsonl", random.Random(0)
    begin = 0
    for _ in range(10):
        reading, writing = os.pipe()
        writer = get_context("fork").Process(target=write_on, args=(path, begin, writing))
        writer.start()
        os.close(writing)
        with os.fdopen(reading) as said:
            told = [int(said.readline())]
            time.sleep(random_moment.uniform(0, 0.02))
            writer.kill()
            told += [int(line) for line in said.read().splitlines()]
        writer.join()
        found = [int(one.inputs["m"]) - 1 for one in read(path)[1]]
        assert found[: told[-1] + 1] == list(range(told[-1] + 1))
        assert len(found) <= told[-1] + 2
        begin = len(found)
