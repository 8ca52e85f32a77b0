"""A rank as a child of the process that measures: it takes its job from a socket, does it, and tells over the same.

The socket closes when the parent is gone, however it went; then the rank ends too, in the midst of anything.
"""

import os
import shutil
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from torch._C._distributed_c10d import FileStore

from calibrate.bench.watch import telling
from calibrate.bench.world import entered
from calibrate.launching.children import Complaint, Message, Seat

if TYPE_CHECKING:
    from calibrate.launching.launch import Job

FAILED = 1


def main(descriptor: int) -> int:
    """Do the job that comes over a socket. Returns the exit code."""
    connection: Connection[Message, tuple[Job[object, object, object], Seat]] = Connection(descriptor)
    job, seat = connection.recv()
    threading.Thread(target=_end_with_parent, args=(connection, seat), daemon=True).start()
    try:
        connection.send(Message("done", _result(job, seat, connection)))
    except BaseException as error:
        at = time.monotonic()
        if "SHARDSIM_DEBUG" in os.environ:
            sys.excepthook(type(error), error, error.__traceback__)
        connection.send(Message("failed", Complaint(at, telling(error, seat.rank))))
        return FAILED
    return 0


def _result(job: "Job[object, object, object]", seat: Seat, connection: "Connection[Message, object]") -> object:
    """What rank 0 has at the end."""
    store = FileStore(seat.store, seat.num_ranks)
    with entered(
        store,
        rank=seat.rank,
        num_ranks=seat.num_ranks,
        local_rank=seat.rank,
        backend=job.backend,
        shares_gpu=job.shares_gpu,
    ) as ranks:
        result = job.work(ranks, job.arguments, lambda content: connection.send(Message("told", content)))
    return result if seat.rank == 0 else None


def _end_with_parent(connection: "Connection[Message, object]", seat: Seat) -> None:
    """Nothing more is sent to a rank: what comes is the end. A parent that was killed has not tidied up."""
    try:
        connection.recv()
    finally:
        shutil.rmtree(Path(seat.store).parent, ignore_errors=True)
        os._exit(FAILED)


if __name__ == "__main__":
    code = main(int(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a broken communicator may wait for ever for its peers
