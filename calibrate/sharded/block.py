"""A block: one technique of parallel training, run by real processes beside a reference that is not sharded.

Weights, inputs and the gradient that comes from above are drawn from a seed, whole, on every rank, so that both sides
see the same numbers; each rank then takes its shard.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from calibrate.verification.sizes import Sizes
from calibrate.verification.spans import RealSpan as RealSpan
from topologies.quantity import MILLISECOND

ROUNDING: Final = {torch.float32: 1e-5, torch.bfloat16: 4e-2}
"""How far a sum in another order may come out from the reference, as `verify.relative_error` tells it."""

Tensors = Mapping[str, Tensor]
"""Outputs and gradients by name, as one rank holds them."""

Mark = float | torch.cuda.Event
"""A moment: by the host's clock, or on a GPU an event of the stream in hand, so that nobody waits for the device."""


@dataclass(slots=True)
class Recorder:
    """Notes what a rank does and when, while it `is_on`; it is off while a block is merely checked, or timed whole."""

    rank: int
    device: torch.device
    is_on: bool = False
    _began: Mark = 0.0
    _noted: list[tuple[str, str, Mark, Mark]] = field(default_factory=list)

    def begin(self) -> None:
        """Time zero of the spans."""
        self._noted.clear()
        self._began = self.mark()

    def mark(self) -> Mark:
        """Now, as the stream in hand comes here."""
        if not self.is_on or self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def note(self, stream: str, name: str, start: Mark, end: Mark) -> None:
        """What was done between two marks is one span."""
        if self.is_on:
            self._noted.append((stream, name, start, end))

    @contextmanager
    def span(self, stream: str, name: str) -> Iterator[None]:
        """What is done within it is one span."""
        start = self.mark()
        yield
        self.note(stream, name, start, self.mark())

    @property
    def spans(self) -> list[RealSpan]:
        """All that was noted since the beginning; waits for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return [RealSpan(self.rank, stream, name, self._after(a), self._after(b)) for stream, name, a, b in self._noted]

    def _after(self, mark: Mark) -> float:
        if isinstance(mark, float):
            assert isinstance(self._began, float)
            return mark - self._began
        assert not isinstance(self._began, float)
        return float(self._began.elapsed_time(mark)) * MILLISECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """This rank among those that share a block: `group` is all of them."""

    rank: int
    num_ranks: int
    group: ProcessGroup
    device: torch.device
    dtype: torch.dtype
    recorder: Recorder


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """`prepare(shard, sizes)` makes the weights and inputs of this rank, and gives what runs the block forward and
    backward once and returns its tensors; `reference` gives the same tensors of this rank, computed without sharding.

    A block that keeps something from one run to the next is compared after `num_steps` of them.
    `fits(sizes, num_ranks)` says why so many ranks cannot share it, or nothing. `tolerance(dtype)` is how far each
    tensor may be from the reference's, as `verify.relative_error` tells it.
    """

    name: str
    summary: str
    prepare: Callable[[Shard, Sizes], Callable[[], Tensors]]
    reference: Callable[[Shard, Sizes], Tensors]
    fits: Callable[[Sizes, int], str]
    tolerance: Callable[[torch.dtype], float] = ROUNDING.__getitem__
    num_steps: int = 1

    def run(self, shard: Shard, sizes: Sizes) -> Tensors:
        """What its last step gives, to be compared with the reference."""
        step = self.prepare(shard, sizes)
        for _ in range(self.num_steps - 1):
            step()
        return step()
