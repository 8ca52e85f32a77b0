"""What cannot be: a kernel that multiplies faster than the peak, bytes faster than their memory or their wires.

Measurements that say so are in another unit, or of something else; a fit to them would be wrong everywhere. Each limit
is less than a kernel really needs: what may lie in a cache counts nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from calibrate import subjects
from calibrate.importers.reading import Reading
from calibrate.machines.machine import CPU_PREFIX
from calibrate.samples import Samples
from sim.costs import ELEMENT
from sim.costs.gemm.formats import FORMATS
from sim.costs.law import Array, Points
from topologies.document import InputError
from topologies.hardware import Gpu
from topologies.quantity import MICROSECOND

TOLERANCE = 1.05
"""A data sheet rounds, a clock may boost beyond what it promises, and a timer is not exact."""
SHORTEST = 0.2 * MICROSECOND
"""No kernel of a GPU is shorter: its launch alone takes longer. Nor does a processor begin anything in less."""


def check(readings: Sequence[Reading], names: Sequence[str], *, share: float = 0.0) -> None:
    """Raises InputError where more than `share` of a file's rows are faster than the part can be: names two of them."""
    for reading, name in zip(readings, names, strict=True):
        found = [
            f"{name}:{samples.rows[index]}: {reason}"
            for samples in reading.samples
            for index, reason in broken(samples)
        ]
        if len(found) > share * sum(map(len, reading.samples)):
            raise InputError("\n".join(found[:2]))


def broken(samples: Samples) -> Iterator[tuple[int, str]]:
    """The index of each sample that is faster than its part can be, and what is said of it."""
    least = np.maximum(least_seconds(samples) / TOLERANCE, SHORTEST)
    for index in np.flatnonzero(samples.seconds < least):
        yield (
            int(index),
            (
                f"{samples.operation}: {_us(samples.seconds[index])} is faster than {samples.part} can be "
                f"({_us(least[index])}); write the time in microseconds, and the GPU that was measured"
            ),
        )


def least_seconds(samples: Samples) -> Array:
    """What each point takes at the peaks of the data sheet; 0 where no limit is known.

    A processor's sheet is itself measured, and bounds nothing.
    """
    if samples.part.startswith(CPU_PREFIX):
        return np.zeros(len(samples))
    try:
        for family, seconds in _KERNELS.items():
            if samples.operation.startswith(family):
                return seconds(subjects.gpu_of(samples, {}), samples.operation, samples.points)
        if samples.operation in _RELATIVE:
            return samples.points["alone"]
        if samples.operation == "nccl send":
            return _over_a_wire(samples)
        if samples.operation.startswith(_COLLECTIVES):
            return _on_wires(samples)
    except InputError:  # what is not in the catalogue is told where it is fitted
        pass
    return np.zeros(len(samples))


def _products(gpu: Gpu, operation: str, points: Points) -> Array:
    """2 m n k at the peak of the operands."""
    return 2 * points["m"] * points["n"] * points["k"] / _peak(gpu, operation)


def _products_of_experts(gpu: Gpu, operation: str, points: Points) -> Array:
    """Gate, up and down of a rank's share of the rows."""
    rows = points["num_tokens"] * points["top_k"] / points["ep"]
    return 6 * rows * points["hidden"] * points["ffn"] / points["tp"] / _peak(gpu, operation)


def _prefill(gpu: Gpu, operation: str, points: Points) -> Array:
    """Two products of a causal half of the scores; keys and values in 8 bits may be multiplied as such."""
    scores = points["batch"] * points["num_heads"] * points["seq_len"] ** 2 / 2
    return 4 * scores * points["head_dim"] / _peak(gpu, "fp8" if "fp8" in operation else "bf16")


def _forward(gpu: Gpu, operation: str, points: Points) -> Array:
    """Two products of all scores, or of the causal half."""
    scores = points["batch"] * points["num_heads"] * points["seq_len"] ** 2 / (1 + points["causal"])
    return 4 * scores * points["head_dim"] / _peak(gpu, "bf16")


def _backward(gpu: Gpu, operation: str, points: Points) -> Array:
    """Five products of all scores, or of the causal half."""
    return 2.5 * _forward(gpu, operation, points)


def _gradients(gpu: Gpu, operation: str, points: Points) -> Array:
    return _products(gpu, f"{operation} bf16", points)


def _decode(gpu: Gpu, operation: str, points: Points) -> Array:
    """All keys and values but what the L2 holds come from the memory."""
    element = 1 if "fp8" in operation else ELEMENT
    keys = points["batch"] * points["kv_len"] * points["num_kv_heads"]
    return _from_memory(gpu, 2 * keys * points["head_dim"] * element)


def _memory_bound(gpu: Gpu, operation: str, points: Points) -> Array:
    del operation
    return _from_memory(gpu, points["nbytes"])


def _from_memory(gpu: Gpu, nbytes: Array) -> Array:
    return np.maximum(nbytes - gpu.l2_nbytes, 0.0) / gpu.memory_bandwidth


def _on_wires(samples: Samples) -> Array:
    """What a member lacks, (n-1)/n of the size, over its own link; or what a node lacks, over its NICs.

    In an all-to-all each member of a node lacks something else.
    """
    cluster, points = subjects.cluster_of(samples, {}), samples.points
    node, several = cluster.node, points["num_nodes"] > 1
    inside = points["nbytes"] * (1 - 1 / points["num_gpus"]) / node.scale_up.bandwidth
    if node.nic is None:
        return inside
    lacking = points["num_gpus"] / points["num_nodes"] if "all-to-all" in samples.operation else 1.0
    between = points["nbytes"] * lacking * (1 - 1 / points["num_nodes"]) / (node.nic.bandwidth * node.num_nics)
    return np.where(several, between, inside)


def _over_a_wire(samples: Samples) -> Array:
    """A message over the sender's own link, or over all NICs of its node."""
    cluster, points = subjects.cluster_of(samples, {}), samples.points
    node = cluster.node
    inside = points["nbytes"] / node.scale_up.bandwidth
    if node.nic is None:
        return inside
    return np.where(points["num_nodes"] > 1, points["nbytes"] / (node.nic.bandwidth * node.num_nics), inside)


def _peak(gpu: Gpu, operation: str) -> float:
    """The fastest dense rate that the name of an operation may mean."""
    form = FORMATS.get(operation.split()[-1])
    known = [gpu.peak_flops[peak] for peak in (form.peaks if form else ()) if peak in gpu.peak_flops]
    return max(known or gpu.peak_flops.values())


def _us(seconds: float) -> str:
    return f"{seconds / MICROSECOND:.4g} us"


_KERNELS: Mapping[str, Callable[[Gpu, str, Points], Array]] = {
    "gemm gradients": _gradients,
    "gemm ": _products,
    "grouped gemm ": _products_of_experts,
    "attention prefill ": _prefill,
    "attention decode ": _decode,
    "attention forward": _forward,
    "attention backward": _backward,
    "memory bound": _memory_bound,
}
_COLLECTIVES = ("nccl ", "custom all-reduce ")
_RELATIVE = ("power", "sharing")
"""What is measured beside the time that the same kernel takes alone: nothing makes it shorter."""
