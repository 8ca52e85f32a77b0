"""What a rank does when its last microbatch is through: finish the gradients, step the optimizer, hand out weights."""

from collections.abc import Sequence
from dataclasses import dataclass

from sim.costs import memory_bound
from sim.costs.memory_bound import AdamWidths, adam
from sim.costs.offload import optimizer_seconds
from sim.instructions import Block, Collective, Compute, Wait
from sim.layers import stage as stage_of_model
from sim.layers.context import Context, streaming
from sim.layers.head import matrix_parameters
from sim.layers.stage import Stage, Weights
from sim.lowering.weights import Sharding
from sim.plan import Plan, has_two_models
from topologies.hardware import Node

DONE = "gradients done"
"""The flag that the stream of gradients sets when it has nothing more to do."""

NORM_NBYTES = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EndOfStep:
    """The end of a rank's step, in the order of Megatron-Core's finalize_model_grads and its optimizer."""

    context: Context
    plan: Plan
    sharding: Sharding
    node: Node
    num_models: int

    def block(self, own: Sequence[Stage], *, reduced: bool, gathers: bool) -> Block:
        """`own` are the rank's stages. `reduced`: gradients were summed behind the passes; `gathers`: new weights are
        handed out now, and not ahead of the next step's first pass."""
        weights = self._weights(own)
        summed = (Wait(DONE),) if reduced else self.sharding.all_at_once(weights)
        return (
            *summed,
            *self._sum_over_models(weights),
            *self._sum_replicated(own),
            *self._sum_tied_embedding(own),
            *self._norm(),
            *self._update(weights),
            *(self.sharding.gather(weights) if gathers else ()),
            *self._host(),
        )

    def _weights(self, own: Sequence[Stage]) -> Weights:
        count = sum(stage_of_model.parameters(self.context, stage) for stage in own)
        experts = sum(stage_of_model.expert_parameters(self.context, stage) for stage in own)
        return Weights(count - experts, experts)

    def _sum_over_models(self, weights: Weights) -> Block:
        """Where a pipeline holds two models (DualPipe), the ranks that have the same stages add up their gradients."""
        if not has_two_models(self.plan):
            return ()
        share = self._share(weights)
        nbytes = self.context.framework.gradient_reduce_nbytes * share
        return (Collective(name="gradient sum", axis="dp", group="mirror", operation="all_reduce", nbytes=nbytes),)

    def _sum_replicated(self, own: Sequence[Stage]) -> Block:
        """With sequence parallelism a tp rank has the gradients of its tokens only where parameters are not cut
        [Megatron-LM, allreduce_sequence_parallel_gradients]."""
        if not self.context.sp:
            return ()
        count = sum(stage_of_model.replicated_parameters(self.context, stage) for stage in own)
        nbytes = float(self.context.framework.gradient_nbytes * count)
        return (Collective(name="norm gradient sum", axis="tp", group="tp", operation="all_reduce", nbytes=nbytes),)

    def _sum_tied_embedding(self, own: Sequence[Stage]) -> Block:
        """First and last pipeline rank hold the embedding each where it is the output matrix too, or where the last
        predicts more than one token; they add up its gradients."""
        model = self.context.model
        ends = any(stage.has_embedding for stage in own) != any(stage.has_head for stage in own)
        if self.plan.pp == 1 or not (model.tied_embedding or model.mtp_layers) or not ends:
            return ()
        nbytes = float(self.context.framework.gradient_reduce_nbytes * matrix_parameters(self.context))
        return (
            Collective(name="tied embedding sum", axis="dp", group="embedding", operation="all_reduce", nbytes=nbytes),
        )

    def _norm(self) -> Block:
        """The gradients' norm is of the whole model: all pipeline ranks meet here and add up their squares."""
        if self.plan.pp == 1:
            return ()
        return (Collective(name="gradient norm", axis="dp", group="pp", operation="all_reduce", nbytes=NORM_NBYTES),)

    def _update(self, weights: Weights) -> Block:
        context, framework = self.context, self.context.framework
        share = self._share(weights)
        if self.plan.offload in ("optimizer", "all"):
            seconds = optimizer_seconds(self.node, share)
            return (Compute(name="optimizer on the host", duration=seconds, category="optimizer"),)
        if framework.fused_optimizer:
            seconds = memory_bound.optimizer(context.gpu, share, context.precision, framework.gradient_nbytes)
        else:
            widths = AdamWidths(
                gradient=framework.gradient_nbytes,
                working=0 if framework.weight_nbytes == 4 else framework.weight_nbytes,
            )
            seconds = adam(context.gpu, share, widths, fused=False)
        return (streaming(context.gpu, "optimizer", seconds, "optimizer"),)

    def _share(self, weights: Weights) -> float:
        """Parameters that this rank's optimizer updates."""
        if not self.plan.zero:
            return float(sum(weights))
        return weights.dense / self.plan.num_sharing + weights.experts / self.plan.expert_sharing

    def _host(self) -> Block:
        """What the host does between two steps while no kernel runs."""
        seconds = self.context.framework.host_seconds
        return (Compute(name="host", duration=seconds, category="host"),) if seconds else ()
