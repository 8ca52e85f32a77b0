"""What waits in the host's memory: optimizer state whose step the CPUs take, and activations.

A GPU copies over its own PCIe slot, on a stream of its own beside its kernels; the CPUs of a node serve all its GPUs.
ZeRO-Offload sends gradients down as they come and new weights up while the rest is updated, so the update itself is
what is waited for [Ren et al. 2021, arXiv 2101.06840].
"""

from functools import lru_cache
from typing import Final

import topologies
from sim.costs import ELEMENT
from topologies.hardware import Gpu, Link, Node
from topologies.quantity import GIGA

HOST_PARAMETERS: Final = 3.9 * GIGA
"""Parameters that a host updates in a second: CPU-Adam takes 2.57 s for 10 billion on a DGX-2's two Xeon 8168, 1.03 s
for 4 billion [Ren et al. 2021, Table 4]. CPUs that read their memory faster do better."""
PCIE_SHARE: Final = 0.78
"""Of a slot's bandwidth, what a copy from pinned memory reaches: 12.36 of 15.75 GB/s [NVIDIA/nvbandwidth, README]."""
DEFAULT_SLOT: Final = "pcie4"
"""Where a GPU's sheet does not say how it is plugged in."""
ADAM_TILES: Final = 2
"""The host works on one half while the other is copied up [DeepSpeed, csrc/adam/cpu_adam.cpp, double buffer]."""


def copy_seconds(gpu: Gpu, nbytes: float) -> float:
    """Seconds to copy to the host, or back; both ways at once do not slow each other."""
    slot = _slot(gpu.pcie or DEFAULT_SLOT)
    return slot.latency + nbytes / (PCIE_SHARE * slot.bandwidth) if nbytes else 0.0


def optimizer_seconds(node: Node, num_parameters: float) -> float:
    """Seconds from the last gradient to the last new weight, where each GPU of a node has so many parameters' state.

    Gradients but the last went down behind the backward pass; then the update, or the copies of its weights up where
    those take longer, and the copy of what was updated last.
    """
    copied = copy_seconds(node.gpu, ELEMENT * num_parameters)
    updated = num_parameters * node.num_gpus / HOST_PARAMETERS
    return max(updated, copied) + copied / ADAM_TILES


@lru_cache
def _slot(name: str) -> Link:
    return topologies.link(name)
