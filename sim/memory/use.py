"""What one rank's memory holds, in bytes, by what it is held for; and how much of it there is.

What the framework has allocated is one number, what the process takes from the GPU another: the caching allocator keeps
more than it gives out, and CUDA and NCCL have memory of their own.
"""

from dataclasses import dataclass

from sim.frameworks import Framework
from sim.plan import Plan
from sim.schedules import Action
from topologies.hardware import Cluster

HOLDINGS = (
    "weights",
    "gradients",
    "optimizer",
    "activations",
    "recomputation",
    "logits",
    "buffers",
    "workspace",
)
"""The fields of MemoryUse that are allocated, in the order in which they are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """Bytes on every rank of one pipeline rank at its worst moment, by what they hold.

    `activations` wait for their backward pass; `recomputation` is the one layer whose activations are made again while
    its gradients are; `logits` what the head keeps of them; `buffers` what communication needs: messages, buckets,
    gathered weights; `workspace` what a pass or the optimizer needs while it runs, and what libraries keep.
    `reserve` is what the process takes beyond all this. `action` is when: None is the optimizer's step.
    """

    weights: float
    gradients: float
    optimizer: float
    activations: float
    recomputation: float
    logits: float
    buffers: float
    workspace: float
    reserve: float
    action: Action | None

    @property
    def total(self) -> float:
        """Bytes allocated."""
        return sum(self.by_holding().values())

    @property
    def reserved(self) -> float:
        """Bytes that the process takes from the GPU for it."""
        return self.total + self.reserve

    def by_holding(self) -> dict[str, float]:
        """Allocated bytes by what they hold."""
        return {name: getattr(self, name) for name in HOLDINGS}


def reserve(framework: Framework, allocated: float) -> float:
    """Bytes beyond those allocated: the caching allocator's spare blocks, and what CUDA and NCCL take beside it."""
    return framework.allocator_reserve * allocated + framework.context_nbytes


def room(cluster: Cluster, plan: Plan) -> tuple[float, ...]:
    """Bytes of memory for each pipeline rank: those of the smallest GPU that it stands on."""
    ranks = (cluster.gpus_between(first, first + plan.stride - 1) for first in range(0, plan.num_gpus, plan.stride))
    return tuple(min(gpu.memory_nbytes for gpu in gpus) for gpus in ranks)
