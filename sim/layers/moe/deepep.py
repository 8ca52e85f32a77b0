"""DeepEP carries a token once to each rank that has one of its experts, and sums its results on the way back.

Rows are made where the experts are: there a token is copied for each of them. The ranks are those of ep x etp, as if
each part of an expert were one more [Megatron-Core, moe/token_dispatcher.py, MoEFlexTokenDispatcher]. Dispatch carries
bf16, and fp8 where the products run in 8 bits or less [DeepSeek-V3, arXiv 2412.19437, section 3.3.3].
"""

from typing import Literal

from sim.costs.gemm import FORMATS
from sim.instructions import Block, Collective, Tokens
from sim.layers.context import Context
from sim.layers.moe.move import Direction, Move, added, copied, host_sync
from sim.layers.moe.rows import fullness, moe_of


def there(context: Context, direction: Direction) -> Move:
    """Tokens to their experts' ranks, and copied there to the order of experts."""
    if direction == "backward":
        return Move((), _carried(context, "token gradient dispatch", "dispatch"), copied(context, "unpermute gradient"))
    return Move((), _carried(context, "token dispatch", "dispatch"), (*_host(context), *copied(context, "permute")))


def back(context: Context, direction: Direction) -> Move:
    """Rows are added to their tokens, here and on the way back."""
    forward = direction == "forward"
    add = added(context, "unpermute" if forward else "permute gradient")
    return Move(add, _carried(context, "token combine" if forward else "token gradient combine", "combine"), ())


def _host(context: Context) -> Block:
    """The host waits for the count of tokens unless it replays graphs [DeepEP, Buffer.dispatch: num_worst_tokens]."""
    return () if context.framework.cuda_graphs or context.ep * context.etp == 1 else host_sync(context)


def _carried(context: Context, name: str, operation: Literal["dispatch", "combine"]) -> Block:
    if context.ep * context.etp == 1:
        return ()
    group = "ep" if context.etp == 1 else "experts"
    tokens = _tokens(context)
    return (Collective(name=name, axis="ep", group=group, operation=operation, nbytes=0.0, tokens=tokens),)


def _tokens(context: Context) -> Tokens:
    """What the fullest rank receives decides, so each is taken to send so many more."""
    moe = moe_of(context)
    return Tokens(
        num_tokens=context.local_tokens * fullness(context),
        hidden=context.model.hidden,
        topk=moe.top_k * context.etp,
        num_experts=moe.num_experts * context.etp,
        in_fp8=FORMATS[context.precision].quantises,
        num_groups=moe.num_groups,
        top_groups=moe.top_groups,
    )
