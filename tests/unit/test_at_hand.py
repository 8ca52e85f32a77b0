"""The machine at hand: its parts by the catalogue's names, or words that say what to write."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import topologies
from calibrate.machines import at_hand
from calibrate.machines.at_hand import lacks_sheet, machine_of, part_at_hand, problems_at_hand, processor_part
from calibrate.machines.devices import Device, Inventory
from calibrate.machines.machine import gpu_of
from tests.unit.test_devices import GOOD
from topologies.document import InputError, Missing


@pytest.fixture
def with_devices(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(at_hand, "_versions", lambda backend: {"torch": "2.13", "nccl": "2.27.3"})

    def found(*devices: Device) -> None:
        inventory = Inventory(devices=devices, driver="550.54", missing="" if devices else "NVML counts none")
        monkeypatch.setattr(at_hand, "inventory", lambda: inventory)

    return found


@pytest.mark.parametrize(
    ("vendor", "model", "part"),
    [
        ("AuthenticAMD", "AMD EPYC 7B13", "cpu-amd-epyc-7b13"),
        ("GenuineIntel", "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "cpu-intel-xeon-platinum-8481c"),
        ("AuthenticAMD", "EPYC 9654 96-Core Processor", "cpu-amd-epyc-9654"),
        ("AuthenticAMD", "AMD Ryzen 7 5700U with Radeon Graphics", "cpu-amd-ryzen-7-5700u"),
        ("other", "Neoverse-N1", "cpu-neoverse-n1"),
        ("GenuineIntel", "", "cpu-intel-x86-64"),
    ],
)
def test_a_processor_is_called_by_vendor_and_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vendor: str, model: str, part: str
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: {model}\nflags\t: fpu\n")
    monkeypatch.setattr(at_hand, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(at_hand.platform, "processor", lambda: "x86_64")
    assert processor_part() == part
    assert part_at_hand("gloo", "") == part


def test_processes_of_one_machine_are_a_machine() -> None:
    pytest.importorskip("torch")
    found = machine_of("gloo", num_gpus=2, hosts=["n1"])
    assert (found.is_cpu, found.link, found.num_gpus, found.hosts) == (True, "gloo-loopback", 2, ("n1",))
    assert found.part.startswith("cpu-")
    with pytest.raises(InputError, match="--backend gloo on 2 nodes"):
        machine_of("gloo", num_gpus=4, num_nodes=2)


def test_gpus_are_told_by_their_names_in_the_catalogue(with_devices: Callable[..., None]) -> None:
    with_devices(GOOD, replace(GOOD, index=1))
    found = machine_of("nccl", num_gpus=2, hosts=["n1"])
    assert (found.part, found.link, found.fabric, found.device) == ("h200-sxm", "nvlink4", "", "NVIDIA H200")
    assert found.software == {"driver": "550.54", "torch": "2.13", "nccl": "2.27.3"}
    assert found.clocks == {"sm": 345, "largest sm": 1980}
    several = machine_of("nccl", num_gpus=16, num_nodes=2, hosts=["n1", "n2"], fabric="ib-ndr400x8")
    assert (several.fabric, several.gpus_per_node) == ("ib-ndr400x8", 8)


def test_a_gpu_of_no_catalogue_has_a_name_of_its_own_and_waits_for_a_sheet(with_devices: Callable[..., None]) -> None:
    with_devices(replace(GOOD, name="NVIDIA X1", part="", nvlink_generation=4))
    found = machine_of("nccl", num_gpus=2)
    assert (found.part, found.link, found.hardware) == ("nvidia-x1", "nvlink4", {})
    assert lacks_sheet(found)
    assert part_at_hand("nccl", "") == "nvidia-x1"


def test_a_gpu_is_taken_for_another_by_name_or_by_a_sheet_of_the_users_own(
    with_devices: Callable[..., None], tmp_path: Path
) -> None:
    with_devices(replace(GOOD, name="NVIDIA X1", part=""))
    found = machine_of("nccl", num_gpus=1, gpu="h200")
    assert (found.part, found.device, lacks_sheet(found)) == ("h200-sxm", "NVIDIA X1", False)
    sheet = topologies.catalogue.__file__.replace("catalogue.py", "gpus/h200-sxm.yaml")
    own = tmp_path / "own.yaml"
    own.write_text(Path(sheet).read_text().replace("name: h200-sxm", "name: new-gpu"))
    found = machine_of("nccl", num_gpus=1, gpu=str(own))
    assert (found.part, found.link, lacks_sheet(found)) == ("new-gpu", "nvlink4", False)
    assert gpu_of(found.part, found.hardware).num_sms == 132
    own.write_text("name: new-gpu\nnum_sms: many\n")
    with pytest.raises(InputError, match=r"own\.yaml: peak_flops: this field is missing"):
        machine_of("nccl", num_gpus=1, gpu=str(own))
    with pytest.raises(InputError, match="unknown GPU 'h2000'"):
        machine_of("nccl", num_gpus=1, gpu="h2000")


def test_several_nodes_need_a_fabric(with_devices: Callable[..., None]) -> None:
    with_devices(GOOD)
    with pytest.raises(InputError, match="2 nodes: nothing tells what joins them; say --fabric: write <type>"):
        machine_of("nccl", num_gpus=16, num_nodes=2)
    with pytest.raises(InputError, match="unknown fabric 'string'"):
        machine_of("nccl", num_gpus=16, num_nodes=2, fabric="string")


def test_only_gpus_that_are_measured_are_told_to_spoil_it(
    with_devices: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_devices(replace(GOOD, has_mig=True), replace(GOOD, index=1, utilization=0.5))
    said = " ".join(problems_at_hand("nccl"))
    assert "GPU 0 is in MIG mode" in said
    assert "GPU 1 is busy" in said
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert "MIG" not in " ".join(problems_at_hand("nccl"))
    assert problems_at_hand("gloo") == []


def test_gpus_of_two_kinds_are_measured_one_kind_at_a_time(
    with_devices: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_devices(GOOD, replace(GOOD, index=1, name="NVIDIA L4", part="l4"))
    with pytest.raises(InputError, match="the GPUs differ"):
        part_at_hand("nccl", "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert part_at_hand("nccl", "") == "l4"


def test_without_a_gpu_there_is_nothing_to_measure(with_devices: Callable[..., None]) -> None:
    with_devices()
    for ask in (lambda: machine_of("nccl", num_gpus=1), lambda: part_at_hand("nccl", "")):
        with pytest.raises(Missing, match="no NVIDIA GPU is visible: NVML counts none"):
            ask()
