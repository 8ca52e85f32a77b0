"""FLOPs counted from shapes against the closed formulas of the two papers, and by hand where they do not apply."""

from dataclasses import replace

import pytest

from sim import models
from sim.models import Transformer
from sim.models.flops import RecomputeModule, attention_flops

GPTS = [name for name in models.names() if name.startswith("gpt") and "oss" not in name]
BATCH, SEQ_LEN = 3, 2048


def alone(name: str) -> Transformer:
    """Without its multi-token prediction, which what is published leaves out."""
    return replace(models.load(name), mtp_layers=0)


def formula(model: Transformer, factor: float, attention: float, head: float) -> float:
    """factor x B l s h^2 (1 + s / (attention x h) + V / (head x l x h))."""
    layers, h = model.num_layers, model.hidden
    relative = 1 + SEQ_LEN / (attention * h) + model.vocab / (head * layers * h)
    return factor * BATCH * layers * SEQ_LEN * h**2 * relative


@pytest.mark.parametrize("name", GPTS)
def test_model_flops_are_korthikantis_formula(name: str) -> None:
    model = models.load(name)
    assert models.model_flops(model, BATCH, SEQ_LEN) == pytest.approx(formula(model, 72, 6, 12), rel=1e-12)


@pytest.mark.parametrize("name", GPTS)
def test_full_recomputation_is_narayanans_formula(name: str) -> None:
    model = models.load(name)
    assert models.hardware_flops(model, BATCH, SEQ_LEN, "full") == pytest.approx(formula(model, 96, 6, 16), rel=1e-12)


@pytest.mark.parametrize("name", GPTS)
def test_selective_recomputation_is_korthikantis_formula_with_one_more_pass_for_its_three(name: str) -> None:
    """72 B l s h^2 (1 + s/3h + V/12lh) has 12 B l s^2 h of recomputed attention: thrice its forward, 4 B l s^2 h."""
    model = models.load(name)
    counted = models.hardware_flops(model, BATCH, SEQ_LEN, "selective")
    two_forwards = 2 * 4 * BATCH * model.num_layers * SEQ_LEN**2 * model.hidden
    assert counted + two_forwards == pytest.approx(formula(model, 72, 3, 12), rel=1e-12)


@pytest.mark.parametrize("name", models.names())
def test_without_recomputation_hardware_does_what_the_model_needs(name: str) -> None:
    model = models.load(name)
    assert models.hardware_flops(model, BATCH, SEQ_LEN, "none") == models.model_flops(model, BATCH, SEQ_LEN)


def test_flops_of_llama_by_hand() -> None:
    """Llama-3-8B, one sequence of 8192 tokens, per token and forward: 2 x weights of 32 layers and the head, attention.

    Layer 218,103,808 weights (norms have no product), head 525,336,576; attention 4 x 8192 x 4096 x 32 = 4,294,967,296.
    """
    per_token = 2 * (32 * 218_103_808 + 525_336_576) + 4_294_967_296
    assert models.model_flops(models.load("llama3-8b"), 1, 8192) == 3 * 8192 * per_token


def test_flops_of_deepseek_v3_by_hand() -> None:
    """Per token and forward, in weights: latent attention 187,105,280 a layer (7168 x 1536 + 1536 x 128 x 192 to the
    queries, 7168 x 576 + 512 x 128 x 256 to keys and values, 128 x 128 x 7168 out); 3 dense MLPs of 3 x 7168 x 18432;
    58 layers with a router 7168 x 256 and 8 + 1 experts of 3 x 7168 x 2048; head 7168 x 129280. Scores and values:
    2 x 4096 x 128 x (192 + 128) a layer.
    """
    attention = 7168 * 1536 + 1536 * 128 * 192 + 7168 * 576 + 512 * 128 * 256 + 128 * 128 * 7168
    assert attention == 187_105_280
    experts = 7168 * 256 + 9 * 3 * 7168 * 2048
    weights = 61 * attention + 3 * 3 * 7168 * 18432 + 58 * experts + 7168 * 129280
    per_token = 2 * weights + 61 * 2 * 4096 * 128 * (192 + 128)
    assert models.model_flops(alone("deepseek-v3"), 1, 4096) == 3 * 4096 * per_token


@pytest.mark.parametrize(("name", "published"), [("deepseek-v2", 155e9), ("deepseek-v3", 250e9)])
def test_deepseeks_training_costs_what_its_makers_print(name: str, published: float) -> None:
    """FLOPs per token at 4,096 tokens, causal attention counted half [Zhao et al. 2025, arXiv 2505.09343, Table 2]."""
    per_token = models.model_flops(alone(name), 1, 4096, causal=True) / 4096
    assert per_token == pytest.approx(published, abs=0.5e9)


def test_a_token_pays_for_its_own_experts_only() -> None:
    """Mixtral 8x7B beside one with 4 times the experts: the router's 24 more columns are all that is added."""
    model = models.load("mixtral-8x7b")
    larger = models.load({"name": "mixtral-8x7b", "moe": {"num_experts": 32}})
    added = models.model_flops(larger, 1, 1024) - models.model_flops(model, 1, 1024)
    assert added == 3 * 2 * 1024 * 32 * 4096 * 24
    assert models.num_parameters(larger) > 3.8 * models.num_parameters(model)


def test_a_window_saves_nothing_until_the_sequence_is_longer() -> None:
    """Mistral's window is 4,096 tokens."""
    model, full = models.load("mistral-7b"), models.load({"name": "mistral-7b", "window": None})
    for causal in (False, True):
        assert attention_flops(model, 4096, causal=causal) == attention_flops(full, 4096, causal=causal)
        assert attention_flops(model, 8192, causal=causal) < attention_flops(full, 8192, causal=causal)


def test_pairs_in_a_window_are_counted_but_for_half_a_token_each() -> None:
    """gpt-oss-120b, 4,096 tokens: 18 layers of 128 tokens, 18 of all; the sum of min(i + 1, w), less w/2 a layer."""
    model, width = models.load("gpt-oss-120b"), 2 * 64 * 64
    pairs = sum(min(i + 1, window) for window in (128, 4096) for i in range(4096))
    assert attention_flops(model, 4096, causal=True) == 18 * 2 * width * (pairs - 128 / 2 - 4096 / 2)
    assert attention_flops(model, 4096) == 18 * 2 * width * 4096 * (128 + 4096)


def test_recomputing_some_layers_costs_their_share() -> None:
    model = models.load("gpt-22b")
    none, half, full = (
        models.hardware_flops(model, BATCH, SEQ_LEN, "full", recomputed=share) for share in (0.0, 0.5, 1.0)
    )
    assert none == models.model_flops(model, BATCH, SEQ_LEN)
    assert half == pytest.approx((none + full) / 2)


def test_modules_that_are_recomputed_cost_their_products_once_more() -> None:
    """DeepSeek-V3, 61 layers of which 3 are dense, and one more that predicts: up to 128 heads from latents of 1536 and
    512; 3 x 7168 x 18432 weights; a router of 256, 8 + 1 experts of 3 x 7168 x 2048. Norms and activations: nothing."""
    model, seq_len = models.load("deepseek-v3"), 4096

    def extra(*modules: RecomputeModule) -> float:
        done = models.hardware_flops(model, 1, seq_len, "selective", modules=modules)
        return (done - models.model_flops(model, 1, seq_len)) / (2 * seq_len)

    up, dense, expert = 128 * (1536 * 192 + 512 * 256), 3 * 7168 * 18_432, 3 * 7168 * 2048
    assert extra("mla_up_proj", "moe_act", "layernorm") == pytest.approx(62 * up, rel=1e-9)
    assert extra("mlp") == pytest.approx(3 * dense, rel=1e-9)
    assert extra("shared_experts") == pytest.approx(59 * expert, rel=1e-9)
    assert extra("moe") == pytest.approx(59 * (7168 * 256 + 9 * expert), rel=1e-9)
    assert extra("core_attn") == pytest.approx(62 * 4096 * 128 * (192 + 128), rel=1e-9)


def test_causal_attention_is_half() -> None:
    """72 B l s h^2 (1 + s/12h + V/12lh)."""
    model = models.load("gpt-22b")
    causal = models.model_flops(model, BATCH, SEQ_LEN, causal=True)
    assert causal == pytest.approx(formula(model, 72, 12, 12), rel=1e-12)


def test_flops_are_linear_in_the_batch() -> None:
    model = models.load("llama2-70b")
    assert models.model_flops(model, 6, 4096) == 2 * models.model_flops(model, 3, 4096)
