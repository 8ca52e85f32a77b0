"""How tokens reach their experts, and come back: three ways, of which the framework has one.

Each says what the compute stream does before and after, and what travels meanwhile on the stream "ep". In the backward
pass gradients take the same ways: that of the combine goes there, that of the dispatch comes back.
"""

from collections.abc import Callable, Mapping
from typing import Final

from sim.layers.context import COMPUTE, EP, Context, Pass, compute_pass, join
from sim.layers.moe import all_gather, all_to_all, deepep
from sim.layers.moe.move import CHOICE, PROBABILITY, Direction, Move
from sim.layers.moe.rows import fullest_rows, moe_of, num_tokens
from sim.layers.overlap import beside

Make = Callable[[Context, Direction], Move]

_THERE: Final[Mapping[str, Make]] = {
    "all-gather": all_gather.there,
    "all-to-all": all_to_all.there,
    "deepep": deepep.there,
}
_BACK: Final[Mapping[str, Make]] = {
    "all-gather": all_gather.back,
    "all-to-all": all_to_all.back,
    "deepep": deepep.back,
}


def there(context: Context, direction: Direction, meanwhile: Pass) -> Pass:
    """Tokens, or the gradients of results, to their experts; what runs `meanwhile` runs while they travel."""
    return _around(f"expert {direction} there", _THERE[_way(context)](context, direction), meanwhile)


def back(context: Context, direction: Direction, meanwhile: Pass) -> Pass:
    """Results, or the gradients of tokens, back to the tokens' ranks."""
    return _around(f"expert {direction} back", _BACK[_way(context)](context, direction), meanwhile)


def routing_nbytes(context: Context) -> float:
    """Bytes that the router keeps: probabilities of its own tokens; those that its experts were sent, and choices.

    Where all are gathered it has them of all tokens and experts, else of its own tokens and its experts' rows.
    """
    num_experts = moe_of(context).num_experts
    own = PROBABILITY * context.local_tokens * num_experts
    if _way(context) == "all-gather":
        return own + (PROBABILITY + CHOICE) * num_tokens(context) * num_experts
    return own + CHOICE * context.local_tokens * num_experts + PROBABILITY * fullest_rows(context)


def _way(context: Context) -> str:
    """Ranks that all have the same tokens, as without sequence parallelism, need only sum their results."""
    return "all-gather" if context.tp > 1 and not context.sp else context.framework.token_dispatcher


def _around(name: str, move: Move, meanwhile: Pass) -> Pass:
    before, after = compute_pass(move.before), compute_pass(move.after)
    if not move.travelling:
        return join(before, meanwhile, after)
    travel = beside(move.travelling, name)
    leave: Pass = {COMPUTE: travel.begin, EP: travel.aside}
    return join(before, leave, meanwhile, compute_pass(travel.end), after)
