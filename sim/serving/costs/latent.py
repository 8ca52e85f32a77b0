"""Latent attention in a pass: decodes meet the cached latents themselves, prompts meet keys and values made of them.

Decoding moves the up-projection of keys into the query and that of values behind the sum: as many FLOPs for a token as
projecting its own latent, and nothing for those in the cache. A prompt's chunk projects the latents cached before it
again, and runs as common attention [vLLM 0.19, v1/attention/backends/mla/common.py].
"""

import numpy as np

from sim.costs import ELEMENT, gemm
from sim.costs.attention import latent_decodes, paged_prefills
from sim.costs.law import Array
from sim.costs.memory_bound import row_kernels, streams
from sim.models import LayerKind, Mla
from sim.serving.costs.attention import Core
from sim.serving.costs.parts import TOKENS, Part, Rank, part
from sim.serving.costs.products import plain, product


def around_latent(rank: Rank, kind: LayerKind, *, graph: bool) -> Part:
    """What goes by tokens: down to the latents (whole on each rank), norms, up to the queries, rotary positions, the
    up-projection of keys and values in 16 bits, the output."""
    del kind, graph
    model, mla, heads = rank.model, mla_of(rank), heads_of(rank)
    width = heads * (mla.nope_head_dim + mla.rope_head_dim)
    down = mla.kv_lora_rank + mla.rope_head_dim
    queries = product(rank, width, mla.q_lora_rank or model.hidden)
    latents = product(rank, down + (mla.q_lora_rank or 0), model.hidden)
    keys = product(rank, heads * (mla.nope_head_dim + mla.v_head_dim), mla.kv_lora_rank, precision=plain(rank.gpu))
    output = product(rank, model.hidden, heads * mla.v_head_dim)
    norms = row_kernels(rank.gpu, "norm", TOKENS, mla.kv_lora_rank + (mla.q_lora_rank or 0))
    turned = streams(rank.gpu, 2 * ELEMENT * (heads + 1) * mla.rope_head_dim * TOKENS)
    return part(compute=queries + latents + keys + output + norms + turned, launches=8)


def latent_core(rank: Rank, kind: LayerKind) -> Core:
    """Attention itself. A decode that verifies proposed tokens has so many more rows of queries on the same latents."""
    del kind
    mla, heads = mla_of(rank), heads_of(rank)
    speculation = rank.deployment.speculation
    rows = heads * (1 + (speculation.tokens if speculation else 0))
    precision = "fp8" if rank.deployment.cache.precision == "fp8" else "bf16"
    mean_width = (mla.nope_head_dim + mla.rope_head_dim + mla.v_head_dim) // 2

    def decodes(batch: Array, length: Array, longest: Array | None) -> Array:
        del longest  # the latents' kernel cuts all caches alike: it plans by the keys of all [FlashMLA, tile scheduler]
        return latent_decodes(
            rank.gpu, batch, batch * length,
            num_heads=rows, latent_dim=mla.kv_lora_rank, rope_dim=mla.rope_head_dim, cache_precision=precision,
        )  # fmt: skip

    def chunks(batch: Array, new: Array, cached: Array) -> Array:
        core = paged_prefills(rank.gpu, batch, new, cached, num_heads=heads, num_kv_heads=heads, head_dim=mean_width)
        return core + _projected(rank, batch * cached)

    return Core(decodes=decodes, chunks=chunks)


def mla_of(rank: Rank) -> Mla:
    """The widths of the latents."""
    assert rank.model.mla is not None
    return rank.model.mla


def heads_of(rank: Rank) -> int:
    """Heads of a rank."""
    return max(1, rank.model.num_heads // rank.tp)


def _projected(rank: Rank, cached: Array) -> Array:
    """Seconds to make keys and values of latents in the cache."""
    mla = mla_of(rank)
    columns = np.full_like(cached, heads_of(rank) * (mla.nope_head_dim + mla.v_head_dim))
    depth = np.full_like(cached, mla.kv_lora_rank)
    seconds = gemm.seconds(rank.gpu, np.maximum(cached, 1), columns, depth, plain(rank.gpu))
    return np.where(cached > 0, seconds, 0.0)
