"""The machine that was measured: what stands in it, by which software, and the sheets of what no catalogue has.

A machine without GPUs can be measured too, as processes that talk by Gloo: its processor then stands where a GPU would,
under a name that begins with `cpu-` and that no catalogue has, so that nobody can take its figures for a GPU's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import topologies
from topologies.document import Document, InputError, Value
from topologies.fits import Fits, laid_over
from topologies.hardware import PROCESSOR, Cluster, Gpu, Link

Backend = Literal["nccl", "gloo"]
"""What moves the bytes: NCCL between GPUs, Gloo between processes on processors."""

CPU_PREFIX: Final = PROCESSOR
LOOPBACK: Final = "gloo-loopback"
"""The link between processes of one machine."""
_VERSION = re.compile(r"\d+\.\d+(\.\d+)?")


def cluster_of(machine: "Machine", fits: Mapping[str, Fits]) -> Cluster:
    """The cluster that was measured, as the simulator knows it, with these fits laid over its parts.

    Raises InputError where the catalogue lacks a part that the machine has no sheet of.
    """
    if machine.is_cpu and machine.num_nodes > 1:
        raise InputError(f"{machine.num_nodes} nodes by gloo: its costs are of processes of one machine; use one node")
    built = cluster_with(
        gpu=machine.part,
        link=machine.link,
        hardware=machine.hardware,
        gpus_per_node=machine.gpus_per_node,
        fabric=machine.fabric,
        num_nodes=machine.num_nodes,
    )
    version = _VERSION.match(machine.software.get("nccl", ""))
    return laid_over(replace(built, nccl_version=version[0]) if version else built, fits)


def cluster_with(
    *,
    gpu: str,
    link: str = "",
    hardware: Mapping[str, Value],
    gpus_per_node: int | None,
    fabric: str = "",
    num_nodes: int,
) -> Cluster:
    """A cluster of GPUs that the catalogue or `hardware` has, joined by that link, or in their own way."""
    built = topologies.build(
        gpu=gpu_of(gpu, hardware),
        gpus_per_node=gpus_per_node,
        fabric=fabric or None,
        nodes=num_nodes,
        scale_up=link_of(link, hardware) if link else None,
    )
    return replace(built, library="gloo") if built.node.scale_up.name == LOOPBACK else built


def gpu_of(name: str, hardware: Mapping[str, Value]) -> Gpu:
    """The GPU of that name in `hardware`, else in the catalogue. A processor borrows no fits: it is like no GPU."""
    sheet = _sheet("gpu", name, hardware)
    if sheet is None:
        return topologies.gpu(name)
    from topologies.sheets import gpu

    found = gpu(sheet)
    if not name.startswith(CPU_PREFIX):
        return found
    return replace(found, fits={operation: fit for operation, fit in found.fits.items() if fit.part == name})


def link_of(name: str, hardware: Mapping[str, Value]) -> Link:
    """The link of that name in `hardware`, else in the catalogue."""
    sheet = _sheet("link", name, hardware)
    if sheet is None:
        return topologies.link(name)
    from topologies.sheets import link

    return link(sheet)


def check_hardware(at: str, hardware: Mapping[str, Value]) -> None:
    """Raises InputError, beginning with `at`, where sheets of what no catalogue has are none."""
    from topologies import sheets

    for kind, sheet in hardware.items():
        build = sheets.gpu if kind == "gpu" else sheets.link
        build(Document(name=f"{at}: hardware.{kind}", data=sheet, lines={}))


def _sheet(kind: str, name: str, hardware: Mapping[str, Value]) -> Document | None:
    """The sheet in `hardware` where it is the one of that name."""
    sheet = hardware.get(kind)
    if not isinstance(sheet, dict) or sheet.get("name") != name:
        return None
    return Document(name=f"hardware.{kind}", data=sheet, lines={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """`part` is the GPU's name in the catalogue (or that of a sheet in `hardware`), `link` what joins the GPUs of a
    node, `fabric` what joins the nodes, as `topologies.build` takes it; empty where there is one node.

    `device` is the name that the driver gives; `software` maps driver, cuda, nccl, torch and python to their versions,
    `clocks` what NVML says of the clocks before anything ran (MHz by name). `hardware` holds a sheet, as a cluster file
    writes it, for the `gpu` and the `link` that no catalogue has. `hosts` are the nodes' names.
    """

    backend: Backend
    part: str
    link: str
    fabric: str = ""
    device: str
    num_gpus: int
    num_nodes: int = 1
    hosts: tuple[str, ...] = ()
    software: Mapping[str, str] = field(default_factory=dict)
    clocks: Mapping[str, float] = field(default_factory=dict)
    hardware: Mapping[str, Value] = field(default_factory=dict)

    @property
    def is_cpu(self) -> bool:
        """Whether processes on a processor stand for GPUs."""
        return self.backend == "gloo"

    @property
    def gpus_per_node(self) -> int:
        return self.num_gpus // self.num_nodes
