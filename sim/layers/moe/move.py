"""What the ways of tokens have in common: a move is what runs before, what travels, what runs after."""

from typing import Final, Literal, NamedTuple

from sim.costs.memory_bound import Kernel, stream
from sim.instructions import Block, Collective, CollectiveOperation, Compute
from sim.layers.context import Context, run, streaming
from sim.layers.moe.rows import Rows, on_the_fullest
from topologies.quantity import GIGA

Direction = Literal["forward", "backward"]

PROBABILITY: Final = 4
"""Bytes of a router's probability."""

CHOICE: Final = 1
"""Bytes that say whether a token goes to an expert."""


ADDITIONS: Final = 0.7 * GIGA
"""Atomic additions of bf16 numbers that an SM of an H200 makes in a second: 2048 tokens of 2 rows of 4096 are summed by
PyTorch's scatter_add in 0.18 ms [TileOPs pull request 608, 0.20 ms with the product by the probabilities]."""


class Move(NamedTuple):
    """Blocks of the compute stream before and after, and between them collectives that may run beside other work."""

    before: Block
    travelling: Block
    after: Block


def copied(context: Context, name: str) -> Block:
    """Each token of a rank is copied once for every expert of the rank that it goes to, in the order of experts."""
    return over_rows(context, name, "permute")


def added(context: Context, name: str) -> Block:
    """Each row of a rank is added to its token."""

    def of_rank(rows: Rows) -> Block:
        return (added_rows(context, name, sum(rows)),)

    return on_the_fullest(context, of_rank)


def added_rows(context: Context, name: str, num_rows: int) -> Compute:
    """So many rows are added to their tokens: by a kernel that reads and writes each once, or by scatter_add, whose
    atomic additions of 16 bits are no faster than ADDITIONS."""
    elements = num_rows * context.model.hidden
    if context.framework.fused_permute:
        return run(context, name, "unpermute", elements)
    seconds = max(elements / (ADDITIONS * context.gpu.num_sms), stream(context.gpu, 6.0 * elements))
    return streaming(context.gpu, name, seconds)


def over_rows(context: Context, name: str, kernel: Kernel) -> Block:
    """A kernel that goes over all rows of a rank's experts."""

    def of_rank(rows: Rows) -> Block:
        return (run(context, name, kernel, sum(rows) * context.model.hidden),)

    return on_the_fullest(context, of_rank)


def host_sync(context: Context) -> Block:
    """The host learns how many rows come, to launch what depends on it; not where every expert has room for a fixed
    number [Megatron-Core, moe/token_dispatcher.py: cuda_sync_point is no_sync with drop_and_pad], and once per forward
    pass, for the backward pass knows."""
    seconds = context.framework.moe_sync_seconds
    if not seconds or context.experts.capacity_factor is not None:
        return ()
    return (Compute(name="row counts to host", duration=seconds, category="host"),)


def among_experts(context: Context, name: str, operation: CollectiveOperation, nbytes: float) -> Block:
    """A collective of all ranks that share the experts, ep x etp; nothing where that is one."""
    if context.ep * context.etp == 1:
        return ()
    group = "etp" if context.ep == 1 else "ep" if context.etp == 1 else "experts"
    axis: Literal["tp", "ep"] = "tp" if context.ep == 1 else "ep"
    return (Collective(name=name, axis=axis, group=group, operation=operation, nbytes=nbytes),)


def among_parts(context: Context, name: str, operation: CollectiveOperation, nbytes: float) -> Block:
    """A collective of the etp ranks that have a part of the same experts."""
    if context.etp == 1:
        return ()
    return (Collective(name=name, axis="tp", group="etp", operation=operation, nbytes=nbytes),)
