"""Selective recomputation by module, after Megatron-Core: what runs again, when, and what is not kept for it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import get_args

import pytest

import topologies
from sim import frameworks, layers, models
from sim.instructions import Collective, Compute, Instruction, Record, Wait
from sim.layers import Context, Pass, mlp, moe, mtp
from sim.models.flops import RecomputeModule
from sim.models.transformer import LayerKind
from sim.workload import Precision

MODULES: tuple[RecomputeModule, ...] = get_args(RecomputeModule)
EXPERTS, DENSE = LayerKind(has_experts=True), LayerKind()
DEEPSEEK = Context(
    model=models.load("deepseek-v3"),
    gpu=topologies.gpu("b200-sxm"),
    framework=replace(frameworks.load("megatron-core"), token_dispatcher="all-to-all"),
    tp=1,
    sp=False,
    recompute="none",
    micro_batch=1,
    seq_len=4096,
    precision="bf16",
    kind=EXPERTS,
    ep=8,
)
CUT = replace(DEEPSEEK, tp=2, sp=True)
TOKENS, HIDDEN, HEADS = 4096, 7168, 128
ROWS = 8 * TOKENS
EXPERT, SHARED = 2048, 2048
CORE = 4 * TOKENS * HEADS
"""Bytes of flash attention's log-sum-exp."""


def selective(context: Context, *modules: RecomputeModule) -> Context:
    return replace(context, recompute="selective", recompute_modules=modules)


def choices(most: int = 2) -> Iterator[tuple[RecomputeModule, ...]]:
    """Every module alone, every two of them, and all."""
    for count in range(1, most + 1):
        yield from combinations(MODULES, count)
    yield MODULES


def names(one: Pass) -> list[str]:
    return [i.name for i in one["compute"] if isinstance(i, Compute | Collective)]


def again(one: Pass) -> list[str]:
    return [name.removeprefix("recompute ") for name in names(one) if name.startswith("recompute ")]


def work(*passes: Pass) -> Counter[Instruction]:
    return Counter(i for one in passes for block in one.values() for i in block if isinstance(i, Compute | Collective))


def freed(context: Context, *modules: RecomputeModule) -> float:
    """Bytes that a layer keeps less of."""
    return layers.saved_nbytes(context) - layers.saved_nbytes(selective(context, *modules))


@pytest.mark.parametrize(
    ("kind", "module", "expected"),
    [
        (EXPERTS, "core_attn", ["flash forward"]),
        (EXPERTS, "moe_act", ["activation forward"]),
        (EXPERTS, "layernorm", ["mlp norm forward", "attention norm forward"]),
        (DENSE, "layernorm", ["attention norm forward"]),
        (
            EXPERTS,
            "mla_up_proj",
            ["query up forward", "key-value up forward", "rotary forward", "keys and values forward"],
        ),
        (EXPERTS, "mlp", []),
        (DENSE, "mlp", ["mlp norm forward", "mlp up forward", "activation forward", "mlp down forward"]),
        (EXPERTS, "moe", names(moe.forward(DEEPSEEK))),
        (DENSE, "moe", []),
        (DENSE, "moe_act", []),
        (EXPERTS, "shared_experts", ["shared expert up forward", "activation forward", "shared expert down forward"]),
    ],
)
def test_a_module_runs_again_as_in_the_forward_pass_and_nothing_else_changes(
    kind: LayerKind, module: RecomputeModule, expected: list[str]
) -> None:
    context = replace(DEEPSEEK, kind=kind)
    one = layers.backward(selective(context, module))
    assert again(one) == expected
    once = Counter(names(layers.forward(context)))
    assert not Counter(expected) - once
    assert [name for name in names(one) if not name.startswith("recompute ")] == names(layers.backward(context))


def test_experts_again_means_their_dispatch_and_combine_again() -> None:
    forward, extra = moe.forward(DEEPSEEK), layers.backward(selective(DEEPSEEK, "moe"))["ep"]
    sent = [i.name for i in extra if isinstance(i, Collective) and i.name.startswith("recompute ")]
    assert sent == [f"recompute {i.name}" for i in forward["ep"] if isinstance(i, Collective)] != []


def test_what_is_computed_again_comes_just_before_what_needs_it() -> None:
    order = names(layers.backward(selective(DEEPSEEK, *MODULES)))
    places = [
        ("recompute mlp norm forward", "recompute experts down forward"),
        ("recompute experts down forward", "recompute activation forward"),
        ("recompute activation forward", "experts down input gradient"),
        ("experts up input gradient", "recompute attention norm forward"),
        ("recompute attention norm forward", "projection input gradient"),
        ("projection input gradient", "recompute query up forward"),
        ("recompute keys and values forward", "recompute flash forward"),
        ("recompute flash forward", "flash backward"),
    ]
    last = {name: place for place, name in enumerate(order)}
    for before, after in places:
        assert last[before] < last[after], f"{before}, then {after}"


@pytest.mark.parametrize("modules", list(choices()))
@pytest.mark.parametrize("kind", [EXPERTS, DENSE])
@pytest.mark.parametrize("context", [DEEPSEEK, CUT, replace(CUT, precision="mxfp8"), replace(DEEPSEEK, cp=2)])
def test_it_runs_with_the_gradients_of_inputs_and_its_flags_are_its_own(
    context: Context, kind: LayerKind, modules: tuple[RecomputeModule, ...]
) -> None:
    whole = selective(replace(context, kind=kind), *modules)
    both, inputs, weights = (layers.backward(replace(whole, half=half)) for half in ("both", "input", "weight"))
    assert work(inputs, weights) == work(both)
    assert again(inputs) == again(both)
    assert not again(weights)
    for one in (both, inputs, weights):
        everything = [i for block in one.values() for i in block]
        records = [i.flag for i in everything if isinstance(i, Record)]
        assert len(set(records)) == len(records)
        assert sorted(records) == sorted(i.flag for i in everything if isinstance(i, Wait))


@pytest.mark.parametrize(
    ("kind", "module", "expected"),
    [
        (EXPERTS, "core_attn", CORE),
        (EXPERTS, "moe_act", 2 * ROWS * EXPERT),
        (EXPERTS, "layernorm", 2 * 2 * TOKENS * HIDDEN),
        (DENSE, "layernorm", 2 * TOKENS * HIDDEN),
        (EXPERTS, "mla_up_proj", 2 * TOKENS * (HEADS * (192 + 192 + 128) - 64)),
        (DENSE, "mlp", 2 * TOKENS * (HIDDEN + 3 * 18_432)),
        (EXPERTS, "mlp", 0),
        (EXPERTS, "shared_experts", 2 * TOKENS * 3 * SHARED),
        (DENSE, "shared_experts", 0),
    ],
)
def test_what_is_not_kept_by_hand(kind: LayerKind, module: RecomputeModule, expected: float) -> None:
    """Bytes. A norm's output 2 a number; queries, keys and values of 128 heads, for which the rotary key is kept; gate,
    up and product of a dense MLP, and what its norm made; of experts' activations the output alone."""
    assert freed(replace(DEEPSEEK, kind=kind), module) == expected


def test_of_a_whole_layer_of_experts_its_input_stays() -> None:
    """And with the norm not even that: the norm's own input and the residual are one."""
    around = mlp.saved_nbytes(selective(DEEPSEEK, "moe"))
    assert around == 2 * 2 * TOKENS * HIDDEN
    assert mlp.saved_nbytes(selective(DEEPSEEK, "moe", "layernorm")) == 2 * TOKENS * HIDDEN


@pytest.mark.parametrize("precision", ["bf16", "mxfp8"])
@pytest.mark.parametrize("kind", [EXPERTS, DENSE])
def test_more_modules_never_keep_more(kind: LayerKind, precision: Precision) -> None:
    context = replace(DEEPSEEK, kind=kind, precision=precision)
    for modules in choices():
        alone = [freed(context, module) for module in modules]
        assert max(0.0, *alone) <= freed(context, *modules) <= sum(alone)


def test_what_is_not_kept_in_8_bits_is_cast_again() -> None:
    """Bytes of a number: a norm's output 2 before experts, 1 before attention; an activation's 1."""
    context = replace(DEEPSEEK, precision="fp8")
    assert freed(context, "layernorm") == (2 + 1) * TOKENS * HIDDEN
    assert freed(context, "moe_act") == ROWS * EXPERT
    casts = [name for name in again(layers.backward(selective(context, "layernorm", "moe_act"))) if "cast" in name]
    assert casts == [
        "shared expert up input cast",
        "experts down input cast",
        "query down input cast",
        "key-value down input cast",
    ]


def test_a_norm_within_a_product_is_kept() -> None:
    """Llama's norms are part of the modules that multiply; of gpt-oss, with windows, the one before the experts not."""
    llama = replace(DEEPSEEK, model=models.load("llama3-8b"), kind=DENSE, ep=1)
    assert freed(llama, "layernorm") == 0
    assert not again(layers.backward(selective(llama, "layernorm")))
    oss = replace(DEEPSEEK, model=models.load("gpt-oss-120b"), kind=LayerKind(has_experts=True, window=128))
    assert again(layers.backward(selective(oss, "layernorm"))) == ["mlp norm forward"]


def test_the_halves_of_a_layer_are_not_made_again_at_once() -> None:
    up, act = freed(DEEPSEEK, "mla_up_proj"), freed(DEEPSEEK, "moe_act")
    assert layers.recomputed_nbytes(selective(DEEPSEEK, "mla_up_proj", "moe_act")) == max(up, act)
    assert layers.recomputed_nbytes(DEEPSEEK) == 0
    full = replace(DEEPSEEK, recompute="full")
    assert layers.recomputed_nbytes(full) == layers.saved_nbytes(DEEPSEEK) - layers.saved_nbytes(full)


def test_the_layer_that_predicts_one_token_more_is_recomputed_too() -> None:
    told = again(mtp.backward(selective(DEEPSEEK, "mla_up_proj", "moe_act")))
    assert "query up forward" in told
    assert "activation forward" in told
    assert "prediction projection forward" not in told
    less = mtp.saved_nbytes(DEEPSEEK) - mtp.saved_nbytes(selective(DEEPSEEK, "mla_up_proj", "moe_act"))
    assert less == freed(DEEPSEEK, "mla_up_proj") + freed(DEEPSEEK, "moe_act")
