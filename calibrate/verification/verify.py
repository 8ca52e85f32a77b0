"""Real blocks on this machine, and the same blocks as the simulator plays them with the machine's own profile."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

from calibrate import journal, sanity
from calibrate.launching.launch import is_told, launch, shares_gpu, usual_number
from calibrate.launching.place import rank_from_environment
from calibrate.machines import at_hand, devices
from calibrate.machines.machine import Backend, Machine, cluster_of
from calibrate.records import machine_in
from calibrate.running.run import PROFILE
from calibrate.verification.ladder import sizes_for
from calibrate.verification.predicted import predicted
from calibrate.verification.sizes import Sizes
from calibrate.verification.verified import Ran, Skipped, Verification, Verified
from sim import frameworks
from topologies.document import InputError, Missing, read
from topologies.fits import Fits
from topologies.hardware import Cluster

EAGER: Final = 1.0
"""The kind of a launch that an operation of eager PyTorch takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """A machine by its profile: so many of its GPUs as the simulator knows them, and its host's time to start a
    kernel."""

    path: Path
    machine: Machine
    num_ranks: int
    cluster: Cluster
    launch_seconds: float


def verify(
    path: Path | None, backend: Backend, processes: int | None, names: Sequence[str], tell: Callable[[str], None]
) -> Verification | None:
    """Run the blocks of these names on all ranks and play each; None in a process of another rank than 0.

    The profile is rank 0's: other hosts need not have it. With no path it is the one at hand. Raises InputError where
    it is of another machine, Missing without GPU or NCCL, Fault where a rank dies.
    """
    read_first: list[Profiled] = []

    def sizes(asked: Mapping[str, Sizes]) -> Mapping[str, Sizes]:
        tell("reading the profile")
        one = profiled(path or profile_at_hand(backend), backend, processes)
        read_first.append(one)
        tell("choosing sizes")
        return {name: sizes_for(name, one.cluster, launch_seconds=one.launch_seconds) for name in asked}

    found = _ran(dict.fromkeys(names, Sizes()), sizes, backend, processes, tell)
    if found is None:
        return None
    (here,) = read_first
    return Verification(
        machine=here.machine,
        profile=str(here.path),
        num_ranks=here.num_ranks,
        shares_gpu=shares_gpu(backend, here.num_ranks),
        blocks=tuple(
            Verified(ran=ran, played=predicted(ran.name, ran.sizes, here.cluster, launch_seconds=here.launch_seconds))
            for ran in found
            if isinstance(ran, Ran)
        ),
        skipped=tuple(one for one in found if isinstance(one, Skipped)),
    )


def profiled(path: Path, backend: Backend, processes: int | None) -> Profiled:
    """The GPUs that take part by a profile, and by the samples beside it.

    Raises InputError where it is no profile, or of another machine; Missing without GPU.
    """
    machine = machine_of(path)
    check_here(path, machine, backend)
    num_ranks = _num_ranks(backend, processes)
    return Profiled(
        path=path,
        machine=machine,
        num_ranks=num_ranks,
        cluster=cluster_with(machine, sanity.checked(path), num_ranks),
        launch_seconds=launch_seconds_of(path, machine),
    )


def profile_at_hand(backend: Backend) -> Path:
    """The profile that `calibrate run` wrote of this machine into the folder at hand, where it is there.

    Raises InputError where it is not, Missing without GPU.
    """
    path = Path(f"calibration-{at_hand.part_at_hand(backend, '')}") / PROFILE
    if path.exists():
        return path
    asked = "calibrate run --quick" if backend == "nccl" else "calibrate run --backend gloo --quick"
    raise InputError(f"no profile of this machine at {path}; `{asked}` measures it, or name one by --profile")


def machine_of(path: Path) -> Machine:
    """The machine that a profile is of."""
    document = read(path)
    data = document.data
    if not isinstance(data, dict) or "machine" not in data:
        raise InputError(f"{path}: machine is missing; verify needs a profile as `calibrate run` writes it")
    hardware = data.get("hardware", {})
    return replace(machine_in(str(path), data["machine"]), hardware=hardware if isinstance(hardware, dict) else {})


def check_here(path: Path, machine: Machine, backend: Backend) -> None:
    """Raises InputError where the profile is of another backend or of other devices than those at hand."""
    if machine.backend != backend:
        raise InputError(f"{path}: measured with {machine.backend}; say --backend {machine.backend}, or name another")
    here, there = _devices(backend), machine.part if machine.is_cpu else machine.device
    if there not in here:
        raise InputError(f"{path}: of {there}, but here is {', '.join(here)}; `calibrate run` measures this machine")


def _devices(backend: Backend) -> list[str]:
    """What stands here."""
    if backend == "gloo":
        return [at_hand.processor_part()]
    found = devices.inventory()
    if not found.devices:
        raise Missing(devices.no_gpu(found))
    return sorted({one.name for one in found.devices})


def _num_ranks(backend: Backend, processes: int | None) -> int:
    place = rank_from_environment(os.environ)
    return place.num_ranks if place else processes or usual_number(backend)


def cluster_with(machine: Machine, fits: Mapping[str, Fits], num_ranks: int) -> Cluster:
    """So many GPUs of the machine: of one node, or of as many whole ones as it takes."""
    per_node = min(machine.gpus_per_node, num_ranks) if machine.num_nodes > 1 else num_ranks
    return cluster_of(replace(machine, num_gpus=num_ranks, num_nodes=num_ranks // per_node), fits)


def launch_seconds_of(path: Path, machine: Machine) -> float:
    """The host's time to start a kernel, as it was measured beside the profile; of PyTorch in general where it was not.

    None on a processor, where the kernel's own time holds it.
    """
    samples = path.parent / journal.NAME
    if machine.is_cpu:
        return 0.0
    measured = journal.read(samples)[1] if samples.exists() else ()
    times = [
        one.seconds for one in measured if one.operation == "launch" and one.inputs["kind"] == EAGER and not one.wrong
    ]
    return median(times) if times else frameworks.load("fsdp2").launch_seconds


def _ran(
    asked: Mapping[str, Sizes],
    sizes: Callable[[Mapping[str, Sizes]], Mapping[str, Sizes]],
    backend: Backend,
    processes: int | None,
    tell: Callable[[str], None],
) -> list[Ran | Skipped] | None:
    """What came of each block, in order, at the sizes that rank 0 chooses for those asked for."""
    found: list[Ran | Skipped] = []

    def take(one: Ran | Skipped) -> None:
        found.append(one)
        tell(f"{one.name}: {len(found)} of {len(asked)} blocks")

    from calibrate.sharded.verify import verify as run

    launch(run, asked, backend=backend, take=take, num_ranks=processes, prepare=sizes)
    return found if is_told() else None
