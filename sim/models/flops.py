"""How many floating-point operations a training step takes, counted from the shapes of its matrix products.

A product of (m x k) with (k x n) is 2mnk; the backward pass has two such products for each of the forward pass. So a
token costs six times the weights it meets (of the experts only its own), and attention six times its scores and values.
Norms, softmax, activations and the optimizer are not counted, nor what an attention kernel recomputes on its own.
"""

from collections.abc import Collection
from typing import Literal

from sim.models.transformer import LayerKind, Transformer, attention_weights, layer_kinds, mlp_weights

Recompute = Literal["none", "selective", "full"]
RecomputeModule = Literal["core_attn", "moe_act", "layernorm", "mla_up_proj", "mlp", "moe", "shared_experts"]
"""What selective recomputation may compute again, in Megatron-Core's words [transformer_config.py,
recompute_modules]."""
DEFAULT_MODULES: tuple[RecomputeModule, ...] = ("core_attn",)
"""What it computes again where nobody says otherwise [the same]."""


def model_flops(model: Transformer, batch: int, seq_len: int, *, causal: bool = False) -> float:
    """Forward and backward of `batch` sequences, nothing recomputed; attention as in `attention_flops`.

    For a GPT this is 72 B l s h^2 (1 + s/6h + V/12lh) [Korthikanti et al. 2022, appendix A].
    """
    forward = layers_flops(model, seq_len) + attention_flops(model, seq_len, causal=causal) + head_flops(model, seq_len)
    return 3.0 * batch * forward


def hardware_flops(
    model: Transformer,
    batch: int,
    seq_len: int,
    recompute: Recompute,
    *,
    modules: Collection[RecomputeModule] = DEFAULT_MODULES,
    causal: bool = False,
    recomputed: float = 1.0,
) -> float:
    """`model_flops` and what is recomputed, each once; `recomputed` is the share of the layers that are, `modules` what
    of them where it is selective.

    full: the forward pass of the layers again; for a GPT 96 B l s h^2 (1 + s/6h + V/16lh) [Narayanan et al. 2021].
    core_attn: the attention scores and weighted values again. The published 72 B l s h^2 (1 + s/3h + V/12lh)
    [Korthikanti et al. 2022, appendix A] counts them as three forward passes; one runs.
    """
    attention = attention_flops(model, seq_len, causal=causal)
    extra = {
        "none": 0.0,
        "selective": _modules_flops(model, seq_len, frozenset(modules)) + ("core_attn" in modules) * attention,
        "full": layers_flops(model, seq_len) + attention,
    }[recompute]
    return model_flops(model, batch, seq_len, causal=causal) + batch * recomputed * extra


def layers_flops(model: Transformer, seq_len: int) -> float:
    """Projections, MLPs, routers and experts of all layers, forward, one sequence; 24 l s h^2 for a GPT.

    A token meets the router, `top_k` experts and the shared ones; none is dropped, and no expert is padded. A layer of
    multi-token prediction counts as one more, with its projection of 2h to h.
    """
    weights = sum(attention_weights(model) + _mlp_weights_met(model, kind) for kind in _kinds(model))
    return 2.0 * seq_len * (weights + 2 * model.mtp_layers * model.hidden**2)


def attention_flops(model: Transformer, seq_len: int, *, causal: bool = False) -> float:
    """Scores and weighted values of all layers, forward, one sequence; 4 l s^2 h for a GPT, half of it if `causal`.

    In full, each of s tokens sees s others, in a layer with a window of w tokens min(s, w). `causal` takes away what
    lies after a token: s^2/2 pairs, with a window ws - w^2/2 (w < s). The exact sum over tokens i of min(i + 1, w) has
    w/2 pairs more; conventions leave them out. A pair costs a product as wide as a key and one as wide as a value: in
    MLA nope + rope and v_head_dim wide [DeepSeek-V2, arXiv 2405.04434], not the latent, which training does not absorb.
    """
    pairs = sum(_pairs(seq_len, kind.window, causal) for kind in _kinds(model))
    return 2.0 * pairs * model.num_heads * _pair_width(model)


def layer_flops(model: Transformer, kind: LayerKind, seq_len: int) -> float:
    """One layer of a kind, forward, one causal sequence."""
    products = 2.0 * seq_len * (attention_weights(model) + _mlp_weights_met(model, kind))
    return products + 2.0 * _pairs(seq_len, kind.window, causal=True) * model.num_heads * _pair_width(model)


def head_flops(model: Transformer, seq_len: int) -> float:
    """Logits, forward, one sequence: 2 s h V, and once more for each further token that is predicted [Megatron-LM,
    training.py, num_floating_point_operations]."""
    return 2.0 * seq_len * model.hidden * model.vocab * (1 + model.mtp_layers)


def _modules_flops(model: Transformer, seq_len: int, modules: frozenset[RecomputeModule]) -> float:
    """The products of modules in all layers, forward, one sequence; activations and norms have none."""
    return 2.0 * seq_len * sum(_module_weights_met(model, kind, modules) for kind in _kinds(model))


def _module_weights_met(model: Transformer, kind: LayerKind, modules: frozenset[RecomputeModule]) -> int:
    up = _mla_up_weights(model) if "mla_up_proj" in modules else 0
    if not kind.has_experts:
        return up + ("mlp" in modules) * _mlp_weights_met(model, kind)
    moe = model.moe
    assert moe is not None
    shared = ("shared_experts" in modules) * mlp_weights(model, moe.shared_ffn)
    return up + shared + ("moe" in modules) * _mlp_weights_met(model, kind)


def _mla_up_weights(model: Transformer) -> int:
    """From the latents to queries, keys and values."""
    mla = model.mla
    if mla is None:
        return 0
    query = (mla.q_lora_rank or model.hidden) * (mla.nope_head_dim + mla.rope_head_dim)
    return model.num_heads * (query + mla.kv_lora_rank * (mla.nope_head_dim + mla.v_head_dim))


def _kinds(model: Transformer) -> tuple[LayerKind, ...]:
    """All layers, those of multi-token prediction too, which are of the last kind."""
    kinds = layer_kinds(model)
    return kinds + kinds[-1:] * model.mtp_layers


def _mlp_weights_met(model: Transformer, kind: LayerKind) -> int:
    if not kind.has_experts:
        return mlp_weights(model, model.ffn)
    moe = model.moe
    assert moe is not None
    return model.hidden * moe.num_experts + mlp_weights(model, moe.top_k * moe.ffn + moe.shared_ffn)


def _pairs(seq_len: int, window: int | None, causal: bool) -> float:
    """Pairs of a token and one that it sees."""
    width = float(min(seq_len, window or seq_len))
    return width * seq_len - width**2 / 2 if causal else width * seq_len


def _pair_width(model: Transformer) -> int:
    """Width of one head's key and value together."""
    mla = model.mla
    return 2 * model.head_dim if mla is None else mla.nope_head_dim + mla.rope_head_dim + mla.v_head_dim
