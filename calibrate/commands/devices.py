"""`calibrate devices`: what stands in this machine that can be measured, and what would spoil a measurement."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from calibrate.commands.options import FORMATS, Format, Quiet
from sim.commands import console
from topologies.document import Missing

if TYPE_CHECKING:
    from calibrate.machines.devices import Device, Inventory

COLUMNS = ("gpu", "name", "catalogue", "memory", "used", "clock", "power", "temp", "ecc", "pcie", "nvlinks")


def devices(output: Format = "table", quiet: Quiet = False) -> None:
    """List the GPUs and network adapters of this machine, and what would spoil a measurement."""
    console.one_of("format", output, FORMATS)
    with console.progress(quiet) as tell:
        tell("asking NVML")
        from calibrate.machines.devices import inventory, no_gpu

        found = inventory()
    console.show(_shown(found, output))
    if not found.devices:
        raise Missing(no_gpu(found))


def _shown(found: "Inventory", output: str) -> str:
    from sim.reports import tables

    if output == "json":
        return tables.as_json(_record(found))
    if output == "csv":
        return tables.as_csv([_device_record(one) for one in found.devices]) if found.devices else ""
    return _text(found, console.list_columns())


def _text(found: "Inventory", width: int | None) -> str:
    """The GPUs, the adapters, and what is wrong in plain sentences."""
    from calibrate.machines.devices import problems
    from sim.reports.tables import Row, table

    if not found.devices and not found.adapters:
        return ""
    parts = [f"driver {found.driver}, CUDA {found.cuda}\n"] if found.driver else []
    if found.devices:
        parts.append(table(COLUMNS, [Row(cells=_cells(one), record={}) for one in found.devices], width))
    if found.adapters:
        adapters = [Row(cells=(one.name, one.rate, one.state), record={}) for one in found.adapters]
        parts.append(table(("adapter", "rate", "state"), adapters, width))
    told = problems(found)
    if told:
        parts.append("".join(f"{sentence}\n" for sentence in told))
    return "\n".join(parts)


def _cells(one: "Device") -> tuple[str, ...]:
    from topologies.quantity import MEGA, nbytes

    def pair(now: float, most: float, unit: str, scale: float = 1.0) -> str:
        return "-" if now != now else f"{now / scale:.0f}/{most / scale:.0f} {unit}"

    return (
        str(one.index), one.name, one.part or "-", nbytes(one.memory_nbytes), nbytes(one.memory_used),
        pair(one.clock, one.largest_clock, "MHz", MEGA), pair(one.power_limit, one.default_power_limit, "W"),
        "-" if one.temperature != one.temperature else f"{one.temperature:.0f} C", "on" if one.has_ecc else "off",
        f"gen{one.pcie_generation}/{one.largest_pcie_generation} x{one.pcie_width}/{one.largest_pcie_width}",
        f"{one.nvlinks_up}/{one.num_nvlinks}",
    )  # fmt: skip


def _record(found: "Inventory") -> dict[str, object]:
    from dataclasses import asdict

    from calibrate.machines.devices import problems

    return {
        "driver": found.driver,
        "cuda": found.cuda,
        "devices": [_device_record(one) for one in found.devices],
        "without_peer_access": [list(pair) for pair in found.strangers],
        "adapters": [asdict(one) for one in found.adapters],
        "problems": problems(found),
    }


def _device_record(one: "Device") -> dict[str, object]:
    """Keys carry their units; what nobody can tell is null."""
    return dict(_fields(one))


def _fields(one: "Device") -> Iterator[tuple[str, object]]:
    from dataclasses import asdict

    units = {
        "clock": "clock_hz", "largest_clock": "largest_clock_hz", "power_limit": "power_limit_w",
        "default_power_limit": "default_power_limit_w", "temperature": "temperature_c",
        "memory_used": "memory_used_nbytes",
    }  # fmt: skip
    for name, value in asdict(one).items():
        yield units.get(name, name), None if value != value else value
