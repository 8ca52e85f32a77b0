"""What cannot be: a kernel that multiplies faster than the peak, a collective faster than its wires.

Measurements that say so are in another unit, or of something else; a fit to them would be wrong everywhere.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from calibrate import subjects
from calibrate.samples import Samples
from sim.costs.law import Array, Points
from topologies.document import InputError
from topologies.hardware import Gpu
from topologies.quantity import MICROSECOND

TOLERANCE = 1.05
"""A data sheet rounds, a clock may boost beyond what it promises, and a timer is not exact."""
SHORTEST = 0.2 * MICROSECOND
"""No kernel of a GPU is shorter: its launch alone takes longer."""


def broken(samples: Samples) -> Iterator[str]:
    """A line for each row that is faster than the part can be."""
    least = np.maximum(least_seconds(samples) / TOLERANCE, SHORTEST)
    for index in np.flatnonzero(samples.seconds < least):
        yield (
            f"row {samples.rows[index]}: {samples.operation}: {_us(samples.seconds[index])} is faster than "
            f"{samples.part} can be ({_us(least[index])}); is the time in microseconds, and the GPU right?"
        )


def least_seconds(samples: Samples) -> Array:
    """What each point takes at the peaks of the data sheet; 0 where no limit is known."""
    family = samples.operation.partition(" ")[0]
    try:
        if family == "nccl":
            return _on_wires(samples)
        if family in _KERNELS:
            return _KERNELS[family](subjects.gpu_of(samples, {}), samples.operation, samples.points)
    except InputError:  # what is not in the catalogue is told where it is fitted
        pass
    return np.zeros(len(samples))


def _products(gpu: Gpu, operation: str, points: Points) -> Array:
    """2 m n k at the peak of the operands."""
    return 2 * points["m"] * points["n"] * points["k"] / _peak(gpu, operation)


def _on_wires(samples: Samples) -> Array:
    """What a member lacks, (n-1)/n of the size, over its own link; or what a node lacks, over its NICs."""
    cluster, points = subjects.cluster_of(samples, {}), samples.points
    node, several = cluster.node, points["num_nodes"] > 1
    inside = points["nbytes"] * (1 - 1 / points["num_gpus"]) / node.scale_up.bandwidth
    if node.nic is None:
        return inside
    between = points["nbytes"] * (1 - 1 / points["num_nodes"]) / (node.nic.bandwidth * node.num_nics)
    return np.where(several, between, inside)


def _peak(gpu: Gpu, operation: str) -> float:
    """The fastest dense rate that the name of an operation may mean."""
    return gpu.peak_flops.get(operation.split()[-1]) or max(gpu.peak_flops.values())


def _us(seconds: float) -> str:
    return f"{seconds / MICROSECOND:.4g} us"


_KERNELS: Mapping[str, Callable[[Gpu, str, Points], Array]] = {"gemm": _products}
