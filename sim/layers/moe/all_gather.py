"""All tokens of all ranks that share the experts are gathered, and each rank takes its experts' own; results are summed
over the ranks [Megatron-Core, MoEAllGatherTokenDispatcher].

Where the ranks are the tp ranks and have the same tokens, without sequence parallelism, only the sum is left.
"""

from sim.costs import ELEMENT
from sim.instructions import Block
from sim.layers.context import Context
from sim.layers.moe.move import CHOICE, PROBABILITY, Direction, Move, added, among_experts, copied, host_sync
from sim.layers.moe.rows import moe_of, num_tokens


def there(context: Context, direction: Direction) -> Move:
    """Gathered, and copied to the order of experts. The permuted tokens are kept, so backward gathers but gradients."""
    nbytes, num_scores = _hidden_nbytes(context), num_tokens(context) * moe_of(context).num_experts
    if direction == "backward":
        gather = _gathered(context, "token gradient gather", nbytes)
        return Move((*gather, *copied(context, "unpermute gradient")), (), ())
    gathers = (
        *_gathered(context, "choice gather", CHOICE * num_scores),
        *_gathered(context, "probability gather", PROBABILITY * num_scores),
        *_gathered(context, "token gather", nbytes),
    )
    return Move((*gathers, *host_sync(context), *copied(context, "permute")), (), ())


def back(context: Context, direction: Direction) -> Move:
    """Each row is added to its token, and the ranks' sums to one another."""
    nbytes, num_scores = _hidden_nbytes(context), num_tokens(context) * moe_of(context).num_experts
    if direction == "forward":
        return Move((*added(context, "unpermute"), *_summed(context, "token sum", nbytes)), (), ())
    sums = (
        *_summed(context, "token gradient sum", nbytes),
        *_summed(context, "probability gradient sum", PROBABILITY * num_scores),
    )
    return Move((*added(context, "permute gradient"), *sums), (), ())


def _hidden_nbytes(context: Context) -> float:
    return ELEMENT * num_tokens(context) * context.model.hidden


def _gathered(context: Context, name: str, nbytes: float) -> Block:
    return among_experts(context, name, "all_gather", nbytes) if _is_cut(context) else ()


def _summed(context: Context, name: str, nbytes: float) -> Block:
    return among_experts(context, name, "reduce_scatter" if _is_cut(context) else "all_reduce", nbytes)


def _is_cut(context: Context) -> bool:
    """Whether the ranks have tokens of their own."""
    return context.sp or context.ep > 1 or context.tp == 1
