"""Traces of PyTorch's profiler (torch.profiler, export_chrome_trace): kernels, and the operations that started them.

Format: kineto's libkineto/src/output_json.cpp, PyTorch 2.0 to 2.13: events of category cpu_op with the shapes, types
and strides of their inputs (record_shapes=True), and of category kernel with their duration in microseconds; both name
the operation by its "External id". A row here is the place of an event in the list traceEvents, from 1.
"""

import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import orjson

from calibrate.importers.reading import Reading, Skipped
from calibrate.importers.trace_collectives import collective_samples
from calibrate.importers.trace_events import Trace, kernels_of, operations_of
from calibrate.importers.trace_kernels import kernel_samples
from topologies import gpu as gpu_named
from topologies.document import InputError, Value
from topologies.quantity import GB, MEGA

LARGEST: Final = int(GB)
"""Bytes of a trace, unpacked: ten times as many are in memory while it is read."""
_HEAD: Final = int(MEGA)
_PACKED: Final = b"\x1f\x8b"


def is_trace(path: Path) -> bool:
    """Whether a file begins as a Chrome trace does, packed or not."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            packed = file.read(2) == _PACKED
        with _opened(path, packed) as content:
            head = content.read(_HEAD)
    except (OSError, EOFError, zlib.error):
        return packed_name(path)
    return head.lstrip()[:1] == b"{" and (b'"traceEvents"' in head or b'"deviceProperties"' in head)


def packed_name(path: Path) -> bool:
    """Whether a name is that of a packed trace: what cannot be unpacked is told as such."""
    return path.name.endswith(".json.gz")


def read(path: Path, gpu: str | None, fabric: str | None) -> Reading:
    """The samples in a trace: products, attention, copies and sums, and NCCL's collectives by size.

    `gpu` goes before the GPU that the trace names; `fabric` says what joins its nodes. Raises InputError for what is
    no whole trace of PyTorch's profiler, or holds nothing that can be used.
    """
    data = _data(path)
    trace = _trace(data, path.name, gpu)
    operations = operations_of(trace)
    kernels = kernels_of(trace, operations)
    skipped: list[Skipped] = []
    samples = [
        *kernel_samples(trace, operations, kernels, skipped),
        *collective_samples(trace, fabric or "", skipped),
    ]
    if not samples:
        raise InputError(f"{path.name}: {_nothing(trace, skipped)}")
    return Reading(samples=tuple(samples), skipped=tuple(sorted(skipped, key=lambda one: one.row)))


def _nothing(trace: Trace, skipped: Sequence[Skipped]) -> str:
    if not any(event.get("cat") == "kernel" for event in trace.events):
        return "no kernel of a GPU in it; profile with activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]"
    reasons = list(dict.fromkeys(one.reason for one in reversed(skipped)))
    return f"nothing that can be used: {'; '.join(reasons[:2]) or 'profile with record_shapes=True'}"


def _data(path: Path) -> Mapping[str, Value]:
    content = _content(path)
    try:
        data = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        line = content.count(b"\n", 0, error.pos) + 1
        raise InputError(f"{path.name}:{line}: not complete JSON: {error.msg}; did the profiler end early?") from None
    if not isinstance(data, dict) or not isinstance(data.get("traceEvents"), list):
        raise InputError(f"{path.name}: no list traceEvents; write it with prof.export_chrome_trace(...)")
    return data


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _PACKED
        with _opened(path, packed) as content:
            found = content.read(LARGEST + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError(f"{path.name}: the packed file is cut off or damaged; copy it again") from None
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    if len(found) > LARGEST:
        raise InputError(f"{path.name}: more than {LARGEST / GB:g} GB unpacked; profile fewer steps, without stacks")
    return found


def _opened(path: Path, packed: bool) -> IO[bytes]:
    return io.BufferedReader(gzip.GzipFile(path, "rb")) if packed else path.open("rb")


def _trace(data: Mapping[str, Value], name: str, gpu: str | None) -> Trace:
    """What is looked at of a trace; InputError where it is not one of PyTorch's profiler on GPUs that are known."""
    events, devices = data["traceEvents"], data.get("deviceProperties")
    assert isinstance(events, list)
    if not isinstance(devices, list):
        said = "it names no devices (deviceProperties), as that of a simulation by shardsim does"
        raise InputError(f"{name}: not a trace of PyTorch's profiler: {said}; such a trace measures nothing")
    distributed = data.get("distributedInfo")
    version = distributed.get("nccl_version") if isinstance(distributed, dict) else None
    return Trace(
        name=name,
        gpu=gpu or _gpu(devices, name),
        num_devices=len(devices),
        nccl_version=str(version) if isinstance(version, str) and version[:1].isdigit() else "",
        events=tuple(event if isinstance(event, dict) else {} for event in events),
    )


def _gpu(devices: Sequence[Value], name: str) -> str:
    names = dict.fromkeys(str(one["name"]) for one in devices if isinstance(one, dict) and "name" in one)
    if not names:
        raise InputError(f"{name}: no GPU was profiled; profile where one is, with ProfilerActivity.CUDA")
    if len(names) > 1:
        raise InputError(f"{name}: GPUs of several kinds: {', '.join(names)}; say --gpu NAME which to take them for")
    try:
        return gpu_named(*names).name
    except InputError:
        raise InputError(f"{name}: {next(iter(names))} is not in the catalogue; say --gpu NAME") from None
