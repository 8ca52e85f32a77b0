"""The JSON that nccl-tests writes with -J, as a table.

One file is one run: `config` with its devices, `args` and `env` of the command, and `results` with the times out of
place and in place. Format: NVIDIA/nccl-tests, src/util.cu, versions 2 to 4 of the file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from calibrate.importers.nccl_runs import CPU_TIMES, Measured, Rows, Run, number, told_by, version_of
from calibrate.importers.reading import Skipped
from calibrate.importers.table import Table
from topologies.document import InputError

Record = Mapping[str, object]

_MOST_RANKS = 100_000


def read_json(text: str, name: str, gpu: str | None, fabric: str | None) -> tuple[Table, tuple[Skipped, ...]]:
    """As `nccl_tests.read_log`; the lines are the places in the list of results, from 1."""
    data = _data(text, name)
    rows, run = Rows(name, gpu, fabric), _run(data, name)
    results = data.get("results")
    if not isinstance(results, list):
        raise InputError(f"{name}: no list of results; nccl-tests writes it once a test has begun")
    for place, result in enumerate(results, start=1):
        _take(rows, run, place, _record(result))
    return rows.table(), tuple(rows.skipped)


def _data(text: str, name: str) -> Record:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{name}:{error.lineno}: not complete JSON: {error.msg}; did nccl-tests end early?") from None
    except RecursionError:
        raise InputError(f"{name}: nested too deeply for what nccl-tests writes with -J") from None
    if not isinstance(data, dict) or not isinstance(data.get("config"), dict):
        raise InputError(f"{name}: not what nccl-tests writes with -J: it has no config and results")
    return data


def _run(data: Record, name: str) -> Run:
    config, arguments, environment, code = (data.get(key) for key in ("config", "args", "env", "nccl_version"))
    assert isinstance(config, dict)
    devices = [_record(device) for device in config.get("devices") or []]
    if not devices or not all(isinstance(device.get("rank"), int) for device in devices):
        raise InputError(f"{name}: config.devices: no list of ranks with hostname and device_info")
    program = str(arguments[0]) if isinstance(arguments, list) and arguments else ""
    words = " ".join(map(str, environment)) if isinstance(environment, list) else ""
    repeats = _ranks_per_device(config, devices)
    known = told_by(Run(version=version_of(code) if isinstance(code, int) else ""), words)
    return replace(
        known,
        collective=program.rpartition("/")[2].removesuffix("_perf"),
        hosts=tuple(str(device.get("hostname", "")) for device in devices for _ in range(repeats)),
        gpus=tuple(str(device.get("device_info", "")).strip() for device in devices for _ in range(repeats)),
        groups=frozenset(str(device.get("group", 0)) for device in devices),
    )


def _ranks_per_device(config: Record, devices: Sequence[Record]) -> int:
    """Older versions list only the first rank of each process."""
    if len(devices) > 1:
        step = _count(devices[1]["rank"]) - _count(devices[0]["rank"])
    else:
        step = _count(config.get("nthreads")) * _count(config.get("ngpus"))
    return min(max(step, 1), _MOST_RANKS // len(devices) or 1)


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 1


def _take(rows: Rows, run: Run, place: int, result: Record) -> None:
    sides = {name: _record(result.get(name)) for name in ("out_of_place", "in_place")}
    if not any(sides.values()):
        rows.skip(place, "the result has no times; did nccl-tests end early?")
    elif any("cpu_time" in side for side in sides.values()):
        rows.skip(place, CPU_TIMES)
    else:
        row = Measured(
            line=place,
            nbytes=str(result.get("size", 0)),
            dtype=str(result.get("type", "")),
            out_of_place=str(sides["out_of_place"].get("time", "")),
            in_place=str(sides["in_place"].get("time", "")),
            num_wrong=max(number(str(side.get("nwrong") or 0)) for side in sides.values()),
        )
        rows.add(run, row)


def _record(value: object) -> Record:
    return value if isinstance(value, dict) else {}
