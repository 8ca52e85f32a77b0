"""Latent attention by hand: DeepSeek-V3 (hidden 7168, 128 heads; latents of 1536 and 512, a rotary key of 64)."""

from dataclasses import replace

import pytest

import topologies
from sim import frameworks, layers, models
from sim.costs.attention import Shape, flash_forward
from sim.costs.gemm import gemm
from sim.instructions import Collective, Compute, Record, Wait
from sim.layers import Context, Pass, attention, latent_attention
from sim.models.transformer import Mla, Transformer, attention_parameters

DEEPSEEK = replace(
    models.load("llama3-8b"),
    name="deepseek-v3",
    hidden=7168,
    num_heads=128,
    num_kv_heads=128,
    head_dim=128,
    ffn=18_432,
    mla=Mla(q_lora_rank=1536, kv_lora_rank=512, nope_head_dim=128, rope_head_dim=64, v_head_dim=128),
)
STRAIGHT = replace(DEEPSEEK, num_heads=16, num_kv_heads=16, mla=replace(DEEPSEEK.mla, q_lora_rank=None))
CONTEXT = Context(
    model=DEEPSEEK,
    gpu=topologies.gpu("h100-80gb-sxm"),
    framework=frameworks.load("megatron-core"),
    tp=2,
    sp=True,
    recompute="none",
    micro_batch=1,
    seq_len=4096,
    precision="bf16",
)
TOKENS, HIDDEN, HEADS = 4096, 7168, 128


def seconds(one: Pass, name: str) -> float:
    (kernel,) = [i for i in one["compute"] if isinstance(i, Compute) and i.name == name]
    return kernel.duration


def collectives(one: Pass) -> list[tuple[str, str, float]]:
    return [(i.name, i.operation, i.nbytes) for block in one.values() for i in block if isinstance(i, Collective)]


def test_products_down_are_whole_on_every_rank_and_work_on_its_tokens() -> None:
    gpu, one = CONTEXT.gpu, attention.forward(CONTEXT)
    assert seconds(one, "query down forward") == gemm(gpu, 2048, 1536, HIDDEN, "bf16", cold_weights=True)
    assert seconds(one, "key-value down forward") == gemm(gpu, 2048, 512 + 64, HIDDEN, "bf16", cold_weights=True)
    plain = attention.forward(replace(CONTEXT, sp=False))
    assert seconds(plain, "query down forward") == gemm(gpu, 4096, 1536, HIDDEN, "bf16", cold_weights=True)


def test_products_up_are_cut_by_heads() -> None:
    """64 heads a rank: queries 128 + 64 wide, keys without position and values 128 + 128."""
    gpu, one = CONTEXT.gpu, attention.forward(CONTEXT)
    assert seconds(one, "query up forward") == gemm(gpu, TOKENS, 64 * 192, 1536, "bf16", cold_weights=True)
    assert seconds(one, "key-value up forward") == gemm(gpu, TOKENS, 64 * 256, 512, "bf16", cold_weights=True)
    assert seconds(one, "projection forward") == gemm(gpu, TOKENS, HIDDEN, 64 * 128, "bf16", cold_weights=True)


def test_ranks_gather_latents_and_the_rotary_key_but_not_the_hidden_state() -> None:
    """Bytes: 2 x 4096 tokens x 1536, 64, 512; the output is summed as in any attention."""
    assert collectives(attention.forward(CONTEXT)) == [
        ("query up input gather", "all_gather", 2 * TOKENS * 1536),
        ("rotary key gather", "all_gather", 2 * TOKENS * 64),
        ("key-value up input gather", "all_gather", 2 * TOKENS * 512),
        ("projection output sum", "reduce_scatter", 2 * TOKENS * HIDDEN),
    ]
    summed = [nbytes for _, operation, nbytes in collectives(attention.backward(CONTEXT)) if "scatter" in operation]
    assert sorted(summed) == [2 * TOKENS * width for width in (64, 512, 1536)]


def test_queries_straight_from_the_hidden_state_are_one_product_that_is_cut() -> None:
    """DeepSeek-V2-Lite and Moonlight have no latent of queries."""
    one = attention.forward(replace(CONTEXT, model=STRAIGHT))
    assert seconds(one, "query forward") == gemm(CONTEXT.gpu, TOKENS, 8 * 192, HIDDEN, "bf16", cold_weights=True)
    assert ("query input gather", "all_gather", 2 * TOKENS * HIDDEN) in collectives(one)


def test_the_core_has_wide_queries_and_keys_and_narrow_values_for_every_head() -> None:
    shape = Shape(
        batch=1, seq_len=4096, num_heads=64, num_kv_heads=64, head_dim=192, value_dim=128, precision="bf16"
    )  # fmt: skip
    assert seconds(attention.forward(CONTEXT), "flash forward") == flash_forward(CONTEXT.gpu, shape)


@pytest.mark.parametrize("model", [DEEPSEEK, STRAIGHT])
@pytest.mark.parametrize("sp", [False, True])
def test_every_flag_is_recorded_once_and_waited_for_once(model: Transformer, sp: bool) -> None:
    everything = [i for block in layers.backward(replace(CONTEXT, model=model, sp=sp)).values() for i in block]
    records = [i.flag for i in everything if isinstance(i, Record)]
    assert len(set(records)) == len(records) > 0
    assert sorted(records) == sorted(i.flag for i in everything if isinstance(i, Wait))


@pytest.mark.parametrize("model", [DEEPSEEK, STRAIGHT])
def test_backward_multiplies_twice_for_each_product_of_forward(model: Transformer) -> None:
    context = replace(CONTEXT, model=model)
    forward, backward = (
        [i.name for i in one["compute"] if isinstance(i, Compute)]
        for one in (attention.forward(context), attention.backward(context))
    )
    ours = ("query", "key-value", "projection")
    products = [name for name in forward if name.startswith(ours) and "norm" not in name]
    assert len(products) == (5 if model is DEEPSEEK else 4)
    for name in products:
        for gradient in ("input gradient", "weight gradient"):
            assert backward.count(name.replace("forward", gradient)) == 1


def test_latents_are_kept_before_and_after_their_norms_and_heads_in_full() -> None:
    """Bytes: of this rank's 2048 tokens 2 x (1536 + 512) numbers; of all 4096 tokens 64 heads x (192 + 192 + 128)."""
    expected = 2 * (2048 * 2 * (1536 + 512) + 4096 * 64 * (192 + 192 + 128))
    assert latent_attention.saved_nbytes(CONTEXT) == expected
    others = 2 * 2 * 2048 * HIDDEN + 2 * 4096 * 64 * 128 + 4 * 64 * 4096
    assert attention.saved_nbytes(CONTEXT) == expected + others


def test_an_attention_of_deepseek_has_the_parameters_of_its_products_and_norms() -> None:
    """187,107,328, shapes of DeepSeek-V3 [arXiv 2412.19437, section 4.2]: 7168 x 1536 + 1536 x 128 x 192 + 7168 x 576
    + 512 x 128 x 256 + 128 x 128 x 7168, and norms of 1536 and 512; with the layer's norm 7168 more."""
    alone = replace(CONTEXT, tp=1, sp=False)
    assert attention.parameters(alone) == 187_107_328 + 7168


@pytest.mark.parametrize("model", [DEEPSEEK, STRAIGHT])
@pytest.mark.parametrize("tp", [1, 2, 8])
def test_tp_ranks_hold_heads_once_and_the_way_down_each(model: Transformer, tp: int) -> None:
    context = replace(CONTEXT, model=model, tp=tp)
    replicated = attention.replicated_parameters(context)
    assert tp * attention.parameters(context) - (tp - 1) * replicated == attention_parameters(model) + model.hidden


def test_what_every_rank_holds_of_an_attention_of_deepseek() -> None:
    """7168 x (1536 + 512 + 64), norms of 1536 and 512, the layer's norm of 7168."""
    assert attention.replicated_parameters(CONTEXT) == 7168 * 2112 + 2048 + 7168
