"""How many layers each pipeline stage has.

The slowest stage sets the pace of a pipeline, so stages should cost the same. The first has the embedding besides and
the last the head, which for a large vocabulary is as much work as a layer or more.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby

from sim.models import Transformer
from sim.models.flops import head_flops, layer_flops
from sim.models.transformer import layer_kinds
from sim.plan.plan import Plan
from topologies.document import InputError

_HALVINGS = 64  # of the distance between what is too little for a stage and what is enough: down to rounding
_ROUNDING = 1e-9


def stage_layers(plan: Plan, num_layers: int) -> tuple[int, ...]:
    """Layers of each stage of the model: those given; else evenly; else as evenly as can be, embedding and loss counted
    as a layer each.

    So 126 layers on 16 stages are 7, 8, ..., 8, 7 [Megatron's account-for-embedding/loss-in-pipeline-split; Llama 3],
    and 61 are 3, 4, ..., 4, 2. Raises InputError where stages would be left without any.
    """
    if plan.layers is not None:
        return plan.layers
    return split_layers(num_layers, plan.num_stages) or balanced_layers([1.0] * num_layers, plan.num_stages, 1.0, 1.0)


def split_layers(num_layers: int, num_stages: int) -> tuple[int, ...] | None:
    """Layers of equal stages: evenly, or with embedding and loss counted as a layer each; None where neither divides.

    With one layer a stage, embedding and loss have their own.
    """
    if num_layers % num_stages == 0:
        return (num_layers // num_stages,) * num_stages
    each, rest = divmod(num_layers + 2, num_stages)
    if rest or not each:
        return None
    return (each - 1, *(each,) * (num_stages - 2), each - 1)


def split_note(plan: Plan, num_layers: int) -> str | None:
    """A sentence where the stages are unequal and nobody asked for it."""
    if plan.layers is not None or split_layers(num_layers, plan.num_stages):
        return None
    sizes = ", ".join(_runs(stage_layers(plan, num_layers)))
    why = f"{num_layers} layers, embedding and loss counted as one each, do not divide into {plan.num_stages} stages"
    return f"{why}: they have {sizes} (--layers says otherwise)."


def cost_balanced_layers(model: Transformer, num_stages: int, seq_len: int) -> tuple[int, ...]:
    """As `balanced_layers`, by the FLOPs of each layer and of the head; to look up an embedding costs none.

    Modules that predict further tokens [DeepSeek-V3] stand behind it: each a layer as the last one, and the head again.
    """
    costs = {kind: layer_flops(model, kind, seq_len) for kind in set(layer_kinds(model))}
    layers = [costs[kind] for kind in layer_kinds(model)]
    head = head_flops(model, seq_len)
    return balanced_layers(layers, num_stages, last=head + model.mtp_layers * (head + layers[-1]))


def balanced_layers(costs: Sequence[float], num_stages: int, first: float = 0.0, last: float = 0.0) -> tuple[int, ...]:
    """Layers of each stage so that the stage that costs most costs least; `first` and `last` are what the first and the
    last stage have beside layers.

    Of splits that are as good, the one whose stages, from the first on, come closest to an equal share of what is left,
    with fewer layers where two are as close. Only the first and the last stage may be without layers.
    Raises InputError where the layers are too few for that.
    """
    if len(costs) < num_stages - 2:
        fewer = f"use at most {len(costs) + 2}, of which the first has the embedding and the last the head"
        raise InputError(f"pp x vpp = {num_stages} stages are too many for {len(costs)} layers; {fewer}")
    ends = [0.0, *accumulate((first, *costs, last))]
    sizes = list(_dealt(ends, num_stages, _least_maximum(ends, num_stages)))
    sizes[0] -= 1
    sizes[-1] -= 1
    return tuple(sizes)


def _least_maximum(ends: Sequence[float], num_stages: int) -> float:
    """The least that the costliest stage can cost, by halving; `ends` are the sums of costs up to each part."""
    low, high = 0.0, ends[-1]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _is_enough(ends, num_stages, middle) else (middle, high)
    return high * (1 + _ROUNDING)


def _is_enough(ends: Sequence[float], num_stages: int, most: float) -> bool:
    """Whether all parts find room in stages that cost at most so much: each takes what it can, and the next goes on."""
    start = 0
    for _ in range(num_stages):
        start = _reach(ends, start, most)
    return start == len(ends) - 1


def _reach(ends: Sequence[float], start: int, most: float) -> int:
    """The part after the last that finds room in a stage which begins at `start`."""
    return bisect_right(ends, ends[start] + most) - 1


def _dealt(ends: Sequence[float], num_stages: int, most: float) -> Iterator[int]:
    """Parts of each stage, at least one and none beyond `most`, as close to an equal share as those after it allow."""
    count, start = len(ends) - 1, 0
    earliest = list(
        accumulate(range(num_stages), lambda later, _: bisect_left(ends, ends[later] - most), initial=count)
    )
    for left in range(num_stages, 0, -1):
        latest = min(_reach(ends, start, most), count - left + 1)
        choices = range(max(start + 1, earliest[left - 1]), latest + 1)
        share = ends[start] + (ends[-1] - ends[start]) / left
        after = bisect_left(ends, share, choices.start, choices.stop - 1)
        end = min(range(max(choices.start, after - 1), after + 1), key=lambda place: abs(ends[place] - share))
        yield end - start
        start = end


def _runs(sizes: Sequence[int]) -> Iterator[str]:
    """'3', '14 x 4', '2'."""
    for size, run in groupby(sizes):
        count = len(list(run))
        yield f"{count} x {size}" if count > 1 else str(size)
