"""Collectives beside a rank's own work: their spans end when they do, whether or not a library tells of it."""

import threading
import time
from typing import cast

import pytest
import torch
from torch.distributed import Work

from calibrate.sharded.beside import STREAM, _arriving
from calibrate.sharded.block import Recorder, Shard


class Untold:
    """As Gloo's reduce-scatter: it has no future, and who waits for it makes the copy at its end."""

    def __init__(self) -> None:
        self.is_done = threading.Event()
        self.waited = 0

    def get_future(self) -> None:
        raise RuntimeError("ProcessGroup::Work::getFuture not implemented.")

    def wait(self) -> None:
        self.is_done.wait(30)
        self.waited += 1


@pytest.mark.parametrize("is_on", [True, False])
def test_a_span_ends_with_the_work_and_not_when_it_is_waited_for(is_on: bool) -> None:
    recorder = Recorder(rank=0, device=torch.device("cpu"), is_on=is_on)
    shard = Shard(rank=0, num_ranks=2, group=None, device=recorder.device, dtype=torch.float32, recorder=recorder)  # type: ignore[arg-type]
    recorder.begin()
    work = Untold()
    arriving = _arriving(cast("Work", work), torch.ones(1), shard, "gradients", recorder.mark())
    work.is_done.set()
    time.sleep(0.2)  # the rank computes on
    waited_at = time.perf_counter()
    assert arriving().item() == 1
    assert work.waited == 1, "twice would copy twice"
    spans = [(span.stream, span.name) for span in recorder.spans]
    assert spans == ([(STREAM, "gradients")] if is_on else [])
    assert all(span.end < waited_at - cast("float", recorder._began) for span in recorder.spans)
