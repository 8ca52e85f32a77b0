"""FLOPs counted from shapes against the closed formulas of the two papers, and by hand where they do not apply."""

import pytest

from sim import models
from sim.models import Transformer

GPTS = [name for name in models.names() if name.startswith("gpt")]
BATCH, SEQ_LEN = 3, 2048


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


def test_causal_attention_is_half() -> None:
    """72 B l s h^2 (1 + s/12h + V/12lh)."""
    model = models.load("gpt-22b")
    causal = models.model_flops(model, BATCH, SEQ_LEN, causal=True)
    assert causal == pytest.approx(formula(model, 72, 12, 12), rel=1e-12)


def test_flops_are_linear_in_the_batch() -> None:
    model = models.load("llama2-70b")
    assert models.model_flops(model, 6, 4096) == 2 * models.model_flops(model, 3, 4096)
