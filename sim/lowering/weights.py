"""Weights and gradients over the replicas, on a stream of their own beside the passes.

ZeRO 1: a rank updates its share of the weights; gradients are reduce-scattered, new weights gathered. The collectives
of large buckets run behind the backward pass of the last microbatch and ahead of the first forward. ZeRO 3 (FSDP) keeps
only the share: the weights of each layer are gathered some layers ahead of every pass, its gradients reduced behind it
[Rajbhandari et al. 2020; Zhao et al. 2023]. With HSDP the shares are summed over the groups that hold the same ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sim.costs import ELEMENT, memory_bound
from sim.costs.compression import Kernel, OnWire, int8, low_rank
from sim.frameworks import Framework
from sim.instructions import Block, Collective, CollectiveOperation, Compute, Record, Wait
from sim.layers.context import Context, streaming
from sim.layers.stage import Weights
from sim.lowering.parts import Part
from sim.plan import Axis, Plan, spans
from topologies.hardware import Gpu

DP: Final = "dp"
"""The ranks over which gradients are summed, and the stream that gathers weights and reduces gradients."""

EDP: Final = "edp"
"""The ranks over which an expert's are."""

MAGNITUDES_NBYTES: Final = 4 * 3 * 4
"""Of a layer: fp32, three tensors for each of four products."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """How a plan's weights and gradients are spread over the replicas, as a framework does it on a kind of GPU; `width`
    is that of the model's matrices."""

    plan: Plan
    framework: Framework
    gpu: Gpu
    width: int

    @property
    def has_replicas(self) -> bool:
        """Whether any weights are on several ranks, or spread over them."""
        return max(self.plan.num_replicas, self.plan.expert_dp) > 1

    @property
    def by_layer(self) -> bool:
        """Whether each layer is gathered for each pass, and reduced behind each backward pass."""
        return self.plan.zero == 3 and self.has_replicas

    @property
    def reduces_always(self) -> bool:
        """Whether every backward pass reduces its gradients, and not the last alone."""
        return self.plan.zero >= 2 and self.has_replicas

    def gathered(self, parts: Sequence[Part], direction: str) -> tuple[list[Part], Block]:
        """The parts of a pass that wait for their weights, and what the stream of weights does: with ZeRO 3 each part's
        are asked for `prefetch` parts ahead."""
        needing = [index for index, part in enumerate(parts) if any(part.weights)]
        asks: dict[int, list[Record]] = {}
        waits: dict[int, Block] = {}
        stream: list[Block] = []
        for place, index in enumerate(needing):
            ask, have = f"{direction} weights {index} asked", f"{direction} weights {index} here"
            asks.setdefault(needing[max(0, place - self.framework.prefetch)], []).append(Record(ask))
            waits[index] = (Wait(have),)
            times = 2 if self._gathers_again(direction) else 1
            stream.append((Wait(ask), *self.gather(parts[index].weights) * times, Record(have)))
        made = [
            part._replace(before=(*asks.get(index, ()), *waits.get(index, ()), *part.before))
            for index, part in enumerate(parts)
        ]
        return made, tuple(entry for block in stream for entry in block)

    def _gathers_again(self, direction: str) -> bool:
        """Whether a backward pass gathers weights twice: for what it recomputes, and for the gradients."""
        return self.framework.regather_recompute and self.plan.recompute == "full" and direction[0] in "BI"

    def reduced(self, parts: Sequence[Part], direction: str) -> tuple[list[Part], Block]:
        """The parts of a backward pass that hand their gradients over, bucket by bucket (with ZeRO 3: each part), and
        what the stream of gradients does."""
        made, stream = list(parts), []
        for number, (last, weights) in enumerate(self._buckets(parts)):
            ready = f"{direction} gradients {number} ready"
            kernels = (*self._scale(weights), *self._kernels(weights))
            made[last] = made[last]._replace(after=(*made[last].after, *kernels, Record(ready)))
            stream.append((Wait(ready), *self.reduce(weights)))
        return made, tuple(entry for block in stream for entry in block)

    def ahead(self, parts: Sequence[Part], direction: str) -> tuple[list[Part], Block]:
        """The parts of the first forward pass that wait for their bucket of new weights; all are gathered as the step
        begins."""
        made, stream = list(parts), []
        backwards = list(self._buckets(parts[::-1]))
        for number, (last, weights) in enumerate(reversed(backwards)):
            first, here = len(parts) - 1 - last, f"{direction} bucket {number} here"
            made[first] = made[first]._replace(before=(Wait(here), *made[first].before))
            stream.append((*self.gather(weights), Record(here)))
        return made, tuple(entry for block in stream for entry in block)

    def gather(self, weights: Weights) -> Block:
        """New weights from all that share them."""
        nbytes = self.framework.weight_gather_nbytes
        return (
            *self._over(self._sharing, "weight gather", "all_gather", nbytes * weights.dense),
            *self._over(self._expert_sharing, "expert weight gather", "all_gather", nbytes * weights.experts),
        )

    def reduce(self, weights: Weights) -> Block:
        """Gradients summed over the replicas: each rank keeps its share, or all where the optimizer is not shared."""
        nbytes, plan = self.framework.gradient_reduce_nbytes, self.plan
        if plan.compression != "none":
            return tuple(
                Collective(name=step.name, axis="dp", group=group, operation=step.operation, nbytes=step.nbytes)
                for group, step in self._compressed(weights)
                if isinstance(step, OnWire)
            )
        operation: CollectiveOperation = "reduce_scatter" if plan.zero else "all_reduce"
        name, dense, experts = _SHORT[operation], float(nbytes * weights.dense), float(nbytes * weights.experts)
        return (
            *self._over(self._sharing if plan.zero else DP, f"gradient {name}", operation, dense),
            *self._across("replica", "share sum", dense / plan.num_sharing),
            *self._over(self._expert_sharing if plan.zero else EDP, f"expert gradient {name}", operation, experts),
            *self._across("ereplica", "expert share sum", experts / plan.expert_sharing),
        )

    def _across(self, group: Axis, name: str, nbytes: float) -> Block:
        """With HSDP, the sum of shares over those that hold the same ones."""
        return self._over(group, name, "all_reduce", nbytes) if self.plan.zero and self.plan.shard else ()

    def _compressed(self, weights: Weights) -> Iterator[tuple[Axis, Kernel | OnWire]]:
        """How gradients are summed that are made smaller on the wire: kernels and collectives, with their group."""
        plan = self.plan
        counts: dict[Axis, tuple[int, int]] = {
            DP: (weights.dense, plan.num_replicas),
            EDP: (weights.experts, plan.expert_dp),
        }
        for group, (count, ranks) in counts.items():
            if ranks == 1 or not count:
                continue
            if plan.compression == "int8":
                steps = int8(self.gpu, count, ranks, self.framework.gradient_nbytes, scattered=plan.zero > 0)
            else:
                steps = low_rank(self.gpu, count, self.width)
            yield from ((group, step) for step in steps)

    def _kernels(self, weights: Weights) -> Block:
        """What it takes to make gradients smaller, and whole again: on the compute stream, where the HBM is used."""
        if self.plan.compression == "none":
            return ()
        steps = (step for _, step in self._compressed(weights))
        return tuple(streaming(self.gpu, step.name, step.seconds) for step in steps if isinstance(step, Kernel))

    def all_at_once(self, weights: Weights) -> Block:
        """The same at the end of the step, exposed, with what scales and compresses the gradients before."""
        return (*self._scale(weights), *self._kernels(weights), *self.reduce(weights))

    @property
    def _sharing(self) -> Axis:
        return "shard" if self.plan.shard else DP

    @property
    def _expert_sharing(self) -> Axis:
        return "eshard" if self.plan.shard else EDP

    def _over(self, group: Axis, name: str, operation: CollectiveOperation, nbytes: float) -> Block:
        """A collective over a group of replicas; nothing where there is nothing to do."""
        _, size = spans(self.plan)[group]
        if size == 1 or not nbytes:
            return ()
        pieces = self.framework.collectives_per_layer if self.by_layer else 1
        piece = Collective(name=name, axis="dp", group=group, operation=operation, nbytes=nbytes / pieces)
        return (piece, *self._shares_copied(name, size, nbytes / pieces)) * pieces

    def _shares_copied(self, name: str, size: int, nbytes: float) -> Block:
        """Each rank's share of a collective copied by a kernel of its own, after it or before: the host starts them one
        by one, and most are done before the next is there."""
        if not (self.by_layer and self.framework.copies_each_share):
            return ()
        each = max(self.framework.launch_seconds, memory_bound.kernel(self.gpu, "copy", nbytes / size / ELEMENT))
        return (Compute(name=f"{name} copies", duration=size * each),)

    def _scale(self, weights: Weights) -> Block:
        """Gradients are copied together and cast where a framework does so, and divided by the number of replicas."""
        if not self.has_replicas or not any(weights):
            return ()
        framework = self.framework
        seconds = memory_bound.gradient_scale(
            self.gpu, sum(weights), framework.gradient_nbytes, framework.gradient_copy_nbytes
        )
        return (streaming(self.gpu, "gradient scale", seconds, "optimizer"),)

    def _buckets(self, parts: Sequence[Part]) -> Iterator[tuple[int, Weights]]:
        """Buckets of a backward pass in its order: the part that fills each, and what it holds."""
        framework, replicas = self.framework, self.plan.num_replicas
        each = max(framework.bucket_parameters, framework.bucket_parameters_per_replica * replicas)
        dense = experts = last = 0
        for index, part in enumerate(parts):
            dense, experts = dense + part.weights.dense, experts + part.weights.experts
            last = index if any(part.weights) else last
            if (dense or experts) and (self.by_layer or dense + experts >= each):
                yield last, Weights(dense, experts)
                dense = experts = 0
        if dense or experts:
            yield last, Weights(dense, experts)


def agreed_magnitudes(context: Context, plan: Plan, num_layers: int) -> Block:
    """After a pass in fp8 with delayed scaling: all ranks that have the same layers agree on the largest magnitude of
    each tensor that was cast [Transformer Engine, fp8.py, reduce_and_update_fp8_tensors; Megatron-Core,
    parallel_state.py, get_amax_reduction_group: over tp, cp and dp]. Here over tp, then over the replicas."""
    if context.precision != "fp8" or context.framework.fp8_scaling != "delayed" or not num_layers:
        return ()
    nbytes = float(MAGNITUDES_NBYTES * num_layers)
    operation: CollectiveOperation = "all_reduce"
    over_tp = Collective(name="largest magnitudes", axis="tp", group="tp", operation=operation, nbytes=nbytes)
    over_dp = Collective(name="largest magnitudes", axis="dp", group=DP, operation=operation, nbytes=nbytes)
    return (*((over_tp,) if plan.tp > 1 else ()), *((over_dp,) if plan.num_replicas > 1 else ()))


_SHORT = {"reduce_scatter": "reduce-scatter", "all_reduce": "sum"}
