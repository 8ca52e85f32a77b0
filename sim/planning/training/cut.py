"""How the layers of a model are cut into stages, counted: so many layers of each kind, and what is at the ends.

A layer costs the same time and memory wherever it is. So what it costs is found once, on a stage that is that layer
alone (its *unit*), and stages are sums: of thousands of plans most differ in nothing but how many layers a stage has.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sim.layers import moe
from sim.layers.context import Context
from sim.layers.stage import Stage
from sim.models.transformer import LayerKind
from sim.plan import Plan, stage_layers


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A stage as its units, each with how many of it there are; see sim.layers.stage.Stage."""

    layers: tuple[tuple[Stage, int], ...]
    has_embedding: bool
    has_head: bool
    gathers_input: bool

    @property
    def ends(self) -> Stage | None:
        """The unit of embedding and head, where the stage has either."""
        if not (self.has_embedding or self.has_head):
            return None
        return _unit((), 0, has_embedding=self.has_embedding, has_head=self.has_head)

    def units(self) -> Iterator[tuple[Stage, int]]:
        """All units and how many of each."""
        yield from self.layers
        if self.ends is not None:
            yield self.ends, 1

    @property
    def kinds(self) -> Stage:
        """A stage with one layer of each kind."""
        kinds = tuple(dict.fromkeys(kind for unit, _ in self.layers for kind in unit.kinds))
        return _unit(kinds, 0)


GATHER = Stage(kinds=(), num_recomputed=0, has_embedding=False, has_head=False, gathers_input=True)
"""The unit of what a stage does to put its input together."""


def cuts(context: Context, plan: Plan) -> tuple[Cut, ...]:
    """Of each stage of the model its cut; equal ones are the same object.

    Raises InputError where there are too few layers.
    """
    kinds, first = moe.kinds(context), 0
    gathers = context.framework.scatter_gather_pipeline and context.tp > 1 and not context.sp
    made: dict[Cut, Cut] = {}
    found = []
    sizes = stage_layers(plan, context.model.num_layers)
    for index, size in enumerate(sizes):
        own = kinds[first : first + size]
        recomputed = size if plan.recompute_layers is None else min(size, plan.recompute_layers)
        cut = Cut(
            layers=_counted(own, recomputed),
            has_embedding=index == 0,
            has_head=index == len(sizes) - 1,
            gathers_input=len(sizes) > 1 and gathers,
        )
        found.append(made.setdefault(cut, cut))
        first += size
    return tuple(found)


def _counted(kinds: tuple[LayerKind, ...], num_recomputed: int) -> tuple[tuple[Stage, int], ...]:
    counts = Counter((kind, index < num_recomputed) for index, kind in enumerate(kinds))
    return tuple((_unit((kind,), int(again)), count) for (kind, again), count in counts.items())


def _unit(
    kinds: tuple[LayerKind, ...], num_recomputed: int, *, has_embedding: bool = False, has_head: bool = False
) -> Stage:
    return Stage(
        kinds=kinds,
        num_recomputed=num_recomputed,
        has_embedding=has_embedding,
        has_head=has_head,
        gathers_input=False,
    )
