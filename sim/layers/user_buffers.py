"""Products cut in pieces, whose communication runs beside the piece before [Transformer Engine, userbuffers].

A gather goes round a ring: a rank multiplies the tokens that it has while the next rank's arrive. A sum is cut in four:
each part is summed while the next is multiplied. The first or last piece stays exposed, and smaller products are a
little slower. PyTorch's async TP [torch.distributed._symmetric_memory] does the same.
"""

from collections.abc import Callable
from typing import Final

from sim.instructions import Block, Collective, Compute, Record, Wait
from sim.layers.context import COMPUTE, TP, Context, Pass, scattered_sum

PRODUCTS: Final = frozenset({"qkv", "projection", "mlp up", "mlp down"})
"""Those that have user buffers: qkv, proj, fc1 and fc2 [Transformer Engine, module/base.py, initialize_ub]."""

NUM_PARTS: Final = 4
"""Parts of a sum, whatever tp is [the same: num_splits of method pipeline]."""

Make = Callable[[int], Compute]
"""The product of so many tokens."""


def are_used(context: Context, name: str) -> bool:
    """Whether a product has them; they need tokens that are cut along the sequence [Megatron-Core,
    model_parallel_config.py, tp_comm_overlap]."""
    return context.framework.overlap_tp and context.sp and context.tp > 1 and name in PRODUCTS


def gathered_product(context: Context, name: str, make: Make, nbytes: float) -> Pass:
    """A product of all tokens, of which each rank has a share: tp pieces and tp - 1 exchanges; `nbytes` of all."""
    piece = make(context.local_tokens)
    arrived = [f"{name} {step} arrived" for step in range(1, context.tp)]
    ready = f"{name} ready"
    exchange = Collective(
        name=f"{name} exchange", axis="tp", group="tp", operation="exchange", nbytes=nbytes / context.tp
    )
    compute: Block = (Record(ready), piece, *(entry for flag in arrived for entry in (Wait(flag), piece)))
    aside: Block = (Wait(ready), *(entry for flag in arrived for entry in (exchange, Record(flag))))
    return {COMPUTE: compute, TP: aside}


def scattered_product(context: Context, name: str, make: Make, nbytes: float) -> Pass:
    """A product whose parts are summed over the ranks, each keeping its tokens; `nbytes` of all."""
    piece = make(-(-context.num_tokens // NUM_PARTS))
    add = scattered_sum(context, name, nbytes / NUM_PARTS)
    parts = [(f"{name} {part} made", f"{name} {part} done") for part in range(NUM_PARTS)]
    compute: Block = (
        *(entry for made, _ in parts for entry in (piece, Record(made))),
        *(Wait(done) for _, done in parts),
    )
    aside: Block = tuple(entry for made, done in parts for entry in (Wait(made), *add, Record(done)))
    return {COMPUTE: compute, TP: aside}
