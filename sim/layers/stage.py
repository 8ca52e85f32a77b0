"""A pipeline stage: its layers, before the first the embedding, after the last the head.

Its passes are lists of pieces (embedding, layer, layer, ..., head). Layers of one kind share their piece, so each kind
is costed once; stages with the same kinds are equal, so each such stage is too.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from sim import layers
from sim.costs import ELEMENT
from sim.layers import embedding, head, moe, mtp
from sim.layers.context import Context, Pass, collective_of, compute_pass
from sim.models.transformer import LayerKind
from sim.plan import Plan, stage_layers

Number = TypeVar("Number", int, float)


class Weights(NamedTuple):
    """Parameters of one rank: those whose gradients are summed over all replicas, and those of its experts."""

    dense: int
    experts: int


class Piece(NamedTuple):
    """A part of a stage's pass, with its name, the weights that it needs, and the bytes that a layer keeps between its
    forward and its backward pass."""

    name: str
    work: Pass
    weights: Weights
    saved_nbytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One global stage, its layers by their kinds, of which the first `num_recomputed` are computed again.

    `gathers_input`: the tp ranks were sent 1/tp of the activation each, and put it together.
    """

    kinds: tuple[LayerKind, ...]
    num_recomputed: int
    has_embedding: bool
    has_head: bool
    gathers_input: bool


def stages(context: Context, plan: Plan) -> tuple[Stage, ...]:
    """All stages of the model, first to last."""
    kinds = iter(moe.kinds(context))
    sizes = stage_layers(plan, context.model.num_layers)
    cuts_messages = context.framework.scatter_gather_pipeline and context.tp > 1 and not context.sp
    return tuple(
        Stage(
            kinds=tuple(itertools.islice(kinds, size)),
            num_recomputed=size if plan.recompute_layers is None else min(size, plan.recompute_layers),
            has_embedding=index == 0,
            has_head=index == len(sizes) - 1,
            gathers_input=len(sizes) > 1 and cuts_messages,
        )
        for index, size in enumerate(sizes)
    )


def message_nbytes(context: Context) -> float:
    """Bytes that one tp rank sends to the next stage: the whole activation, or its part of it."""
    cut = context.sp or context.framework.scatter_gather_pipeline
    return ELEMENT * context.hidden_elements / (context.tp if cut else 1)


def forward(context: Context, stage: Stage) -> Iterator[Piece]:
    """The pieces of a forward pass."""
    if stage.has_embedding:
        yield Piece("embedding forward", embedding.forward(context), Weights(embedding.parameters(context), 0))
    elif stage.gathers_input:
        yield Piece("input gather", _gather(context, "pipeline input gather"), Weights(0, 0))
    yield from _of_layers(context, stage, "forward", layers.forward)
    if stage.has_head:
        yield Piece("head forward", head.forward(context), _head_weights(context, stage))
        if context.model.mtp_layers:
            yield Piece("prediction forward", mtp.forward(_last(context)), _mtp_weights(context))


def backward(context: Context, stage: Stage) -> Iterator[Piece]:
    """The pieces of a backward pass, or of the half of it that the context means, last layer first."""
    if stage.has_head:
        if context.model.mtp_layers:
            yield Piece("prediction backward", mtp.backward(_last(context)), _mtp_weights(context))
        yield Piece("head backward", head.backward(context), _head_weights(context, stage))
    elif stage.gathers_input and context.half != "weight":
        yield Piece("gradient gather", _gather(context, "pipeline gradient gather"), Weights(0, 0))
    yield from reversed(list(_of_layers(context, stage, "backward", layers.backward)))
    if stage.has_embedding and context.half != "input":
        yield Piece("embedding backward", embedding.backward(context), Weights(embedding.parameters(context), 0))


def saved_nbytes(context: Context, stage: Stage) -> float:
    """Bytes of activations that the stage keeps of one microbatch from its forward to its backward."""
    return _sum_of_layers(context, stage, layers.saved_nbytes) + _saved_at_ends(context, stage)


def saved_for_weights_nbytes(context: Context, stage: Stage) -> float:
    """Bytes of them that stay until the weight gradients, where those come apart."""
    ends = 0.0
    if stage.has_head:
        ends = head.saved_for_weights_nbytes(context) + mtp.saved_for_weights_nbytes(_last(context))
    if stage.has_embedding:
        ends += embedding.saved_for_weights_nbytes(context)
    return _sum_of_layers(context, stage, layers.saved_for_weights_nbytes) + ends


def parameters(context: Context, stage: Stage) -> int:
    """Parameters of the stage on one rank, its experts' too; a tied output matrix is a second copy where the stages are
    not one."""
    count = _sum_of_layers(context, stage, layers.parameters)
    if stage.has_embedding:
        count += embedding.parameters(context)
    if stage.has_head:
        count += _head_weights(context, stage).dense + sum(_mtp_weights(context))
    return count


def expert_parameters(context: Context, stage: Stage) -> int:
    """Those of them that belong to experts."""
    prediction = _mtp_weights(context).experts if stage.has_head else 0
    return _sum_of_layers(context, stage, layers.expert_parameters) + prediction


def replicated_parameters(context: Context, stage: Stage) -> int:
    """Parameters of the stage that every tp rank holds whole, but for learned positions: their gradient is of all
    tokens, as the embedding's backward gathers it."""
    ends = 0
    if stage.has_head:
        ends = head.final_norm_parameters(context) + mtp.replicated_parameters(_last(context))
    return _sum_of_layers(context, stage, layers.replicated_parameters) + ends


def weight_casts(context: Context, stage: Stage) -> Pass:
    """Once a step, the casts of the stage's weights to the precision of its products."""
    return compute_pass(entry for one in _contexts(context, stage) for entry in layers.weight_casts(one))


def _saved_at_ends(context: Context, stage: Stage) -> float:
    first = embedding.saved_nbytes(context) if stage.has_embedding else 0.0
    if not stage.has_head:
        return first
    prediction = mtp.saved_nbytes(_last(context)) if context.model.mtp_layers else 0.0
    return first + head.saved_nbytes(context) + prediction


def _head_weights(context: Context, stage: Stage) -> Weights:
    """Multi-token prediction looks tokens up once more, in a copy of the embedding where that is on another stage."""
    tied = context.model.tied_embedding
    matrix = 0 if tied and stage.has_embedding else head.matrix_parameters(context)
    copies = context.model.mtp_layers > 0 and not stage.has_embedding and not tied
    lookup = embedding.parameters(context) if copies else 0
    return Weights(head.final_norm_parameters(context) + matrix + lookup, 0)


def _mtp_weights(context: Context) -> Weights:
    if not context.model.mtp_layers:
        return Weights(0, 0)
    last = _last(context)
    experts = layers.expert_parameters(last) * context.model.mtp_layers
    return Weights(mtp.parameters(last) - experts, experts)


def _last(context: Context) -> Context:
    """A layer that predicts one token more is of the kind of the last."""
    return replace(context, kind=moe.kinds(context)[-1])


def _gather(context: Context, name: str) -> Pass:
    return compute_pass(collective_of(context, name, "all_gather", context.hidden_nbytes))


def _of_layers(context: Context, stage: Stage, direction: str, layer: Callable[[Context], Pass]) -> Iterator[Piece]:
    """A piece per layer; equal layers share it."""
    made: dict[Context, Piece] = {}
    for one in _contexts(context, stage):
        if one not in made:
            made[one] = Piece(_name(one.kind, direction), layer(one), _layer_weights(one), layers.saved_nbytes(one))
        yield made[one]


def _contexts(context: Context, stage: Stage) -> Iterator[Context]:
    """What each layer of the stage knows of itself."""
    different: dict[tuple[LayerKind, bool], Context] = {}
    for index, kind in enumerate(stage.kinds):
        key = kind, index < stage.num_recomputed
        if key not in different:
            different[key] = replace(context, kind=kind, recompute=context.recompute if key[1] else "none")
        yield different[key]


def _layer_weights(context: Context) -> Weights:
    experts = layers.expert_parameters(context)
    return Weights(layers.parameters(context) - experts, experts)


def _name(kind: LayerKind, direction: str) -> str:
    return f"{'window ' if kind.window else ''}{'expert ' if kind.has_experts else ''}layer {direction}"


def _sum_of_layers(context: Context, stage: Stage, quantity: Callable[[Context], Number]) -> Number:
    """A quantity of each different layer, times the layers that are like it."""
    each = list(_contexts(context, stage))
    counts = Counter(map(id, each))  # equal layers share one context, and to hash it takes longer than all else
    return sum(counts[id(one)] * quantity(one) for one in {id(one): one for one in each}.values())
