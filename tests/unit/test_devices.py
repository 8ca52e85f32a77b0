"""The inventory of a machine, by an NVML that the test makes up: what stands there, and what would spoil a run."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from calibrate import cli
from calibrate.machines import devices
from calibrate.machines.devices import Adapter, Device, Inventory, inventory, problems
from tests.command import Answer
from topologies.quantity import GIB

GOOD = Device(
    index=0, name="NVIDIA H200", part="h200-sxm", memory_nbytes=140 * GIB, utilization=0.0, clock=345e6,
    largest_clock=1980e6, power_limit=700.0, default_power_limit=700.0, temperature=31.0, has_ecc=True,
    pcie_generation=1, largest_pcie_generation=5, pcie_width=16, largest_pcie_width=16, nvlinks_up=18, num_nvlinks=18,
    nvlink_generation=4, memory_bandwidth=2 * 3201e6 * 6144 / 8,
)  # fmt: skip


class NVMLError(Exception):
    """As of the real module: what a GPU does not support."""


@dataclass
class Board:
    """A GPU as the driver would answer for it; an answer that is missing is not supported."""

    name: str = "NVIDIA H200"
    used: int = 0
    answers: dict[str, object] = field(
        default_factory=lambda: {
            "UtilizationRates": SimpleNamespace(gpu=0),
            "ComputeRunningProcesses": [],
            "ClockInfo": 345,
            "MaxClockInfo": {1: 1980, 2: 3201},
            "PowerManagementLimit": 700_000,
            "PowerManagementDefaultLimit": 700_000,
            "Temperature": 31,
            "EccMode": [1, 1],
            "MigMode": [0, 0],
            "CurrPcieLinkGeneration": 1,
            "MaxPcieLinkGeneration": 5,
            "CurrPcieLinkWidth": 16,
            "MaxPcieLinkWidth": 16,
            "NvLinkVersion": 6,
            "MemoryBusWidth": 6144,
        }
    )
    links: tuple[int, ...] = (1,) * 18

    def ask(self, question: str) -> object:
        if question not in self.answers:
            raise NVMLError("Not Supported")
        return self.answers[question]


def nvml(*boards: Board, stranger: tuple[int, int] | None = None) -> ModuleType:
    """A module like pynvml; handles are indices."""

    def link_state(handle: int, link: int) -> int:
        if link >= len(boards[handle].links):
            raise NVMLError("Not Supported")
        return boards[handle].links[link]

    def asking(question: str) -> Callable[..., object]:
        def ask(handle: int, which: int = 0) -> object:
            answer = boards[handle].ask(question)
            return answer[which] if isinstance(answer, dict) else answer

        return ask

    made = ModuleType("pynvml")
    made.__dict__.update(
        NVMLError=NVMLError,
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        NVML_TEMPERATURE_GPU=0,
        NVML_NVLINK_MAX_LINKS=36,
        NVML_P2P_STATUS_OK=0,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: len(boards),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlSystemGetDriverVersion=lambda: b"550.54.15",
        nvmlSystemGetCudaDriverVersion_v2=lambda: 12040,
        nvmlDeviceGetName=lambda handle: boards[handle].name,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=140 * 2**30, used=boards[handle].used),
        nvmlDeviceGetNvLinkState=link_state,
        nvmlDeviceGetP2PStatus=lambda one, other, _: 5 if (one, other) == stranger else 0,
        **{f"nvmlDeviceGet{question}": asking(question) for question in Board().answers},
    )
    return made


@pytest.fixture
def with_nvml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Inventory]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "ADAPTERS", tmp_path)

    def found(*boards: Board, stranger: tuple[int, int] | None = None) -> Inventory:
        monkeypatch.setitem(sys.modules, "pynvml", nvml(*boards, stranger=stranger))
        return inventory()

    return found


@pytest.fixture
def calibrate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["calibrate", *arguments])
        return Answer(cli.main(), *capsys.readouterr())

    return run


def test_a_healthy_machine_has_no_problems(with_nvml: Callable[..., Inventory]) -> None:
    """Clocks are told in MHz and power in mW; an idle GPU lets its PCIe link slow down, which is no problem."""
    found = with_nvml(Board(), Board())
    assert found.devices == (GOOD, replace(GOOD, index=1))
    assert (found.driver, found.cuda) == ("550.54.15", "12.4")
    assert problems(found) == []


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"part": "", "name": "NVIDIA X1"}, "GPU 0: NVIDIA X1 is in no catalogue"),
        ({"has_mig": True}, "GPU 0 is in MIG mode"),
        (
            {"utilization": 0.96, "num_processes": 1},
            "GPU 0 is busy: 96 % of the time, 0 B of its memory taken by 1 proc",
        ),
        ({"memory_used": 70 * GIB}, "GPU 0 is busy: 0 % of the time, 70 GiB of its memory"),
        ({"power_limit": 500.0}, "GPU 0 is held to 500 W of 700 W"),
        ({"pcie_width": 8}, "GPU 0 has 8 of 16 PCIe lanes"),
        ({"nvlinks_up": 17}, "GPU 0 has 17 of 18 NVLinks up"),
    ],
)
def test_what_spoils_a_measurement_is_said(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, object], sentence: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (told,) = problems(Inventory(devices=(replace(GOOD, **changed),)))  # type: ignore[arg-type]
    assert told.startswith(sentence)


def test_what_differs_between_parts_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    other = replace(GOOD, index=1, name="NVIDIA H100", has_ecc=False)
    adapters = (Adapter(name="mlx5_0", rate="400", state="active"), Adapter(name="mlx5_1", rate="400", state="down"))
    pairs = tuple((0, other) for other in range(1, 8))
    told = problems(Inventory(devices=(GOOD, other), adapters=adapters, strangers=pairs))
    assert [sentence[:30] for sentence in told] == [
        "the GPUs differ (NVIDIA H100, ",
        "GPUs 1 have ECC off, the other",
        "no peer access between GPUs 0-",
        "adapter mlx5_1 is down: its ra",
        "CUDA_VISIBLE_DEVICES=0,1: only",
    ]
    assert "0-4, ...:" in told[2]


def test_a_gpu_that_tells_little_is_still_listed(with_nvml: Callable[..., Inventory]) -> None:
    found = with_nvml(Board(name="NVIDIA GeForce RTX 4090", answers={}, links=()))
    (one,) = found.devices
    assert (one.part, one.num_nvlinks, one.has_mig, one.pcie_width) == ("rtx-4090", 0, False, 0)
    assert one.clock != one.clock
    assert problems(found) == []


def test_pairs_without_peer_access_are_found(with_nvml: Callable[..., Inventory]) -> None:
    assert with_nvml(Board(), Board(), Board(), stranger=(0, 2)).strangers == ((0, 2),)


def test_adapters_are_those_that_the_kernel_lists(
    with_nvml: Callable[..., Inventory], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, port, state in (("mlx5_0", "1", "4: ACTIVE"), ("mlx5_1", "1", "1: DOWN"), ("mlx5_1", "2", "4: ACTIVE")):
        folder = tmp_path / name / "ports" / port
        folder.mkdir(parents=True)
        (folder / "state").write_text(f"{state}\n")
        (folder / "rate").write_text("400 Gb/sec (4X NDR)\n")
    found = with_nvml(Board())
    assert [(one.name, one.state) for one in found.adapters] == [
        ("mlx5_0", "active"), ("mlx5_1", "down"), ("mlx5_1:2", "active"),
    ]  # fmt: skip
    assert found.adapters[0].rate == "400 Gb/sec (4X NDR)"


def test_the_command_lists_gpus_and_says_below_what_is_wrong(
    with_nvml: Callable[..., Inventory], calibrate: Callable[..., Answer]
) -> None:
    board = Board()
    board.answers["PowerManagementLimit"] = 500_000
    with_nvml(Board(), board)
    answer = calibrate("devices")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[0] == "driver 550.54.15, CUDA 12.4"
    assert lines[2].split()[:3] == ["gpu", "name", "catalogue"]
    assert "h200-sxm" in lines[3]
    assert "345/1980 MHz" in lines[3]
    assert lines[-1] == "GPU 1 is held to 500 W of 700 W: it will run slower"
    found = json.loads(calibrate("devices", "--format", "json").out)
    assert found["devices"][1]["power_limit_w"] == 500
    assert found["problems"] == lines[-1:]
    assert calibrate("devices", "--format", "csv").out.count("\n") == 3


def test_where_there_is_no_gpu_it_says_so_and_exits_4(
    monkeypatch: pytest.MonkeyPatch, calibrate: Callable[..., Answer]
) -> None:
    missing = nvml()
    missing.__dict__["nvmlInit"] = fails
    for module in (missing, nvml(), None):
        monkeypatch.setitem(sys.modules, "pynvml", module)
        for form in ("table", "json", "csv"):
            answer = calibrate("devices", "--format", form)
            assert answer.code == 4
            assert answer.err.startswith("calibrate: no NVIDIA GPU is visible: ")
            assert "calibrate run --backend gloo" in answer.err
            assert answer.err.count("\n") == 1


def fails() -> None:
    raise NVMLError("Driver Not Loaded")
