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
from topologies.document import Missing

if TYPE_CHECKING:
    from calibrate.bench.point import Ranks

Told = TypeVar("Told")
Arguments = TypeVar("Arguments")
Result = TypeVar("Result")

USUAL_PROCESSES = 2
"""On processors, where nobody says how many: enough to talk to each other."""


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
    shares_gpu: bool = False,
) -> Result | None:
    """Run `work` on all ranks; `take` is called here with all that rank 0 tells, in order, as it tells it.

    Alone it starts `num_ranks` processes, by default one for each visible GPU, or two on processors; under a launcher
    it is one of the ranks. `arguments`, what is told and the result travel between processes, so they are plain data.

    Returns the result of rank 0; None in a process of another rank, which prints and writes nothing. Raises InputError
    for a half-set environment, Missing without GPU or NCCL, Fault where a rank died; KeyboardInterrupt after Ctrl-C.
    """
    job = Job(work=work, arguments=arguments, backend=backend, shares_gpu=shares_gpu)
    place = rank_from_environment(os.environ)
    if place is not None:
        from calibrate.bench.joining import join

        return join(place, job, take)
    from calibrate.launching.children import run_alone

    return run_alone(job, num_ranks or usual_number(backend), take)


def is_told() -> bool:
    """Whether this process is told the results: alone, or rank 0 of those that a launcher started."""
    place = rank_from_environment(os.environ)
    return place is None or place.rank == 0


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
