"""The ranks as children of this process: started, listened to, and ended all together.

A child holds one end of a socket. What it tells comes through it, its death closes it, and so does the parent's.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeVar, cast

from topologies.document import Fault

if TYPE_CHECKING:
    from calibrate.launching.launch import Job

Told = TypeVar("Told")
Arguments = TypeVar("Arguments")
Result = TypeVar("Result")

GRACE: Final = 0.5
"""Seconds after a rank's complaint in which another may be found dead, of which the first only felt the loss."""
_ENDING: Final = 5.0
_TAIL: Final = 4096
_SHOWN: Final = 200


class Message(NamedTuple):
    """What a rank says: something it tells, its result at the end, or its complaint."""

    kind: Literal["told", "done", "failed"]
    content: object


class Complaint(NamedTuple):
    """The exception that ended a rank, and when, by the clock that all processes of a host share."""

    at: float
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Where a child takes part: its rank, and the file by which the ranks find each other."""

    rank: int
    num_ranks: int
    store: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    rank: int
    process: "subprocess.Popen[bytes]"
    connection: "Connection[object, Message]"
    log: Path


def run_alone(job: "Job[Arguments, Told, Result]", num_ranks: int, take: Callable[[Told], None]) -> Result:
    """Run the job on so many new processes of this machine, and return what rank 0 returns.

    Raises what a rank raised, or Fault where one died without a word; by then all have ended.
    """
    with TemporaryDirectory(prefix="calibrate-") as folder:
        children: list[_Child] = []
        try:
            for rank in range(num_ranks):
                children.append(_start(rank, Path(folder), shares_gpu=job.shares_gpu))
            for child in children:
                with contextlib.suppress(OSError):  # it is dead already, as will be seen
                    child.connection.send((job, Seat(rank=child.rank, num_ranks=num_ranks, store=f"{folder}/store")))
            return cast("Result", _follow(children, take))
        finally:
            _end(children)


def _start(rank: int, folder: Path, *, shares_gpu: bool) -> _Child:
    """A child in a session of its own: Ctrl-C is the parent's business."""
    ours, theirs = Pipe()
    log = folder / f"rank-{rank}.log"
    with log.open("wb") as noise:
        shown = None if "SHARDSIM_DEBUG" in os.environ else noise
        process = subprocess.Popen(
            [sys.executable, "-m", "calibrate.bench.worker", str(theirs.fileno())],
            env=_environment(rank, shares_gpu=shares_gpu),
            stdin=subprocess.DEVNULL,
            stdout=shown,
            stderr=shown,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    theirs.close()
    return _Child(rank=rank, process=process, connection=ours, log=log)


def _environment(rank: int, *, shares_gpu: bool) -> dict[str, str]:
    """Modules are found where this process finds them; Gloo talks over the loopback, whatever the host's name means.

    NCCL refuses two ranks on one GPU of one host, and takes the host from NCCL_HOSTID [NVIDIA/nccl, init.cc].
    """
    own = {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path), "PYTHONFAULTHANDLER": "1"}
    own["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "")
    if loopback:
        own["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", loopback)
    if shares_gpu:
        own["NCCL_HOSTID"] = f"{socket.gethostname()}-{rank}"
    return {**os.environ, **own}


def _follow(children: Sequence[_Child], take: Callable[[Told], None]) -> object:
    """Hand on what rank 0 tells, until all are done, or one has failed and the others have had time to complain."""
    running = {child.connection: child for child in children}
    results: dict[int, object] = {}
    silent: list[_Child] = []
    complaints: list[Complaint] = []
    deadline: float | None = None
    while running and (deadline is None or time.monotonic() < deadline):
        for connection in wait(list(running), None if deadline is None else max(deadline - time.monotonic(), 0.0)):
            child = running[connection]  # type: ignore[index]
            message = _received(child)
            if message is not None and message.kind == "told":
                take(cast("Told", message.content))
                continue
            del running[child.connection]
            if message is None:
                silent.append(child)
            elif message.kind == "done":
                results[child.rank] = message.content
            else:
                complaints.append(cast("Complaint", message.content))
            if deadline is None and (silent or complaints):
                deadline = time.monotonic() + GRACE
    if silent or complaints:
        raise _cause(silent, complaints)
    return results[0]


def _received(child: _Child) -> Message | None:
    """What a rank says; None where it ended without a word."""
    try:
        return child.connection.recv()
    except (EOFError, OSError):
        return None


def _cause(silent: Sequence[_Child], complaints: Sequence[Complaint]) -> BaseException:
    """Why it all ends: a rank that died without a word, others only feeling the loss; else the first complaint."""
    for child in silent:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(GRACE)
    killed = next((child for child in silent if (child.process.poll() or 0) < 0), None)
    if killed is not None:
        return Fault(f"{_name(killed)} was killed by {_signal(killed)}{_last_words(killed)}")
    if silent:
        return Fault(f"{_name(silent[0])} ended early{_last_words(silent[0])}")
    return min(complaints, key=lambda complaint: complaint.at).error


def _name(child: _Child) -> str:
    return f"rank {child.rank} on {socket.gethostname()}"


def _signal(child: _Child) -> str:
    number = -(child.process.returncode or 0)
    return {known.value: known.name for known in signal.Signals}.get(number, f"signal {number}")


def _last_words(child: _Child) -> str:
    """The last line that it wrote."""
    text = child.log.read_bytes()[-_TAIL:].decode(errors="replace") if child.log.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f": {lines[-1][:_SHOWN]}" if lines else "; it said nothing"


def _end(children: Sequence[_Child]) -> None:
    """Close their sockets, on which they end, and see to it."""
    for child in children:
        child.connection.close()
    for child in children:
        try:
            child.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait(_ENDING)
