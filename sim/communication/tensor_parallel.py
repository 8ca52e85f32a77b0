"""What tensor parallelism costs a transformer layer: its collectives beside its compute, by degree.

Each degree halves the products of a rank but not the bytes that its collectives carry: over NVLink that pays for a
while, over the network hardly ever. A layer is lowered and played as it is in a step at layer detail.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sim import layers
from sim.clock import clocked
from sim.costs.collectives import activity_of, alone
from sim.detail import condenser
from sim.frameworks import Framework
from sim.instructions import Collective, Compute
from sim.layers.context import COMPUTE, Context, Pass
from sim.layers.moe import kinds
from sim.lowering import Groups, inner_groups
from sim.models import Transformer
from sim.plan import Plan, check
from sim.training import context_of
from sim.workload import TrainingStep
from topologies.document import InputError
from topologies.hardware import Cluster

DEGREES: Final = (1, 2, 4, 8, 16, 32, 64)
ROUNDING: Final = 1e-12
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTime:
    """One layer of one microbatch on one rank of `tp`, forward and backward. `parts` are seconds by the keys of the
    breakdown (compute, exposed_tp, host, ...) and sum to `seconds`; `communication` are those of its collectives, each
    alone, overlapped or not, `nbytes` and `num_collectives` their sizes and number."""

    tp: int
    parts: Mapping[str, float]
    communication: float
    num_collectives: int
    nbytes: float

    @property
    def seconds(self) -> float:
        return sum(self.parts.values())

    @property
    def exposed(self) -> float:
        """Seconds in which the rank only waits for its collectives."""
        return self.parts.get("exposed_tp", 0.0)

    @property
    def share(self) -> float:
        """Of the layer's time, what is exposed communication."""
        return self.exposed / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Degrees:
    """The layer at each degree that the model and the cluster allow, and why not at the others."""

    times: tuple[LayerTime, ...]
    left_out: tuple[tuple[int, str], ...]


def by_degree(
    model: Transformer, cluster: Cluster, step: TrainingStep, framework: Framework, micro_batch: int
) -> Degrees:
    """The last layer of the model at every degree of DEGREES; the ranks are neighbours, node after node."""
    times, left_out = [], []
    for tp in DEGREES:
        try:
            times.append(layer_time(model, cluster, step, framework, micro_batch, tp))
        except InputError as error:
            left_out.append((tp, str(error)))
    return Degrees(times=tuple(times), left_out=tuple(left_out))


def layer_time(
    model: Transformer, cluster: Cluster, step: TrainingStep, framework: Framework, micro_batch: int, tp: int
) -> LayerTime:
    """The last layer at one degree, with sequence parallelism and nothing recomputed, at the clock that such layers
    sustain. Raises InputError where the degree is impossible."""
    plan = _plan(tp, micro_batch)
    check(plan, model, cluster, step.seq_len)
    sheet = context_of(model, cluster, plan, step, framework)
    at_clock = clocked(sheet, plan, cluster)
    context = context_of(model, at_clock, plan, step, framework)
    passes = _passes(context)
    groups = inner_groups(plan, 0)
    pieces = condenser(at_clock, framework, "layer").piece
    played = [pieces(name, work, groups)[COMPUTE] for name, work in passes.items()]
    parts: dict[str, float] = {}
    for one in (entry for block in played for entry in block):
        assert isinstance(one, Compute)
        for key, seconds in one.parts:
            if seconds > ROUNDING:
                parts[key] = parts.get(key, 0.0) + seconds
    meetings = [entry for work in passes.values() for block in work.values() for entry in block]
    return _told(tp, parts, [entry for entry in meetings if isinstance(entry, Collective)], at_clock, groups)


def _told(
    tp: int, parts: Mapping[str, float], meetings: Sequence[Collective], cluster: Cluster, groups: Groups
) -> LayerTime:
    members = dict(groups)
    return LayerTime(
        tp=tp,
        parts=parts,
        communication=sum(alone(cluster, activity_of(cluster, members[one.group], one)) for one in meetings),
        num_collectives=len(meetings),
        nbytes=sum(one.nbytes for one in meetings),
    )


def _plan(tp: int, micro_batch: int) -> Plan:
    return Plan(
        tp=tp,
        sp=tp > 1,
        pp=1,
        vpp=1,
        dp=1,
        zero=0,
        recompute="none",
        schedule="1f1b",
        micro_batch=micro_batch,
        global_batch=micro_batch,
    )


def _passes(context: Context) -> Mapping[str, Pass]:
    last = replace(context, kind=kinds(context)[-1])
    return {"layer forward": layers.forward(last), "layer backward": layers.backward(last)}
