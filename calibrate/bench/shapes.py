"""Which sizes are measured: those of the catalogue's models, and a grid between them.

All sizes that a family could run are candidates. They are taken in an order in which each is as far as can be, in the
logarithms of its sizes, from all that went before: a run cut off early has seen the whole range, coarsely. What would
take too long or too much memory on this device is no candidate, so that a processor gets small shapes by the same rule.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate.machines.machine import Machine
from calibrate.running.asked import Budget
from calibrate.verification.sizes import Sizes
from sim import models
from sim.costs import ELEMENT
from sim.costs.processor import WIDER
from topologies.hardware import Gpu
from topologies.quantity import MILLISECOND

BUDGETS: Final[tuple[Budget, ...]] = ("quick", "default", "full")
LONGEST: Final[Mapping[bool, Mapping[Budget, float]]] = {
    False: {"quick": 10 * MILLISECOND, "default": 50 * MILLISECOND, "full": 100 * MILLISECOND},
    True: {"quick": 50 * MILLISECOND, "default": 60 * MILLISECOND, "full": 300 * MILLISECOND},
}
"""Seconds of a repetition, for GPUs (False) and processors (True)."""
MEMORY_SHARE: Final = 0.3
"""Part of the memory that a point's tensors may take."""
DEGREES: Final = (1, 2, 4, 8)
"""Ranks of tensor parallelism."""
SMALL_DEGREES: Final = (1, 2)


class Candidate(NamedTuple):
    """Sizes of a point, about how long a repetition takes, and the bytes of its tensors."""

    sizes: tuple[int, ...]
    seconds: float
    nbytes: float


class Chosen(NamedTuple):
    """A candidate that is measured by runs at least as thorough as `budget`."""

    sizes: tuple[int, ...]
    seconds: float
    budget: Budget


class Heads(NamedTuple):
    """The heads of an attention layer on one rank."""

    num_heads: int
    num_kv_heads: int
    head_dim: int


def number_nbytes(machine: Machine) -> int:
    """Bytes of a number in what is usual there: bf16 on GPUs, fp32 on processors."""
    return WIDER * ELEMENT if machine.is_cpu else ELEMENT


def roofline(gpu: Gpu, flops: float, nbytes: float, *, efficiency: float, precision: str = "bf16") -> float:
    """About how long a kernel takes: by its arithmetic at a share of the peak, or by its bytes."""
    computing = flops / (gpu.peak_flops.get(precision, gpu.peak_flops["bf16"]) * efficiency)
    moving = nbytes / (gpu.memory_bandwidth * gpu.fit["memory_efficiency"])
    return max(computing, moving) + gpu.fit["kernel_latency"]


def spread_out(
    candidates: Iterable[Candidate],
    machine: Machine,
    gpu: Gpu,
    counts: tuple[int, int, int],
    *,
    first: Sequence[tuple[int, ...]] = (),
) -> Iterator[Chosen]:
    """So many candidates by the end of a quick, a default and a full run, each far from all before it.

    Those of the sizes in `first` come first; the order is the same on every rank.
    """
    possible = list({one.sizes: one for one in candidates if one.nbytes <= MEMORY_SHARE * gpu.memory_nbytes}.values())
    places = np.log2(np.array([one.sizes for one in possible], np.float64).T + 1)
    seconds = np.array([one.seconds for one in possible])
    place = {one.sizes: index for index, one in enumerate(possible)}
    taken: list[int] = []
    for budget, count in zip(BUDGETS, counts, strict=True):
        short = seconds <= LONGEST[machine.is_cpu][budget]
        wanted = [place[sizes] for sizes in first if sizes in place and short[place[sizes]]]
        for index in _farthest(places, short, taken, wanted, count):
            yield Chosen(possible[index].sizes, possible[index].seconds, budget)


def _farthest(
    places: NDArray[np.float64],
    allowed: NDArray[np.bool_],
    taken: list[int],
    wanted: Sequence[int],
    count: int,
) -> Iterator[int]:
    """Adds indices to `taken` until there are `count`: those wanted, then whatever is farthest from its nearest."""
    distance = np.full(len(allowed), np.inf)
    for index in taken:
        distance = np.minimum(distance, np.abs(places - places[:, [index]]).sum(axis=0))
    waiting = [index for index in wanted if index not in taken]
    while len(taken) < count:
        distance[~allowed] = 0.0
        index = waiting.pop(0) if waiting else int(np.argmax(distance)) if taken else _middle(places, allowed)
        if not allowed.any() or distance[index] == 0.0:
            return
        taken.append(index)
        yield index
        distance = np.minimum(distance, np.abs(places - places[:, [index]]).sum(axis=0))


def _middle(places: NDArray[np.float64], allowed: NDArray[np.bool_]) -> int:
    """The candidate nearest to the middle of all."""
    if not allowed.any():
        return 0
    off = np.abs(places - places[:, allowed].mean(axis=1, keepdims=True)).sum(axis=0)
    return int(np.argmin(np.where(allowed, off, np.inf)))


@lru_cache
def weights() -> tuple[tuple[int, int], ...]:
    """Outputs and inputs (n, k) of the linear layers of the catalogue's models on one of a few tensor-parallel ranks:
    queries, keys and values in one, projection, up (and gate), down, head."""
    found: set[tuple[int, int]] = set()
    for model in map(models.load, models.names()):
        every = (
            (model.head_dim * (model.num_heads + 2 * model.num_kv_heads), model.hidden, True),
            (model.hidden, model.head_dim * model.num_heads, False),
            (model.ffn * (2 if model.gated_mlp else 1), model.hidden, True),
            (model.hidden, model.ffn, False),
            (model.vocab, model.hidden, True),
        )
        found |= {one for n, k, by_columns in every for one in _sharded(n, k, DEGREES, by_columns=by_columns)}
    return tuple(sorted(found))


def small_weights(sizes: Sizes) -> tuple[tuple[int, int], ...]:
    """The same of the small Llama that `calibrate verify` runs."""
    every = (
        (3 * sizes.hidden, sizes.hidden, True),
        (sizes.hidden, sizes.hidden, False),
        (2 * sizes.ffn, sizes.hidden, True),
        (sizes.hidden, sizes.ffn, False),
        (sizes.vocab, sizes.hidden, True),
    )
    found = [one for n, k, by_columns in every for one in _sharded(n, k, SMALL_DEGREES, by_columns=by_columns)]
    return tuple(dict.fromkeys(found))


def _sharded(n: int, k: int, degrees: Sequence[int], *, by_columns: bool) -> Iterator[tuple[int, int]]:
    """Column-parallel layers split their outputs, row-parallel ones their inputs."""
    for degree in degrees:
        if (n if by_columns else k) % degree == 0:
            yield (n // degree, k) if by_columns else (n, k // degree)


@lru_cache
def heads() -> tuple[Heads, ...]:
    """The heads of the catalogue's models on one of a few tensor-parallel ranks."""
    found: set[Heads] = set()
    for model in map(models.load, models.names()):
        for degree in DEGREES:
            if model.num_heads % degree == 0 and model.mla is None:
                kv = max(1, model.num_kv_heads // degree)
                found.add(Heads(model.num_heads // degree, kv, model.head_dim))
    return tuple(sorted(found))
