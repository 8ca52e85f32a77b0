"""All laws by operation: what `calibrate` can fit, and what the simulator takes its times from."""

from collections.abc import Mapping
from typing import Final

from sim.costs import attention, gemm, grouped_gemm, memory_bound, power, sharing
from sim.costs.collectives.all_to_all import LAWS as ALL_TO_ALL
from sim.costs.collectives.custom_all_reduce import LAWS as CUSTOM_ALL_REDUCE
from sim.costs.collectives.deepep import LAWS as DEEPEP
from sim.costs.collectives.nccl import LAWS as NCCL
from sim.costs.law import Law
from topologies.hardware import Cluster, Gpu

_KERNELS: Final[tuple[Law[Gpu], ...]] = (
    *gemm.LAWS,
    *grouped_gemm.LAWS,
    *attention.LAWS,
    attention.FORWARD,
    *memory_bound.LAWS,
    *power.LAWS,
    *sharing.LAWS,
)
_COLLECTIVES: Final[tuple[Law[Cluster], ...]] = (*NCCL, *ALL_TO_ALL, *CUSTOM_ALL_REDUCE, *DEEPEP)

KERNEL_LAWS: Final[Mapping[str, Law[Gpu]]] = {law.operation: law for law in _KERNELS}
"""What runs on one GPU."""

COLLECTIVE_LAWS: Final[Mapping[str, Law[Cluster]]] = {law.operation: law for law in _COLLECTIVES}
"""What runs on the links of a cluster."""
