"""How many floating-point operations a training step takes, counted from the shapes of its matrix products.

A product of (m x k) with (k x n) is 2mnk; the backward pass has two such products for each of the forward pass.
Norms, softmax, activations and the optimizer are not counted, nor what an attention kernel recomputes on its own.
"""

from typing import Literal

from sim.models.transformer import Transformer

Recompute = Literal["none", "selective", "full"]


def model_flops(model: Transformer, batch: int, seq_len: int, *, causal: bool = False) -> float:
    """Forward and backward of `batch` sequences, nothing recomputed; attention s x s in full, or `causal`, half of it.

    For a GPT this is 72 B l s h^2 (1 + s/6h + V/12lh) [Korthikanti et al. 2022, appendix A].
    """
    forward = layers_flops(model, seq_len) + attention_flops(model, seq_len, causal=causal) + head_flops(model, seq_len)
    return 3.0 * batch * forward


def hardware_flops(
    model: Transformer, batch: int, seq_len: int, recompute: Recompute, *, causal: bool = False
) -> float:
    """`model_flops` and what is recomputed, each once.

    full: the forward pass of the layers again; for a GPT 96 B l s h^2 (1 + s/6h + V/16lh) [Narayanan et al. 2021].
    selective: the attention scores and weighted values again. The published 72 B l s h^2 (1 + s/3h + V/12lh)
    [Korthikanti et al. 2022, appendix A] counts them as three forward passes; one runs.
    """
    attention = attention_flops(model, seq_len, causal=causal)
    extra = {"none": 0.0, "selective": attention, "full": layers_flops(model, seq_len) + attention}[recompute]
    return model_flops(model, batch, seq_len, causal=causal) + batch * extra


def layers_flops(model: Transformer, seq_len: int) -> float:
    """Projections and MLPs of all layers, forward, one sequence; 24 l s h^2 for a GPT."""
    projections = model.hidden * (2 * model.query_width + 2 * model.kv_width)
    num_mlp_products = 3 if model.gated_mlp else 2
    return 2.0 * seq_len * model.num_layers * (projections + num_mlp_products * model.hidden * model.ffn)


def attention_flops(model: Transformer, seq_len: int, *, causal: bool = False) -> float:
    """Scores and weighted values of all layers, forward, one sequence; 4 l s^2 h for a GPT, half of it if `causal`."""
    full = 4.0 * model.num_layers * float(seq_len) ** 2 * model.query_width
    return full / 2 if causal else full


def head_flops(model: Transformer, seq_len: int) -> float:
    """Logits, forward, one sequence: 2 s h V."""
    return 2.0 * seq_len * model.hidden * model.vocab
