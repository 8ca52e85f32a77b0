"""Memory that communication needs: messages of the pipeline, gathered weights, buckets of gradients, user buffers."""

from collections.abc import Sequence
from dataclasses import replace

from sim import layers
from sim.costs import ELEMENT
from sim.layers import stage as stage_of_model
from sim.layers.context import Context
from sim.layers.stage import Stage
from sim.memory.states import Parameters
from sim.plan import Plan

USER_BUFFERS = 8
"""Whole activations in user buffers: of four products of a layer forward and backward [Transformer Engine,
module/base.py, initialize_ub: one for qkv, proj, fc1, fc2, each fprop and dgrad]."""


def communication(context: Context, plan: Plan, own: Sequence[Stage], count: Parameters) -> float:
    """Bytes of all of them on a rank that has these stages."""
    user = USER_BUFFERS * context.hidden_nbytes if context.framework.overlap_tp and context.tp > 1 else 0.0
    return _messages(context, plan) + _gathered(context, plan, own, count) + _buckets(context, plan, own, count) + user


def _messages(context: Context, plan: Plan) -> float:
    """One that comes, one that goes."""
    return 2 * stage_of_model.message_nbytes(context) if plan.pp > 1 else 0.0


def _gathered(context: Context, plan: Plan, own: Sequence[Stage], count: Parameters) -> float:
    """With ZeRO 3 the whole weights of the layer at work and of those fetched ahead of it; of embedding and head all
    the time, and of all layers where they are not given back after the forward pass [PyTorch, fully_shard: the root
    keeps its parameters from forward to backward]."""
    if plan.zero < 3:
        return 0.0
    ahead = (context.framework.prefetch + 1) * _largest_layer(context, own)
    inner = min(ahead, count.products) if context.framework.reshard_after_forward else count.products
    return context.framework.weight_gather_nbytes * inner + ELEMENT * (count.whole - count.products)


def _buckets(context: Context, plan: Plan, own: Sequence[Stage], count: Parameters) -> float:
    """Gradients that are not yet where they are kept.

    ZeRO 3: those of a layer, and the same on its way through the reduction. ZeRO 2: a bucket, two where one is filled
    while another is reduced. Else a bucket, where gradients are summed in another width than they are kept.
    """
    framework = context.framework
    if plan.zero == 3:
        return (ELEMENT + framework.gradient_reduce_nbytes) * _largest_layer(context, own)
    most = max(framework.bucket_parameters, framework.bucket_parameters_per_replica * plan.num_replicas)
    bucket = framework.gradient_reduce_nbytes * min(most, count.whole)
    if plan.zero == 2:
        return bucket * (2 if framework.overlap_grad_reduce else 1)
    is_other = framework.gradient_reduce_nbytes != framework.gradient_nbytes
    return bucket if is_other and plan.num_replicas > 1 else 0.0


def _largest_layer(context: Context, own: Sequence[Stage]) -> int:
    kinds = {kind for stage in own for kind in stage.kinds}
    return max((layers.parameters(replace(context, kind=kind)) for kind in kinds), default=0)
