"""The parts of a dense layer that go by the number of tokens: norms, the MLP, and what attention has around its core.

Tensor parallelism splits every product; what each half of a layer makes is summed over the ranks.
"""

import numpy as np

from sim.costs import ELEMENT
from sim.costs.law import Array
from sim.costs.memory_bound import NBYTES, row_kernels, start, streams
from sim.models import LayerKind
from sim.serving.costs.communication import summed
from sim.serving.costs.parts import TOKENS, Part, Rank, part
from sim.serving.costs.products import product


def norm(rank: Rank) -> Array:
    """Add to the residual and norm: one kernel."""
    return row_kernels(rank.gpu, "norm", TOKENS, rank.model.hidden)


def reduction(rank: Rank, *, graph: bool) -> Part:
    """The sum over tp of half a layer's output, the addition to the residual and the norm after it."""
    if rank.tp > 1 and rank.framework.fused_all_reduce_norm:
        return part(compute=norm(rank) - start(rank.gpu), tp=summed(rank, graph=graph), launches=1)
    return part(compute=norm(rank), tp=summed(rank, graph=graph), launches=2 if rank.tp > 1 else 1)


def dense_mlp(rank: Rank, kind: LayerKind, *, graph: bool) -> Part:
    """Up (and gate, joined), activation, down."""
    del kind, graph
    return mlp(rank, rank.model.ffn)


def mlp(rank: Rank, ffn: int) -> Part:
    """An MLP of that width, split over tp."""
    model, width = rank.model, ffn / rank.tp
    up = product(rank, width * (2 if model.gated_mlp else 1), model.hidden)
    down = product(rank, model.hidden, width)
    return part(compute=up + activation(rank, width) + down, launches=3)


def activation(rank: Rank, width: float) -> Array:
    """The function between the products of an MLP."""
    if rank.model.gated_mlp:
        return row_kernels(rank.gpu, "gated activation", TOKENS, int(np.ceil(width)))
    return streams(rank.gpu, NBYTES["gelu forward"] * width * TOKENS)


def around_attention(rank: Rank, kind: LayerKind, *, graph: bool) -> Part:
    """Queries, keys and values in one product, norms of heads, rotary positions, and the product of the output."""
    del kind, graph
    model = rank.model
    queries, keys = model.query_width / rank.tp, kv_heads(rank) * model.head_dim
    products = product(rank, queries + 2 * keys, model.hidden) + product(rank, model.hidden, queries)
    turned = np.zeros_like(TOKENS)
    if model.qk_norm:
        turned = turned + streams(rank.gpu, 2 * ELEMENT * (queries + keys) * TOKENS)
    if model.position == "rotary":
        turned = turned + row_kernels(rank.gpu, "rotary", TOKENS, int(queries + keys))
    return part(compute=products + turned, launches=2 + (2 if model.qk_norm else 0) + (model.position == "rotary"))


def kv_heads(rank: Rank) -> int:
    """Heads of keys on a rank: shared out, or copied where there are fewer than ranks."""
    return max(1, rank.model.num_kv_heads // rank.tp)
