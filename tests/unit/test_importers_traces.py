"""Traces of PyTorch's profiler become samples: a few events by hand, in the form that kineto writes."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from calibrate import importers
from calibrate.importers import traces
from calibrate.importers.reading import Reading
from calibrate.samples import Samples
from topologies.document import InputError
from topologies.quantity import MICROSECOND

H100 = "NVIDIA H100 80GB HBM3"
BF16 = "c10::BFloat16"
Event = dict[str, object]


class Events:
    """A trace as it grows: each operation with the kernels that it starts, one after another on one thread."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now = 1000.0

    def call(self, name: str, *, kernels: dict[str, float] | None = None, **told: object) -> None:
        """An operation of 10 us on the CPU; `kernels` are microseconds by name."""
        self.within(name, {name: kernels or {}}, **told)

    def within(self, outer: str, inner: dict[str, dict[str, float]], **told: object) -> None:
        """An operation that calls others, the last of which may be itself."""
        start = self.now
        for name, kernels in inner.items():
            external = len(self.events) + 1
            own = told if name == outer else {}
            begin, length = (start, 10.0) if name == outer else (self.now + 1, 2.0)
            args = {"External id": external, "Ev Idx": external - 1, "Record function id": 0, **own}
            self._add("cpu_op", name, begin, length, {key.replace("_", " "): value for key, value in args.items()})
            for kernel, duration in kernels.items():
                self._add("kernel", kernel, start + 50, duration, {"External id": external, "stream": 7, "device": 0})
        self.now = start + 20

    def collective(self, name: str, duration: float, *, nelems: int, ranks: str, **told: object) -> None:
        size = told.pop("size", ranks.count(",") + 1)
        args = {
            "External id": 9_000_000, "Collective name": name, "In msg nelems": nelems, "Out msg nelems": nelems,
            "Group size": size, "dtype": "BFloat16", "Process Group Name": "0", "Process Group Ranks": ranks, **told,
        }  # fmt: skip
        self._add("kernel", "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
                  self.now, duration, args)  # fmt: skip
        self.now += duration

    def _add(self, category: str, name: str, start: float, length: float, args: Event) -> None:
        self.events.append({"ph": "X", "cat": category, "name": name, "pid": 1, "tid": 1, "ts": start, "dur": length,
                            "args": args})  # fmt: skip

    def trace(self, *, num_gpus: int = 8, name: str = H100, **fields: object) -> Event:
        devices = [{"id": index, "name": name, "computeMajor": 9, "numSms": 132} for index in range(num_gpus)]
        about = {"backend": "nccl", "rank": 0, "world_size": 16, "nccl_version": "2.27.5"}
        return {"schemaVersion": 1, "deviceProperties": devices, "distributedInfo": about, "record_shapes": 1,
                "displayTimeUnit": "ms", "traceEvents": self.events, "traceName": "t.json", **fields}  # fmt: skip


def product(events: Events, dims: list[list[int]], strides: list[list[int]], time: float, kind: str = BF16) -> None:
    events.call("aten::mm", kernels={"nvjet_tst_128x256_64x4": time}, Input_Dims=dims, Input_Strides=strides,
                Input_type=[kind, kind])  # fmt: skip


def forward(events: Events, m: int, n: int, k: int, time: float) -> None:
    """Rows by the transpose of weights [n, k]."""
    product(events, [[m, k], [k, n]], [[k, 1], [1, k]], time)


def attention(events: Events, name: str, said: list[str], before: int, kernels: dict[str, float]) -> None:
    """Four heads of 64, 1024 tokens; `before` inputs come before the queries."""
    shape, strides = [2, 4, 1024, 64], [262144, 64, 256, 1]
    events.call(name, kernels=kernels, Input_Dims=[shape] * (before + 3) + [[]] * (len(said) - before - 3),
                Input_Strides=[strides] * (before + 3) + [[]] * (len(said) - before - 3),
                Input_type=[BF16] * (before + 3) + ["Scalar"] * (len(said) - before - 3),
                Concrete_Inputs=said)  # fmt: skip


def read(tmp_path: Path, trace: Event, *, packed: bool = False, **options: str) -> Reading:
    text = json.dumps(trace).encode()
    path = tmp_path / ("t.json.gz" if packed else "t.json")
    path.write_bytes(gzip.compress(text) if packed else text)
    return importers.read(path, options.get("gpu"), options.get("fabric"))


def one_of(reading: Reading, operation: str) -> Samples:
    (found,) = [samples for samples in reading.samples if samples.operation == operation]
    return found


def reasons(reading: Reading) -> set[str]:
    return {one.reason for one in reading.skipped}


@pytest.mark.parametrize("packed", [False, True])
def test_repetitions_of_a_product_become_one_sample_by_median(tmp_path: Path, packed: bool) -> None:
    """30, 31 and 90 us of one shape are 31 us."""
    events = Events()
    for time in (30.0, 90.0, 31.0):
        forward(events, 4096, 1024, 512, time)
    forward(events, 128, 1024, 512, 7.0)
    found = one_of(read(tmp_path, events.trace(), packed=packed), "gemm bf16")
    assert found.part == "h100-80gb-sxm"
    assert [list(found.points[name]) for name in "mnk"] == [[4096, 128], [1024, 1024], [512, 512]]
    assert list(found.seconds) == pytest.approx([31 * MICROSECOND, 7 * MICROSECOND])
    assert list(found.rows) == [1, 7]


def test_layouts_tell_forward_from_gradients(tmp_path: Path) -> None:
    """y = x W^T with 256 rows, W of 512 x 128: dx = dy W, both by rows; dW = dy^T x, the first by columns. Both go
    by the sizes of forward."""
    events = Events()
    forward(events, 256, 512, 128, 5.0)
    product(events, [[256, 512], [512, 128]], [[512, 1], [128, 1]], 6.0)
    product(events, [[512, 256], [256, 128]], [[1, 512], [128, 1]], 8.0)
    reading = read(tmp_path, events.trace())
    assert list(one_of(reading, "gemm bf16").seconds) == pytest.approx([5 * MICROSECOND])
    gradients = one_of(reading, "gemm gradients")
    assert [list(gradients.points[name]) for name in "mnk"] == [[256, 256], [512, 512], [128, 128]]
    assert list(gradients.points["layout"]) == [1, 2]
    assert list(gradients.seconds) == pytest.approx([6 * MICROSECOND, 8 * MICROSECOND])


def test_a_product_with_bias_and_one_in_8_bits_are_read(tmp_path: Path) -> None:
    events = Events()
    events.call("aten::addmm", kernels={"gemm": 9.0}, Input_Dims=[[64], [256, 128], [128, 64]],
                Input_Strides=[[1], [128, 1], [1, 128]], Input_type=[BF16] * 3)  # fmt: skip
    fp8 = "c10::Float8_e4m3fn"
    for scale in ([1], [256, 1]):
        events.call("aten::_scaled_mm", kernels={"gemm": 4.0}, Input_Dims=[[256, 128], [128, 64], scale, [1]],
                    Input_Strides=[[128, 1], [1, 128], [1], [1]], Input_type=[fp8, fp8, "float", "float"])  # fmt: skip
    reading = read(tmp_path, events.trace())
    assert list(one_of(reading, "gemm bf16").points["m"]) == [256]
    assert len(one_of(reading, "gemm fp8")) == 1
    assert reasons(reading) == {"_scaled_mm: scales of rows or blocks, of which no law is"}


def test_what_an_operation_copies_first_is_not_its_own_time(tmp_path: Path) -> None:
    """A product whose gradient is made contiguous: a copy of 3 us within, then its own kernel of 12 us."""
    events = Events()
    events.within("aten::mm", {"aten::mm": {"gemm": 12.0}, "aten::copy_": {"elementwise": 3.0}},
                  Input_Dims=[[256, 128], [128, 64]], Input_Strides=[[128, 1], [1, 128]],
                  Input_type=[BF16, BF16])  # fmt: skip
    assert list(one_of(read(tmp_path, events.trace()), "gemm bf16").seconds) == pytest.approx([12 * MICROSECOND])


def test_attention_is_read_forward_and_backward_with_all_its_kernels(tmp_path: Path) -> None:
    """Backward runs three kernels, 2 + 40 + 3 us; the places of the inputs are those of PyTorch's own operations."""
    events = Events()
    attention(events, "aten::_scaled_dot_product_flash_attention", ["", "", "", "0.", "True", "False", ""], 0,
              {"flash_fwd": 20.0})  # fmt: skip
    backward = ["", "", "", "", "", "", "", "", "1024", "1024", "0.", "True", "", "", ""]
    attention(events, "aten::_scaled_dot_product_flash_attention_backward", backward, 1,
              {"dot_do_o": 2.0, "flash_bwd": 40.0, "convert_dq": 3.0})  # fmt: skip
    cudnn = ["", "", "", "", "True", "0.", "False", "False", ""]
    attention(events, "aten::_scaled_dot_product_cudnn_attention", cudnn, 0, {"cudnn_sdpa": 30.0})
    reading = read(tmp_path, events.trace())
    ahead, back = one_of(reading, "attention forward"), one_of(reading, "attention backward")
    assert list(ahead.points["causal"]) == [1, 0]
    assert list(back.seconds) == pytest.approx([45 * MICROSECOND])
    for name, number in {"batch": 2, "seq_len": 1024, "num_heads": 4, "head_dim": 64, "causal": 1}.items():
        assert back.points[name][0] == number


def test_dropout_and_bias_of_attention_are_left_out(tmp_path: Path) -> None:
    events = Events()
    forward(events, 256, 256, 256, 5.0)
    attention(events, "aten::_scaled_dot_product_flash_attention", ["", "", "", "0.1", "True", "False", ""], 0,
              {"flash_fwd": 20.0})  # fmt: skip
    events.call("aten::_scaled_dot_product_efficient_attention", kernels={"fmha": 9.0},
                Input_Dims=[[1, 1, 64, 64]] * 4 + [[]] * 4, Input_type=[BF16] * 4 + [""] * 4,
                Concrete_Inputs=["", "", "", "", "False", "0.", "False", ""])  # fmt: skip
    assert reasons(read(tmp_path, events.trace())) == {
        "_scaled_dot_product_flash_attention: dropout, or nobody wrote whether there is any",
        "_scaled_dot_product_efficient_attention: a bias on the scores, of which no law is",
    }


def test_bytes_of_sums_and_copies_are_counted_where_they_are_certain(tmp_path: Path) -> None:
    """1000 x 1000: a sum in bf16 reads two and writes one, 6 MB; a copy of fp32 into bf16 4 + 2 bytes each, 6 MB."""
    events = Events()
    square, strides = [1000, 1000], [1000, 1]
    events.call("aten::add", kernels={"elementwise": 4.0}, Input_Dims=[square, square, []],
                Input_Strides=[strides, strides, []], Input_type=[BF16, BF16, "Scalar"])  # fmt: skip
    events.call("aten::copy_", kernels={"elementwise": 5.0}, Input_Dims=[square, square, []],
                Input_Strides=[strides, strides, []], Input_type=[BF16, "float", "Scalar"])  # fmt: skip
    events.call("aten::copy_", kernels={"elementwise": 6.0}, Input_Dims=[square, square, []],
                Input_Strides=[strides, [1, 1000], []], Input_type=[BF16, BF16, "Scalar"])  # fmt: skip
    events.call("aten::add", kernels={"elementwise": 7.0}, Input_Dims=[square, [1000], []],
                Input_Strides=[strides, [1], []], Input_type=[BF16, BF16, "Scalar"])  # fmt: skip
    reading = read(tmp_path, events.trace())
    (found,) = reading.samples
    assert list(found.points["nbytes"]) == [6e6]
    assert list(found.points["kind"]) == [0]
    assert list(found.seconds) == pytest.approx([4.5 * MICROSECOND])
    assert [one.row for one in reading.skipped] == [5, 7]


def test_of_a_collective_the_repetitions_that_waited_least_are_taken(tmp_path: Path) -> None:
    """A million bf16 elements over 8 ranks, ten times 100 us and ten times far more: 100 us, 2 MB, one node."""
    events = Events()
    for repetition in range(20):
        waited = 0.0 if repetition % 2 else 1000.0 * repetition + 500
        events.collective("allreduce", 100.0 + waited, nelems=1_000_000, ranks="[0, 1, 2, 3, 4, 5, 6, 7]")
    for repetition in range(4):
        events.collective("allreduce", 50.0 + repetition, nelems=8, ranks="[0, 1, 2, 3, 4, 5, 6, 7]")
    reading = read(tmp_path, events.trace())
    found = one_of(reading, "nccl node")
    assert (found.part, found.gpu) == ("nvlink4", "h100-80gb-sxm")
    assert list(found.points["nbytes"]) == [2e6]
    assert list(found.points["nccl_version"]) == [2027]
    assert list(found.seconds) == pytest.approx([100 * MICROSECOND])
    assert reasons(reading) == {"a collective with fewer than 5 repetitions: how long it waited cannot be told"}


def test_sizes_count_as_in_nccl_tests_and_groups_as_they_lie_on_nodes(tmp_path: Path) -> None:
    """An all-gather counts what comes out; ranks 0 and 8 of nodes with 8 GPUs are two nodes; 64 ranks are written as
    the first and the last of them."""
    events = Events()
    for _ in range(5):
        events.collective("_allgather_base", 90.0, nelems=1000, ranks="[0, 8]", **{"Out msg nelems": 2000})
        events.collective("_reduce_scatter_base", 95.0, nelems=64_000, ranks="[0, 1, ..., 63]", size=64)
        events.collective("all_to_allv", 80.0, nelems=8000, ranks="[0, 1]", **{"In split size": "[4000, 4000]"})
        events.collective("all_to_allv", 80.0, nelems=8000, ranks="[0, 1]", **{"In split size": "[1000, 7000]"})
        events.collective("send", 80.0, nelems=8000, ranks="[0, 1]")
    reading = read(tmp_path, events.trace(), fabric="ib-ndr400x8")
    found = one_of(reading, "nccl network")
    assert list(found.points["nbytes"]) == [4000, 128_000]
    assert list(found.points["num_nodes"]) == [2, 8]
    assert found.part == "ib-ndr400"
    assert list(one_of(reading, "nccl all-to-all node").points["nbytes"]) == [16_000]
    assert any("shares of several sizes" in one for one in reasons(reading))
    assert any(one.startswith("send:") for one in reasons(reading))


def test_what_joins_nodes_has_to_be_said(tmp_path: Path) -> None:
    events = Events()
    for _ in range(5):
        events.collective("allreduce", 90.0, nelems=1000, ranks="[0, 8]")
    with pytest.raises(InputError, match=r"over 2 nodes, .* say --fabric NAME"):
        read(tmp_path, events.trace())


def test_without_shapes_it_is_said_how_to_get_them(tmp_path: Path) -> None:
    events = Events()
    events.call("aten::mm", kernels={"gemm": 9.0})
    with pytest.raises(InputError, match=r"^t\.json: nothing that can be used: .*record_shapes=True"):
        read(tmp_path, events.trace())


REFUSED = {
    "a trace of a simulation": ({"deviceProperties": None}, r"not a trace of PyTorch's profiler: .*simulation"),
    "no device": ({"deviceProperties": []}, "no GPU was profiled"),
    "another GPU": ({"deviceProperties": [{"name": "Voodoo 2"}]}, r"Voodoo 2 is not in the catalogue; say --gpu NAME"),
    "two kinds": ({"deviceProperties": [{"name": H100}, {"name": "NVIDIA H200"}]}, "GPUs of several kinds"),
    "no events": ({"traceEvents": {}}, "no list traceEvents"),
    "no kernels": ({"traceEvents": []}, "no kernel of a GPU in it"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_trace_of_gpus_is_refused(tmp_path: Path, case: str) -> None:
    fields, said = REFUSED[case]
    with pytest.raises(InputError, match=rf"^t\.json: .*{said}"):
        read(tmp_path, Events().trace() | dict(fields))


@pytest.mark.parametrize("duration", [float("nan"), -1.0, "9", None, 1e300])
def test_a_kernel_that_took_no_time_is_refused_with_its_place(tmp_path: Path, duration: object) -> None:
    events = Events()
    forward(events, 256, 256, 256, 5.0)
    events.events[1]["dur"] = duration
    with pytest.raises(InputError, match=r"^t\.json:(1: not complete JSON| event 2: dur: )"):
        read(tmp_path, events.trace())


def test_a_trace_that_ends_early_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    text = json.dumps(Events().trace(), indent=1)
    path.write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(InputError, match=r"^t\.json:\d+: not complete JSON: .*did the profiler end early\?$"):
        importers.read(path, None, None)


def test_a_packed_trace_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.json.gz"
    content = gzip.compress(json.dumps(Events().trace()).encode())
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"^t\.json\.gz: the packed file is cut off or damaged"):
        importers.read(path, None, None)


def test_what_unpacks_to_more_than_fits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "LARGEST", 100_000)
    with pytest.raises(InputError, match=r"more than .* unpacked; profile fewer steps"):
        read(tmp_path, Events().trace() | {"padding": "x" * 200_000}, packed=True)


def test_samples_are_written_and_read_again(tmp_path: Path) -> None:
    from calibrate.importers import written

    events = Events()
    forward(events, 4096, 1024, 512, 31.0)
    path = tmp_path / "s.csv"
    path.write_text(written.write(read(tmp_path, events.trace()).samples), encoding="utf-8")
    (again,) = importers.read(path, None, None).samples
    assert again.operation == "gemm bf16"
    assert np.allclose(again.seconds, 31 * MICROSECOND)
