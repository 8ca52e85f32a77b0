"""Sizes to ask a fit about: from the smallest to the largest that it was made from, on the part that it is of."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np

import topologies
from calibrate.samples import Samples
from sim.costs.law import Array
from sim.costs.laws import COLLECTIVE_LAWS, KERNEL_LAWS
from topologies.catalogue import names
from topologies.document import InputError, Value
from topologies.hardware import PROCESSOR, Fit

Domain = Mapping[str, tuple[float, float]]

SIZES: Final = frozenset({
    "m", "n", "k", "batch", "seq_len", "kv_len", "num_heads", "rows", "width", "nbytes", "num_tokens",
    "hidden", "ffn", "top_k",
})  # fmt: skip
"""Inputs of which more is more work; of all others points are alike or not compared."""
STEPS: Final = 17
"""Sizes from the smallest to the largest, evenly in the logarithm."""
NICS: Final = 8
LINKS: Final = (
    "nccl node", "nccl network", "nccl all-to-all node", "nccl all-to-all network", "nccl send", "gloo",
)  # fmt: skip
"""Of the links' operations those that are asked in a cluster which a link's name alone tells."""


def inputs_of(part: str, operation: str) -> tuple[str, ...]:
    """The inputs of an operation's law on the part of that name; none where there is no law."""
    law = KERNEL_LAWS.get(operation) or COLLECTIVE_LAWS.get(operation)
    if law is None:
        return ()
    return law.on_processor.inputs if law.on_processor and part.startswith(PROCESSOR) else law.inputs


def over(part: str, operation: str, domain: Domain, hardware: Mapping[str, Value]) -> Samples | None:
    """Points of an operation that grow in all sizes together, with all else as at either end of the domain.

    Their times are 1 s. None where the domain lacks an input, or nobody knows what the link joins; `hardware` has the
    sheets of what no catalogue has.
    """
    law = KERNEL_LAWS.get(operation) or COLLECTIVE_LAWS.get(operation)
    if law is None or any(name not in domain for name in law.inputs):
        return None
    points = _points(law.inputs, domain)
    count = len(next(iter(points.values())))
    made = Samples(
        operation=operation,
        part=part,
        points=points,
        seconds=np.ones(count),
        rows=np.arange(count),
        hardware=hardware,
    )
    if operation in KERNEL_LAWS:
        return made
    return in_cluster(made) if operation in LINKS else None


def common(one: Fit, other: Fit) -> Domain:
    """What both fits were made from; empty where they have no sizes in common."""
    shared = {
        name: (max(one.domain[name][0], low), min(one.domain[name][1], high))
        for name, (low, high) in other.domain.items()
        if name in one.domain
    }
    return shared if all(low <= high for low, high in shared.values()) else {}


def _points(inputs: Sequence[str], domain: Domain) -> dict[str, Array]:
    ends = (0, 1) if any(name not in SIZES and len(set(domain[name])) > 1 for name in inputs) else (0,)
    return {name: np.concatenate([_column(name, domain[name], end) for end in ends]) for name in inputs}


def _column(name: str, bounds: tuple[float, float], end: int) -> Array:
    """Whole sizes, evenly in the logarithm; anything else stays at one end."""
    low, high = bounds
    if name not in SIZES or low <= 0:
        return np.full(STEPS, bounds[end])
    return np.round(np.geomspace(low, high, STEPS))


def in_cluster(samples: Samples) -> Samples | None:
    """The points in the smallest cluster that has the link; None where nobody knows what it joins."""
    points, gpu = dict(samples.points), _gpu_with(samples.part, samples.hardware)
    if not gpu:
        return None
    num_nodes = points.setdefault("num_nodes", np.ones(len(samples)))
    num_gpus = points.get("num_gpus", 2 * num_nodes)
    points["gpus_per_node"] = np.ceil(num_gpus / num_nodes)
    points.setdefault("is_integer", np.zeros(len(samples)))
    fabric = f"{samples.part}x{NICS}" if (num_nodes > 1).any() else ""
    return replace(samples, gpu=gpu, fabric=fabric, points=points)


def _gpu_with(part: str, hardware: Mapping[str, Value]) -> str:
    """A GPU whose nodes have that link: the one of the sheets, the first of the catalogue, or any behind a network."""
    sheet = hardware.get("gpu")
    if isinstance(sheet, dict) and "link" in hardware:
        return str(sheet["name"])
    return _of_catalogue(part)


@lru_cache
def _of_catalogue(link: str) -> str:
    gpus = [topologies.gpu(name) for name in names("gpus")]
    owners = [gpu.name for gpu in gpus if gpu.nvlink == link or (not gpu.nvlink and gpu.pcie == link)]
    if owners:
        return owners[0]
    try:
        topologies.network(f"{link}x{NICS}")
    except InputError:
        return ""
    return "h100-80gb-sxm"
