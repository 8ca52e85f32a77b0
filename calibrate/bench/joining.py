"""A rank among those that torchrun, srun or mpirun started: it meets the others, does the job, and is watched.

Ctrl-C, or the launcher's wish that all end, is obeyed by rank 0 when it next tells something, so that it can still
write what was measured; the others end with it.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Final, TypeVar

import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from calibrate.bench.watch import watching
from calibrate.bench.world import MEETING, entered, gathered
from calibrate.launching.interface import interface_to
from calibrate.launching.place import Place
from topologies.document import Fault, InputError

if TYPE_CHECKING:
    from calibrate.launching.launch import Job

Told = TypeVar("Told")
Arguments = TypeVar("Arguments")
Result = TypeVar("Result")

_jobs: Final = count()
"""Jobs that this process joined: all ranks do the same ones, and each meets anew."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def join(
    place: Place,
    job: "Job[Arguments, Told, Result]",
    take: Callable[[Told], None],
    prepare: Callable[[Arguments], Arguments],
) -> Result | None:
    """Do the job as the rank at that place; what it returns on rank 0, and None elsewhere. Rank 0 prepares the
    arguments of all: other hosts may not have the files that it reads.

    Raises on rank 0 what ended any rank; on the others SystemExit. KeyboardInterrupt on rank 0, when told to end.
    """
    _lead_gloo_to(place.address)
    store = PrefixStore(f"calibrate/{next(_jobs)}", _store(place))
    as_rank = entered(
        store,
        rank=place.rank,
        num_ranks=place.num_ranks,
        local_rank=place.local_rank,
        backend=job.backend,
    )
    with _asked_to_end(place.rank) as asked, watching(store, place):
        prepared = job.arguments if place.rank else prepare(job.arguments)
        with as_rank as ranks:
            arguments = gathered((prepared,))[0][0]
            result = job.work(ranks, arguments, lambda told: _take(told, take, asked))
    return result if place.rank == 0 else None


def _lead_gloo_to(address: str) -> None:
    """What the user says counts; else ranks talk by the interface that leads to rank 0."""
    interface = interface_to(address)
    if interface:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)


def _take(told: Told, take: Callable[[Told], None], asked: list[int]) -> None:
    take(told)
    if asked:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _asked_to_end(rank: int) -> Iterator[list[int]]:
    """The signals that asked rank 0 to end; the second ends it at once. The others wait for its word."""
    asked: list[int] = []

    def note(number: int, _: object) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note if rank == 0 else signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield asked
    except BaseException:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher wants an end: what was measured is written first
        raise
    for number, handler in before.items():
        signal.signal(number, handler)


@cache
def _store(place: Place) -> Store:
    """Where the ranks find each other: torchrun keeps one already, else rank 0 does."""
    is_kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    at = f"{place.address}:{place.port}"
    try:
        return TCPStore(
            place.address,
            place.port,
            place.num_ranks,
            is_master=place.rank == 0 and not is_kept,
            timeout=MEETING,
            wait_for_workers=False,
        )
    except dist.DistNetworkError as error:
        if "EADDRINUSE" in str(error) or "in use" in str(error):
            raise InputError(f"{at} is in use; set MASTER_PORT to a port that is free, the same for all") from None
        raise Fault(f"rank {place.rank}: rank 0 is not found at {at}; set MASTER_ADDR and MASTER_PORT") from None
