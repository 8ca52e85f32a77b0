"""Each rank sends its tokens' rows, and no others, to the ranks of their experts by NCCL's all-to-all.

In the order of the data: rows are counted among the ranks, tokens permuted, rows carried over ep, gathered over etp,
sorted by expert; and all that backwards [Megatron-Core, moe/token_dispatcher.py, MoEAlltoAllTokenDispatcher]. With
sequence parallelism a tp rank has 1/tp of the tokens. The rank that receives most decides how long the carrying takes.
"""

from typing import Final

from sim.costs import ELEMENT
from sim.instructions import Block, Collective
from sim.layers.context import Context, run
from sim.layers.moe.move import (
    PROBABILITY,
    Direction,
    Move,
    added_rows,
    among_experts,
    among_parts,
    host_sync,
    over_rows,
)
from sim.layers.moe.rows import fullest_rows, fullness, moe_of, own_rows

_COUNT: Final = 8
"""Bytes of a number of rows."""


def there(context: Context, direction: Direction) -> Move:
    """Rows to the ranks of their experts, and sorted there by expert."""
    elements, nbytes = own_rows(context) * context.model.hidden, _received_nbytes(context)
    if direction == "backward":
        copy = run(context, "unpermute gradient", "permute", elements)
        parts = among_parts(context, "token gradient gather", "all_gather", nbytes)
        sort = _sorted(context, "token gradient sort")
        return Move((copy,), _carried(context, "token gradient dispatch", ELEMENT * elements), (*parts, *sort))
    probabilities = PROBABILITY * own_rows(context)
    return Move(
        (*_counted(context), run(context, "permute", "permute", elements), *host_sync(context)),
        (
            *_carried(context, "token dispatch", ELEMENT * elements),
            *_carried(context, "probability dispatch", probabilities),
        ),
        (
            *among_parts(context, "token gather", "all_gather", nbytes),
            *among_parts(context, "probability gather", "all_gather", PROBABILITY * fullest_rows(context)),
            *_sorted(context, "token sort"),
        ),
    )


def back(context: Context, direction: Direction) -> Move:
    """Results in the order in which tokens came, summed over etp, carried back, and added to their tokens."""
    elements, nbytes = own_rows(context) * context.model.hidden, _received_nbytes(context)
    if direction == "forward":
        parts = among_parts(context, "token sum", "reduce_scatter", nbytes)
        add = added_rows(context, "unpermute", own_rows(context))
        carried = _carried(context, "token combine", ELEMENT * elements)
        return Move((*_sorted(context, "token unsort"), *parts), carried, (add,))
    probabilities = PROBABILITY * fullest_rows(context)
    return Move(
        (
            *_sorted(context, "token gradient unsort"),
            *among_parts(context, "token gradient sum", "reduce_scatter", nbytes),
            *among_parts(context, "probability gradient sum", "reduce_scatter", probabilities),
        ),
        (
            *_carried(context, "token gradient combine", ELEMENT * elements),
            *_carried(context, "probability gradient combine", PROBABILITY * own_rows(context)),
        ),
        (added_rows(context, "permute gradient", own_rows(context)),),
    )


def _received_nbytes(context: Context) -> float:
    """Bytes of the rows of a rank's experts."""
    return ELEMENT * fullest_rows(context) * context.model.hidden


def _counted(context: Context) -> Block:
    """Every rank tells all others how many rows it has for each expert, where that is not fixed."""
    if context.experts.capacity_factor is not None:
        return ()
    num_counts = moe_of(context).num_experts * context.ep * context.etp
    return among_experts(context, "row counts", "all_gather", _COUNT * num_counts)


def _carried(context: Context, name: str, nbytes: float) -> Block:
    if context.ep == 1:
        return ()
    nbytes *= fullness(context)
    return (Collective(name=name, axis="ep", group="ep", operation="all_to_all", nbytes=nbytes),)


def _sorted(context: Context, name: str) -> Block:
    """Rows come rank by rank, and those of one expert are put together; a rank with one expert has nothing to sort, and
    rows that came from nowhere are in order already."""
    if moe_of(context).num_experts == context.ep or context.ep * context.etp == 1:
        return ()
    return over_rows(context, name, "copy")
