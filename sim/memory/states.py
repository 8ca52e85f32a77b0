"""What a rank holds from the first step to the last: weights, gradients, the optimizer's state.

ZeRO [Rajbhandari et al. 2020] divides them over the ranks that would hold the same: 1 the optimizer's state, 2 the
gradients too, 3 the weights too. An expert's replicas are fewer than a dense weight's, so the two are counted apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sim.layers import stage as stage_of_model
from sim.layers.context import Context
from sim.layers.stage import Stage
from sim.plan import Plan
from sim.workload import Precision

COPIES_NBYTES: dict[Precision, float] = {"fp8": 2, "mxfp8": 2 * (1 + 1 / 32), "nvfp4": 2 * (1 / 2 + 1 / 16)}
"""Bytes of the quantised copies of a weight, with their scales: one along its rows for the forward product, one along
its columns for the input gradient [Transformer Engine, tensor/: rowwise and columnwise data of a quantised weight]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Parameters on one rank before anything is sharded, and how many ranks share each kind: `dense` of the first sort,
    `experts` of the second; `products` of both are in the layers, where the products run in the step's precision."""

    dense: int
    experts: int
    products: int
    dense_sharing: int
    expert_sharing: int

    @property
    def whole(self) -> int:
        return self.dense + self.experts

    @property
    def shared(self) -> float:
        """Parameters of which this rank looks after, where they are divided."""
        return self.dense / self.dense_sharing + self.experts / self.expert_sharing


def parameters_of(context: Context, plan: Plan, own: Sequence[Stage]) -> Parameters:
    """The parameters of a rank that has these stages."""
    whole = sum(stage_of_model.parameters(context, stage) for stage in own)
    experts = sum(stage_of_model.expert_parameters(context, stage) for stage in own)
    inner = (replace(stage, has_embedding=False, has_head=False) for stage in own)
    return Parameters(
        dense=whole - experts,
        experts=experts,
        products=sum(stage_of_model.parameters(context, stage) for stage in inner),
        dense_sharing=plan.num_sharing,
        expert_sharing=plan.expert_sharing,
    )


def weights(context: Context, plan: Plan, count: Parameters) -> float:
    """Bytes of the weights that are kept, and of their quantised copies.

    Weights that are gathered in fp8 are kept in nothing else than the two quantised copies.
    """
    framework, copies = context.framework, COPIES_NBYTES.get(context.precision, 0.0)
    is_shared = plan.zero == 3
    kept = count.shared if is_shared else count.whole
    products = count.products * kept / count.whole
    only_copies = copies > 0 and framework.weight_gather_nbytes == 1
    return framework.weight_nbytes * (kept - (products if only_copies else 0)) + copies * products


def gradients(context: Context, plan: Plan, count: Parameters) -> float:
    """Bytes of the gradients, as wide as the framework accumulates them."""
    return context.framework.gradient_nbytes * (count.shared if plan.zero >= 2 else count.whole)


def optimizer(context: Context, plan: Plan, count: Parameters) -> float:
    """Bytes of the optimizer's state; none where it waits in the host's memory."""
    if plan.offload in ("optimizer", "all"):
        return 0.0
    return context.framework.optimizer_nbytes * (count.shared if plan.zero else count.whole)


def optimizer_workspace(context: Context, plan: Plan, count: Parameters) -> float:
    """Bytes that the optimizer's step needs for itself: nothing fused; one by one, operations on lists of parameters
    make a list of fp32 results, as large as the weights [PyTorch, torch.optim: foreach takes sizeof(params) more]."""
    if context.framework.fused_optimizer or plan.offload in ("optimizer", "all"):
        return 0.0
    return 4.0 * (count.shared if plan.zero else count.whole)
