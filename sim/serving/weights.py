"""Bytes of a model's weights on one GPU of a server: what tensor, expert and pipeline parallelism leave of each matrix.

Only large products are quantised: embeddings, head, norms and routers keep 16 bits [vLLM, model_executor/layers/
quantization], and where the weights are MXFP4, so does everything but the experts [gpt-oss model card].
"""

from collections.abc import Iterable, Mapping
from typing import Final

from sim.costs.gemm.formats import FORMATS
from sim.deployment import Deployment, WeightPrecision
from sim.models import LayerKind, Transformer
from sim.models.transformer import attention_weights, mlp_weights, norm_parameters, router_parameters

VOCAB_MULTIPLE: Final = 64
"""The vocabulary is padded to a multiple of it [vLLM, vocab_parallel_embedding.py]."""
PLAIN: Final = 2
"""Bytes of what is not quantised."""
_FORMATS: Final[Mapping[WeightPrecision, str]] = {
    "bf16": "bf16",
    "fp16": "fp16",
    "fp8": "fp8",
    "fp8_block": "fp8_block",
    "mxfp4": "mxfp4_weight",
    "nvfp4": "nvfp4_weight",
    "int8": "int8_weight",
    "int4": "int4_weight",
}


def stage_weights(
    model: Transformer, deployment: Deployment, kinds: Iterable[LayerKind], *, is_first: bool, is_last: bool
) -> float:
    """Bytes on a GPU of a stage with those layers; a head that is tied to the embedding is one matrix with it, if both
    are here."""
    layers = sum(_layer(model, deployment, kind) for kind in kinds)
    matrices = int(is_first) + int(is_last) - int(is_first and is_last and model.tied_embedding)
    positions = model.max_seq_len * model.hidden if model.position == "learned" and is_first else 0
    words = padded_vocab(model) / deployment.layout.tp * model.hidden * matrices
    return layers + PLAIN * (words + positions + is_last * norm_parameters(model)) + _rotary(model)


def padded_vocab(model: Transformer) -> int:
    """Words, with what is added to share them out."""
    return -(-model.vocab // VOCAB_MULTIPLE) * VOCAB_MULTIPLE


def _layer(model: Transformer, deployment: Deployment, kind: LayerKind) -> float:
    """Bytes of one layer."""
    layout = deployment.layout
    expert = FORMATS[_FORMATS[deployment.weights]].weight
    dense = float(PLAIN) if deployment.weights == "mxfp4" else expert
    attention = dense * _attention(model, layout.tp)
    norms = PLAIN * 2 * norm_parameters(model)
    if not kind.has_experts:
        return attention + norms + dense * mlp_weights(model, model.ffn) / layout.tp
    assert model.moe is not None
    shared = dense * mlp_weights(model, model.moe.shared_ffn) / layout.tp
    return attention + norms + shared + PLAIN * router_parameters(model) + expert * _experts(model, deployment)


def _attention(model: Transformer, tp: int) -> float:
    """Elements: heads are dealt, keys and values repeated where there are fewer of them, latents on every GPU whole."""
    mla, hidden = model.mla, model.hidden
    if mla is None:
        return hidden * (2 * model.query_width / tp + 2 * kv_heads(model, tp) * model.head_dim)
    latent = hidden * (mla.kv_lora_rank + mla.rope_head_dim + (mla.q_lora_rank or 0))
    return latent + (attention_weights(model) - latent) / tp


def _experts(model: Transformer, deployment: Deployment) -> float:
    """Elements of experts, copies included: dealt among ep GPUs, each split over the ranks that this leaves."""
    assert model.moe is not None
    layout = deployment.layout
    dealt = -(-(model.moe.num_experts + deployment.experts.redundant) // layout.ep)
    return mlp_weights(model, model.moe.ffn) / layout.expert_tp * dealt


def kv_heads(model: Transformer, tp: int) -> int:
    """Heads of keys on one GPU."""
    return max(1, -(-model.num_kv_heads // tp))


def _rotary(model: Transformer) -> float:
    """Bytes of the table of sines and cosines."""
    if model.position != "rotary":
        return 0.0
    width = model.head_dim if model.mla is None else model.mla.rope_head_dim
    return float(PLAIN * model.max_seq_len * width)
