"""The ranks as torch.distributed knows them: a control plane by Gloo over all of them, and groups that are measured.

What is measured may hang or break; the control plane has its own connections, so that it can still be told.
"""

import contextlib
import ctypes
import os
import socket
import threading
import warnings
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cache
from typing import Final, TypeVar, cast

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Store
from torch.distributed import ProcessGroup

from calibrate.bench.point import Ranks
from calibrate.machines.machine import Backend
from topologies.document import Fault, InputError, Missing
from topologies.quantity import MIB

Told = TypeVar("Told")

_SHOWN: Final = 200

PATIENCE: Final = timedelta(minutes=30)
"""Of groups: far beyond that of a point (session.py), which is what should be told."""
TOP_PAD: Final = int(64 * MIB)
"""Asked of the system at once."""
MEETING: Final = timedelta(minutes=5)
"""In which all ranks must have come; and of the control plane, on which none waits for longer than for a point."""
GRAPH_REGISTER: Final = "NCCL_GRAPH_REGISTER"
"""Whether NCCL may read and write captured buffers in place, which by default it does where it can. The tables that the
laws were fitted to, and what frameworks launch one by one, are without [NCCL, user guide, environment variables]."""
PARTING: Final = 20.0
"""Seconds after which groups that do not end are left: NCCL waits for what is still under way anywhere."""

# Renamed in PyTorch 2.13, which warns of the old names.
ALL_GATHER: Final = dist.all_gather_single if hasattr(dist, "all_gather_single") else dist.all_gather_into_tensor
REDUCE_SCATTER: Final = (
    dist.reduce_scatter_single if hasattr(dist, "reduce_scatter_single") else dist.reduce_scatter_tensor
)


@contextlib.contextmanager
def entered(
    store: Store, *, rank: int, num_ranks: int, local_rank: int, backend: Backend, shares_gpu: bool = False
) -> Iterator[Ranks]:
    """Within it this process is one of the ranks, with its device and a control plane: the default group.

    Raises Missing where the device or backend is not there, InputError where ranks stand unevenly or share a GPU.
    """
    _quieten()
    device = _device(backend, local_rank, shares_gpu=shares_gpu)
    store.set_timeout(MEETING)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=num_ranks, timeout=MEETING)
    places = gathered((socket.gethostname(), _identity(device)))
    if not shares_gpu:
        _check_apart(places)
    yield Ranks(
        rank=rank,
        num_ranks=num_ranks,
        ranks_per_node=ranks_per_node([host for host, _ in places]),
        device=device,
        shares_gpu=shares_gpu,
    )
    dist.barrier()
    group_of.cache_clear()
    parting = threading.Thread(target=dist.destroy_process_group, daemon=True)
    parting.start()
    parting.join(PARTING)


@cache
def group_of(members: tuple[int, ...], device: torch.device) -> ProcessGroup | None:
    """These ranks by the backend of the device; made once, by all ranks together, members or not, in the same order.

    NCCL's communicators are made at once, while all are here [PyTorch 2.9 to 2.13, new_group, device_id]: made by the
    first collective, one that fails leaves the others in it. Returns None on a rank that is no member. Raises Fault
    where NCCL cannot join them.
    """
    is_gpu = device.type == "cuda"
    try:
        made = dist.new_group(
            list(members),
            backend="nccl" if is_gpu else "gloo",
            timeout=PATIENCE,
            device_id=device if is_gpu else None,
        )
    except dist.DistBackendError as error:
        told = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no reason"]
        who, joined = f"rank {dist.get_rank()} on {socket.gethostname()}", f"{len(members)} ranks from {members[0]}"
        raise Fault(f"{who}: cannot join {joined}: {told[-1][:_SHOWN]}; NCCL_DEBUG=INFO says more") from None
    return made if dist.get_rank() in members else None


def gathered(value: Told) -> list[Told]:
    """What each rank says, by rank; all call it."""
    values: list[Told | None] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return cast("list[Told]", values)


def hosts() -> tuple[str, ...]:
    """The names of the nodes, in the order of ranks; all call it."""
    return tuple(dict.fromkeys(gathered(socket.gethostname())))


def ranks_per_node(hosts: Sequence[str]) -> int:
    """How many ranks are on each node, given the host of each.

    Raises InputError where they are not as many on each, or those of a node do not follow each other.
    """
    names = list(dict.fromkeys(hosts))
    counts = [hosts.count(name) for name in names]
    if len(set(counts)) > 1:
        told = ", ".join(f"{count} on {name}" for name, count in zip(names, counts, strict=True))
        raise InputError(f"processes stand unevenly: {told}; start as many on each host")
    if any(hosts[index] != names[index // counts[0]] for index in range(len(hosts))):
        raise InputError(
            "neighbouring ranks stand on different hosts; start them block by block (--distribution=block)"
        )
    return counts[0]


def _check_apart(places: Sequence[tuple[str, str]]) -> None:
    """No two ranks on one GPU."""
    for rank, (host, gpu) in enumerate(places):
        first = places.index((host, gpu))
        if gpu and first != rank:
            raise InputError(f"ranks {first} and {rank} on {host} have the same GPU; give each process its own")


def _device(backend: Backend, local_rank: int, *, shares_gpu: bool) -> torch.device:
    if backend == "gloo":
        torch.set_num_threads(1)
        _keep_memory()
        return torch.device("cpu")
    if not (torch.cuda.is_available() and dist.is_nccl_available()):
        raise Missing(f"{socket.gethostname()}: this torch finds no GPU, or has no NCCL; --backend gloo needs neither")
    device = torch.device("cuda", _slot(local_rank, torch.cuda.device_count(), shares_gpu=shares_gpu))
    torch.cuda.set_device(device)
    os.environ.setdefault(GRAPH_REGISTER, "0")
    return device


def _keep_memory() -> None:
    """Let glibc keep what is freed: large tensors would else be given back to the system and faulted in again, page by
    page, each time, which takes longer than most kernels. PyTorch's guide to processors asks for an allocator that
    keeps memory; a GPU's caching allocator does [mallopt(3): M_TRIM_THRESHOLD -1, M_TOP_PAD -2, M_MMAP_MAX -4]."""
    with contextlib.suppress(AttributeError, OSError):  # another C library
        system = ctypes.CDLL(None)
        for option, value in ((-1, -1), (-2, TOP_PAD), (-4, 0)):
            system.mallopt(option, value)


def _slot(local_rank: int, num_visible: int, *, shares_gpu: bool) -> int:
    """Which of the visible GPUs is this rank's; a launcher may also show each process one GPU, its own."""
    if local_rank < num_visible:
        return local_rank
    if num_visible == 1 or shares_gpu:
        return local_rank % num_visible
    raise InputError(f"{socket.gethostname()}: {num_visible} GPUs, but a process {local_rank + 1}; start one for each")


def _identity(device: torch.device) -> str:
    """Of a GPU; processors are shared."""
    return str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else ""


def _quieten() -> None:
    """Remarks of torch are for its own developers; NCCL says what is wrong when asked (NCCL_DEBUG)."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
