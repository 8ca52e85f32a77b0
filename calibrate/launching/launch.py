"""One process for each GPU: started here, or joined where torchrun, srun or mpirun started them.

Alone, this process only watches: the ranks are its children, and what rank 0 tells comes to it over a socket. So a rank
may die of anything, and what was told before is safe; and children whose socket closes end, however the parent died.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from calibrate.launching.place import rank_from_environment
from calibrate.machines.machine import Backend
from topologies.document import InputError, Missing

if TYPE_CHECKING:
    from calibrate.bench.point import Ranks

Told = TypeVar("Told")
Arguments = TypeVar("Arguments")
Result = TypeVar("Result")

USUAL_PROCESSES = 2
"""On processors, where nobody says how many: enough to talk to each other."""


MOST_SHARING = 8
"""Processes that share a core or a GPU, at most: each takes half a gigabyte before it does anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Generic[Arguments, Told, Result]):
    """What every rank does: `work(ranks, arguments, tell)`, a function of a module; only rank 0 may `tell`.

    `shares_gpu` lets several ranks run on one GPU, which says that the parts fit together, and nothing of any time.
    """

    work: "Callable[[Ranks, Arguments, Callable[[Told], None]], Result]"
    arguments: Arguments
    backend: Backend
    shares_gpu: bool = False


def launch(
    work: "Callable[[Ranks, Arguments, Callable[[Told], None]], Result]",
    arguments: Arguments,
    *,
    backend: Backend,
    take: Callable[[Told], None],
    num_ranks: int | None = None,
    prepare: Callable[[Arguments], Arguments] = lambda arguments: arguments,
) -> Result | None:
    """Run `work` on all ranks; `take` is called here with all that rank 0 tells, in order, as it tells it.

    Alone it starts `num_ranks` processes, by default one for each visible GPU, or two on processors; more than there
    are GPUs share these. Under a launcher it is one of the ranks. `arguments`, what is told and the result travel
    between processes, so they are plain data. `prepare` makes the arguments of all ranks of those given, once, where
    rank 0 is, before anything is measured; what it raises ends all ranks.

    Returns the result of rank 0; None in a process of another rank, which prints and writes nothing. Raises InputError
    for a half-set environment, Missing without GPU or NCCL, Fault where a rank died; KeyboardInterrupt after Ctrl-C.
    """
    place = rank_from_environment(os.environ)
    if place is not None:
        from calibrate.bench.joining import join

        return join(place, Job(work=work, arguments=arguments, backend=backend), take, prepare)
    from calibrate.launching.children import run_alone

    prepared = prepare(arguments)
    count = num_ranks or usual_number(backend)
    _check_number(backend, count)
    job = Job(work=work, arguments=prepared, backend=backend, shares_gpu=shares_gpu(backend, count))
    return run_alone(job, count, take)


def is_told() -> bool:
    """Whether this process is told the results: alone, or rank 0 of those that a launcher started."""
    place = rank_from_environment(os.environ)
    return place is None or place.rank == 0


def _check_number(backend: Backend, num_ranks: int) -> None:
    """Raises InputError where so many processes would only fill the memory."""
    there, what = (os.cpu_count() or 1, "cores") if backend == "gloo" else (usual_number(backend), "GPUs")
    if num_ranks > MOST_SHARING * there:
        raise InputError(f"--processes {num_ranks}: here are {there} {what}; start at most {MOST_SHARING * there}")


def shares_gpu(backend: Backend, num_ranks: int) -> bool:
    """Whether so many ranks, started here, are more than there are GPUs: what they measure is then true of none.

    Raises Missing as `usual_number` does.
    """
    is_alone = rank_from_environment(os.environ) is None
    return is_alone and backend == "nccl" and num_ranks > usual_number(backend)


def usual_number(backend: Backend) -> int:
    """How many processes are started alone: one for each visible GPU (CUDA_VISIBLE_DEVICES), two on processors.

    Raises Missing where there is no torch, no GPU that it can use, or no NCCL.
    """
    try:
        import torch
        import torch.distributed
    except ImportError:
        raise Missing("torch is not installed; `pip install shardsim[calibrate]`") from None
    if backend == "gloo":
        return min(USUAL_PROCESSES, os.cpu_count() or 1)
    if torch.version.cuda is None:
        raise Missing(f"torch {torch.__version__} is built without CUDA; install one with it, or say --backend gloo")
    if not torch.distributed.is_nccl_available():
        raise Missing(f"torch {torch.__version__} is built without NCCL; install one with it, or say --backend gloo")
    if not torch.cuda.is_available():
        raise Missing("no GPU is visible (CUDA_VISIBLE_DEVICES?); --backend gloo measures processors instead")
    return torch.cuda.device_count()
