"""What each rank of `calibrate run` does: agree on the machine and the plan, then measure point by point."""

import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, TypeVar

import torch

from calibrate import journal
from calibrate.bench import first_look, loopback, plan, processor, session, sustained, world
from calibrate.bench.point import Point, Ranks
from calibrate.machines import devices, machine, own_gpu
from calibrate.machines.at_hand import device_at_hand, lacks_sheet, machine_of
from calibrate.machines.machine import Machine
from calibrate.measurement import Measurement
from calibrate.running.asked import Asked, Family, Planned, Told
from topologies.document import InputError, Value

Said = TypeVar("Said")
SLICE: Final = " MIG "
"""In the name that CUDA gives to a slice of a GPU: "NVIDIA A100-SXM4-40GB MIG 1g.5gb"; NVML tells the whole GPU's."""


class Here(NamedTuple):
    """A rank's host, its GPU by CUDA's name, and the driver."""

    host: str
    device: str
    driver: str


def work(ranks: Ranks, asked: Asked, tell: Callable[[Told], None]) -> bool:
    """Measure what is asked for; returns whether all points of the plan were walked. All ranks call it."""
    at_hand = _machine(ranks, asked)
    gpu = machine.gpu_of(at_hand.part, at_hand.hardware)
    whole = plan.points(at_hand, gpu, asked.budget, only=asked.only)
    points = sustained.with_whole_course(left(whole, asked.measured), whole)
    if ranks.rank == 0:
        tell(at_hand)
        tell(planned(points, at_hand))
    if asked.is_plan:
        return True
    end = time.monotonic() + asked.seconds
    return session.measure(points, ranks, tell, lambda: time.monotonic() > end)


def left(points: Iterable[Point], measured: Sequence[Measurement]) -> list[Point]:
    """The points that were not measured yet, or to no use; a measurement may know more inputs than its point."""
    known: dict[tuple[str, ...], list[Measurement]] = {}
    for one in (one for one in measured if not (one.wrong or one.throttled)):
        known.setdefault((one.operation, one.part, one.fabric), []).append(one)

    def is_known(point: Point) -> bool:
        alike = known.get((point.operation, point.part, point.fabric), ())
        return any(point.inputs.items() <= one.inputs.items() for one in alike)

    return [point for point in points if not is_known(point)]


def planned(points: Iterable[Point], at_hand: Machine) -> Planned:
    """The points by operation, in the order in which these begin."""
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        groups.setdefault((point.operation, point.part), []).append(point)
    return Planned(
        families=tuple(
            Family(
                operation=operation,
                part=part,
                points=len(group),
                seconds=plan.expected_seconds(at_hand, group)[operation],
                groups=tuple(dict.fromkeys(point.members for point in group if point.members)),
            )
            for (operation, part), group in groups.items()
        )
    )


def _machine(ranks: Ranks, asked: Asked) -> Machine:
    """That of rank 0, with the sheets of what no catalogue has; of a resumed run, those that were measured first."""
    hosts = world.hosts()
    if ranks.device.type == "cuda":
        check_alike(world.gathered(_here(ranks.device)))
    here = machine_of(
        asked.backend,
        num_gpus=ranks.num_ranks,
        num_nodes=ranks.num_ranks // ranks.ranks_per_node,
        hosts=hosts,
        gpu=asked.gpu,
        fabric=asked.fabric,
    )
    here = replace(here, software={**here.software, **_settings(here)})
    if asked.found is not None:
        journal.check_same(asked.found, here)
        return asked.found
    return _agreed(replace(here, hardware=_hardware(ranks, here)) if lacks_sheet(here) else here)


def _here(device: torch.device) -> Here:
    return Here(socket.gethostname(), torch.cuda.get_device_name(device), devices.inventory().driver)


def check_alike(said: Sequence[Here]) -> None:
    """Raises InputError where the ranks measure slices of GPUs, or GPUs or drivers that differ."""
    cut = next((one for one in said if SLICE in one.device), None)
    if cut is not None:
        raise InputError(f"{cut.host}: {cut.device} is a slice, which no sheet describes; nvidia-smi -mig 0 ends MIG")
    for name in ("device", "driver"):
        other = next((one for one in said if getattr(one, name) != getattr(said[0], name)), None)
        if other is not None:
            first = said[0]
            raise InputError(
                f"the ranks differ in their {name}: {getattr(first, name)} on {first.host}, "
                f"{getattr(other, name)} on {other.host}; measure those that are alike"
            )


def _settings(here: Machine) -> dict[str, str]:
    """What NCCL was told that moves times."""
    return {} if here.is_cpu else {world.GRAPH_REGISTER: os.environ.get(world.GRAPH_REGISTER, "")}


def _hardware(ranks: Ranks, here: Machine) -> dict[str, Value]:
    """The sheets of a processor and of the loopback, or of a GPU and its link; all ranks call it."""
    if here.is_cpu:
        return {"gpu": processor.sheets(ranks), "link": loopback.sheet(ranks)}
    device = device_at_hand()
    with session.on_own_stream(ranks.device):
        sheets = {"gpu": own_gpu.gpu_sheet(device, first_look.seen(ranks)), "link": own_gpu.link_sheet(device)}
    return {**here.hardware, **{name: sheet for name, sheet in sheets.items() if sheet}}


def _agreed(value: Said) -> Said:
    """What rank 0 says; all call it."""
    return world.gathered((value,))[0][0]
