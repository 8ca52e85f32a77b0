"""Ranks that a launcher started watch each other: each holds a socket to rank 0, which closes when either end dies.

A collective whose peer is gone may wait for ever, deep in a library: so a thread watches, and ends the process.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from multiprocessing.connection import wait
from pathlib import Path
from typing import Final, NamedTuple, cast

from torch._C._distributed_c10d import Store

from calibrate.launching.place import Place
from sim.commands.console import INFEASIBLE, INTERNAL, INTERRUPTED, MISSING, USAGE
from topologies.document import Fault, Infeasible, InputError, Missing

GRACE: Final = 5.0
"""Seconds in which rank 0, told of another's death, should have come back from where it is, to write what it has."""
MOMENT: Final = 1.0
"""Seconds after an error of a library in which its cause may be found: another rank's death."""
_MEETING: Final = 300.0
_DONE, _OVER = "done", "over"
_SIGNAL: Final = 0x7F
_KINDS: Final[Mapping[str, type[InputError | Infeasible | Missing | Fault]]] = {
    kind.__name__: kind for kind in (InputError, Infeasible, Missing, Fault)
}
CODES: Final[Mapping[type[BaseException], int]] = {
    InputError: USAGE,
    Infeasible: INFEASIBLE,
    Missing: MISSING,
    KeyboardInterrupt: INTERRUPTED,
}


class Peer(NamedTuple):
    """Where another rank runs: its host, and its process there."""

    rank: int
    host: str
    process: int


def telling(error: BaseException, rank: int) -> BaseException:
    """An error as it can be told: in words of ours as it is, else as a fault of this rank, by its first line."""
    if isinstance(error, InputError | Infeasible | Missing | Fault | KeyboardInterrupt):
        return error
    first = next(iter(str(error).strip().splitlines()), "")
    return Fault(f"rank {rank} on {socket.gethostname()}: {type(error).__name__}: {first[:300]}")


def code_of(error: BaseException) -> int:
    """With which exit code a process ends by it."""
    return CODES.get(type(error), INTERNAL)


@contextlib.contextmanager
def watching(store: Store, place: Place) -> Iterator[None]:
    """Within it, a rank that dies ends all of them; what ended first is raised on rank 0, and told by it.

    On another rank SystemExit is raised, once rank 0 knows why.
    """
    if place.rank == 0:
        yield from _over_others(_Watch(_accepted(store, place)))
    else:
        yield from _under_first(_connected(store, place), place)


def _over_others(watch: "_Watch") -> Iterator[None]:
    threading.Thread(target=watch.listen, daemon=True).start()
    try:
        yield
    except BaseException as error:
        if not isinstance(error, tuple(CODES)):
            watch.is_failed.wait(MOMENT)
        cause = watch.fault or telling(error, rank=0)
        watch.end(f"{_OVER} {code_of(cause)}")
        raise cause from None
    watch.end(_DONE)


class _Watch:
    """Rank 0's sockets to the others, by where they are; what ended one of them, once it has."""

    def __init__(self, others: dict[Peer, socket.socket]) -> None:
        self.others = others
        self.fault: BaseException | None = None
        self.is_failed = threading.Event()
        self.is_ended = threading.Event()

    def listen(self) -> None:
        """Until all others are done, or one ended before."""
        open_ones = {connection.fileno(): name for name, connection in self.others.items()}
        while open_ones and self.fault is None:
            for ready in wait(list(open_ones)):
                name = open_ones.pop(cast(int, ready))
                line = _line(self.others[name])
                if line != _DONE and not self.is_ended.is_set():
                    self.fail(_fault(line, name))
                    return

    def fail(self, fault: BaseException) -> None:
        """End the others; this process too, should it not come back by itself."""
        self.fault = fault
        self.is_failed.set()
        self._tell(f"{_OVER} {code_of(fault)}")
        if not self.is_ended.wait(GRACE):
            _exit(str(fault), code_of(fault))

    def end(self, word: str) -> None:
        """Tell the others how it ended."""
        self.is_ended.set()
        self._tell(word)

    def _tell(self, word: str) -> None:
        for connection in self.others.values():
            with contextlib.suppress(OSError):
                connection.sendall(f"{word}\n".encode())


def _fault(line: str, peer: Peer) -> BaseException:
    """What a rank said of its end; nothing: it was killed."""
    if not line:
        how = _killed_by(peer)
        words = f"was killed by {how}" if how else "ended without a word; its launcher may say why"
        return Fault(f"rank {peer.rank} on {peer.host} {words}")
    kind, words = json.loads(line)
    return _KINDS.get(kind, Fault)(words)


def _killed_by(peer: Peer) -> str:
    """The signal that ended a process of this host, which its parent has not buried yet; nothing where nobody knows.

    The last field of /proc/PID/stat is what its parent will be told: the signal in the lowest seven bits [proc(5)].
    """
    if peer.host != socket.gethostname():
        return ""
    try:
        code = int(Path(f"/proc/{peer.process}/stat").read_text(encoding="utf-8").split()[-1])
    except (OSError, ValueError):
        return ""
    return {one.value: one.name for one in signal.Signals}.get(code & _SIGNAL, "")


def _under_first(connection: socket.socket, place: Place) -> Iterator[None]:
    threading.Thread(target=_listen, args=(connection, place), daemon=True).start()
    try:
        yield
    except BaseException as error:
        told = telling(error, place.rank)
        with contextlib.suppress(OSError):
            connection.sendall(f"{json.dumps([type(told).__name__, str(told)])}\n".encode())
        raise SystemExit(code_of(told)) from None
    with contextlib.suppress(OSError):
        connection.sendall(f"{_DONE}\n".encode())


def _listen(connection: socket.socket, place: Place) -> None:
    """Until rank 0 says how it ended, or ended without a word."""
    line = _line(connection)
    if line.startswith(_OVER):
        _exit("", int(line.split()[1]))
    if line != _DONE:
        _exit(f"rank 0 at {place.address} ended without a word" if place.rank == 1 else "", INTERNAL)


def _line(connection: socket.socket) -> str:
    """The next line; nothing where the other end is gone."""
    with contextlib.suppress(OSError), connection.makefile("rb") as file:
        return file.readline().decode(errors="replace").strip()
    return ""


def _exit(words: str, code: int) -> None:
    """End this process in the midst of anything."""
    if words:
        sys.stderr.write(f"calibrate: {words}\n")
        sys.stderr.flush()
    os._exit(code)


def _accepted(store: Store, place: Place) -> dict[Peer, socket.socket]:
    """The sockets of all others."""
    local = place.address in ("127.0.0.1", "localhost")
    found: dict[Peer, socket.socket] = {}
    with socket.create_server((place.address if local else "", 0), backlog=place.num_ranks) as server:
        server.settimeout(_MEETING)
        store.set("watch", str(server.getsockname()[1]))
        while len(found) < place.num_ranks - 1:
            try:
                connection, _ = server.accept()
            except TimeoutError:
                raise Fault(f"{place.num_ranks - 1 - len(found)} of {place.num_ranks} ranks did not come") from None
            connection.settimeout(None)
            found[Peer(*json.loads(_line(connection)))] = connection
    return found


def _connected(store: Store, place: Place) -> socket.socket:
    """A socket to rank 0, which knows this rank by its name from now on."""
    connection = socket.create_connection((place.address, int(store.get("watch"))), timeout=_MEETING)
    connection.settimeout(None)
    connection.sendall(f"{json.dumps([place.rank, socket.gethostname(), os.getpid()])}\n".encode())
    return connection
