"""A load that is dealt in turn: who gets which request is known before anybody answers.

So each replica is played alone with its share, which stays in the processor's caches, and shares are played on all
cores. Where the router looks at answers, or users wait for theirs, all replicas have to be played in one time.
"""

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from sim.requests import Requests
from sim.serving.block_pool import new_pool
from sim.serving.fleet import refusal
from sim.serving.record import Record, Steps
from sim.serving.settings import Settings

Rows = NDArray[np.intp]
Play = Callable[[Requests], Record]
Number = TypeVar("Number", bound=np.generic)
WORTH_A_POOL: Final = 10_000
"""Requests: some seconds' work, of which processes and what they send back would take a twentieth."""


def comes_by_itself(requests: Requests) -> bool:
    """Whether when a request comes, and so who comes before it, depends on no answer."""
    return requests.concurrency is None and requests.after is None


def in_turn(requests: Requests, settings: Settings, replicas: int, dp: int) -> list[Rows]:
    """The rows of each replica's share. What is refused takes no turn: whoever is next refuses it."""
    num_blocks = new_pool(settings).num_blocks
    lengths = zip(requests.prompt.tolist(), requests.output.tolist(), strict=True)
    taken = np.array([refusal(settings, num_blocks, *each) is None for each in lengths], dtype=np.int64)
    replica = (np.cumsum(taken) - taken) % (replicas * dp) // dp
    return [np.flatnonzero(replica == number) for number in range(replicas)]


def share(requests: Requests, rows: Rows) -> Requests:
    """These rows alone."""
    contents = requests.contents
    return replace(
        requests,
        arrival=requests.arrival[rows],
        prompt=requests.prompt[rows],
        output=requests.output[rows],
        contents=None if contents is None else tuple([contents[row] for row in rows.tolist()]),
    )


def played(play: Play, requests: Requests, shares: Sequence[Rows]) -> list[Record]:
    """Each share played, on all cores where that is worth it."""
    jobs = min(_num_cores(), len(shares)) if len(requests) >= WORTH_A_POOL else 1
    if jobs == 1:
        return [play(share(requests, rows)) for rows in shares]
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(play, requests, shares))
    try:
        return list(pool.map(_play, range(len(shares))))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def joined(requests: Requests, shares: Sequence[Rows], records: Sequence[Record], dp: int) -> Record:
    """What all leave behind. Passes that start at the same time are in order of their replicas."""
    ranks = [np.where(each.replica < 0, -1, each.replica + number * dp) for number, each in enumerate(records)]
    refused = [
        (int(rows[row]), why) for rows, each in zip(shares, records, strict=True) for row, why in each.refused.items()
    ]
    return Record(
        requests=requests,
        sent=_by_row(shares, [each.sent for each in records]),
        scheduled=_by_row(shares, [each.scheduled for each in records]),
        first_token=_by_row(shares, [each.first_token for each in records]),
        finished=_by_row(shares, [each.finished for each in records]),
        replica=_by_row(shares, ranks),
        preemptions=_by_row(shares, [each.preemptions for each in records]),
        cached=_by_row(shares, [each.cached for each in records]),
        first_causes=_by_row(shares, [each.first_causes for each in records]),
        causes=_by_row(shares, [each.causes for each in records]),
        gap_seconds=np.concatenate([each.gap_seconds for each in records]),
        gap_counts=np.concatenate([each.gap_counts for each in records]),
        steps=_joined_steps([each.steps for each in records], dp),
        stage_busy=np.concatenate([each.stage_busy for each in records]),
        num_blocks=records[0].num_blocks,
        refused=dict(sorted(refused)),
    )


def _joined_steps(steps: Sequence[Steps], dp: int) -> Steps:
    steps = [replace(each, replica=each.replica + number * dp) for number, each in enumerate(steps)]
    order = np.argsort(np.concatenate([each.start for each in steps]), kind="stable")
    names = Steps.__dataclass_fields__
    return Steps(**{name: np.concatenate([getattr(each, name) for each in steps])[order] for name in names})


def _by_row(shares: Sequence[Rows], columns: Sequence[NDArray[Number]]) -> NDArray[Number]:
    """One column of all rows, from one for each share."""
    whole = np.empty((sum(map(len, shares)), *columns[0].shape[1:]), columns[0].dtype)
    for rows, column in zip(shares, columns, strict=True):
        whole[rows] = column
    return whole


def _num_cores() -> int:
    """How many processes may play: one where copies of this one are not safe, or others like it play already."""
    if sys.platform != "linux" or threading.active_count() > 1 or multiprocessing.parent_process() is not None:
        return 1
    return len(os.sched_getaffinity(0))


_HERE: list[tuple[Play, Requests, Sequence[Rows]]] = []
"""What is to be played, in the processes of a pool: they are copies, to which nothing is sent."""


def _begin(play: Play, requests: Requests, shares: Sequence[Rows]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once, without a word
    gc.freeze()  # what was there before is not looked through after each share
    _HERE[:] = [(play, requests, shares)]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _play(number: int) -> Record:
    """What was played is a few megabytes in cycles, which nobody looks for while it is played."""
    play, requests, shares = _HERE[0]
    record = play(share(requests, shares[number]))
    gc.collect()
    return record
