"""A pipeline stage: its layers, before the first the embedding, after the last the head.

Its passes are lists of pieces (embedding, layer, layer, ..., head). Layers of one kind share their piece, so each kind
is costed once; stages with the same kinds are equal, so each such stage is too.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from sim import layers
from sim.costs import ELEMENT
from sim.layers import embedding, head
from sim.layers.context import Context, Pass, collective_of, compute_pass
from sim.models.transformer import LayerKind, layer_kinds
from sim.plan import Plan, stage_layers

Piece = tuple[str, Pass]
"""A part of a stage's pass, with its name."""

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One global stage, its layers by their kinds.

    `gathers_input`: the tp ranks were sent 1/tp of the activation each, and put it together.
    """

    kinds: tuple[LayerKind, ...]
    has_embedding: bool
    has_head: bool
    gathers_input: bool


def stages(context: Context, plan: Plan) -> tuple[Stage, ...]:
    """All global stages of the model, first to last."""
    kinds = iter(layer_kinds(context.model))
    sizes = stage_layers(plan, context.model.num_layers)
    return tuple(
        Stage(
            kinds=tuple(itertools.islice(kinds, size)),
            has_embedding=index == 0,
            has_head=index == len(sizes) - 1,
            gathers_input=len(sizes) > 1 and context.framework.scatter_gather_pipeline and not context.sp,
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
        yield "embedding forward", embedding.forward(context)
    elif stage.gathers_input:
        yield "input gather", _gather(context, "pipeline input gather")
    yield from _pieces(context, "forward", layers.forward, stage.kinds)
    if stage.has_head:
        yield "head forward", head.forward(context)


def backward(context: Context, stage: Stage) -> Iterator[Piece]:
    """The pieces of a backward pass, last layer first."""
    if stage.has_head:
        yield "head backward", head.backward(context)
    elif stage.gathers_input:
        yield "gradient gather", _gather(context, "pipeline gradient gather")
    yield from _pieces(context, "backward", layers.backward, stage.kinds[::-1])
    if stage.has_embedding:
        yield "embedding backward", embedding.backward(context)


def saved_nbytes(context: Context, stage: Stage) -> float:
    """Bytes of activations that the stage keeps of one microbatch from its forward to its backward."""
    ends = (embedding.saved_nbytes(context) if stage.has_embedding else 0.0) + (
        head.saved_nbytes(context) if stage.has_head else 0.0
    )
    return _sum_of_layers(context, stage, layers.saved_nbytes) + ends


def parameters(context: Context, stage: Stage) -> int:
    """Parameters of the stage on one tp rank; a tied output matrix is a second copy where the stages are not one."""
    count = _sum_of_layers(context, stage, layers.parameters)
    if stage.has_embedding:
        count += embedding.parameters(context)
    if stage.has_head:
        own_matrix = not (context.model.tied_embedding and stage.has_embedding)
        count += head.final_norm_parameters(context) + (head.matrix_parameters(context) if own_matrix else 0)
    return count


def replicated_parameters(context: Context, stage: Stage) -> int:
    """Parameters of the stage that every tp rank holds whole, but for learned positions: their gradient is of all
    tokens, as the embedding's backward gathers it."""
    final_norm = head.final_norm_parameters(context) if stage.has_head else 0
    return _sum_of_layers(context, stage, layers.replicated_parameters) + final_norm


def _gather(context: Context, name: str) -> Pass:
    return compute_pass(collective_of(context, name, "all_gather", context.hidden_nbytes))


def _pieces(
    context: Context, direction: str, layer: Callable[[Context], Pass], kinds: Sequence[LayerKind]
) -> Iterator[Piece]:
    """A piece per layer; layers of one kind share it."""
    made = {kind: (_name(kind, direction), layer(replace(context, kind=kind))) for kind in dict.fromkeys(kinds)}
    return (made[kind] for kind in kinds)


def _name(kind: LayerKind, direction: str) -> str:
    return f"{'window ' if kind.window else ''}{'expert ' if kind.has_experts else ''}layer {direction}"


def _sum_of_layers(context: Context, stage: Stage, quantity: Callable[[Context], Number]) -> Number:
    """A quantity of each kind of layer, times the layers of that kind."""
    counts = Counter(stage.kinds)
    return sum(count * quantity(replace(context, kind=kind)) for kind, count in counts.items())
