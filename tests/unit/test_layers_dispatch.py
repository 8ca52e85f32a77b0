"""How tokens travel to experts and back: what moves, in which order, and what runs meanwhile. DeepSeek-V3 on EP64."""

from collections import Counter
from dataclasses import replace

import pytest

import topologies
from sim import frameworks, layers, models
from sim.instructions import Collective, Compute, Record, Tokens, Wait
from sim.layers import Context, Pass, moe
from sim.layers.moe import rows
from sim.models.transformer import LayerKind
from sim.workload import ExpertLoad, Precision

V3 = models.load("deepseek-v3")
EXPERTS = LayerKind(has_experts=True)
FRAMEWORK = replace(frameworks.load("megatron-core"), token_dispatcher="all-to-all", moe_sync_seconds=50e-6)
CONTEXT = Context(
    model=V3,
    gpu=topologies.gpu("h800"),
    framework=FRAMEWORK,
    tp=1,
    sp=False,
    recompute="none",
    micro_batch=1,
    seq_len=4096,
    precision="bf16",
    kind=EXPERTS,
    ep=64,
)
DEEPEP = replace(CONTEXT, framework=replace(FRAMEWORK, token_dispatcher="deepep"))
GATHERING = replace(CONTEXT, framework=replace(FRAMEWORK, token_dispatcher="all-gather"))
SKEWED = replace(CONTEXT, experts=ExpertLoad(kind="power_law", exponent=1.01))
ROWS = 4096 * 8 * 7168


def travels(one: Pass) -> list[tuple[str, str, str, float]]:
    collectives = [i for block in one.values() for i in block if isinstance(i, Collective)]
    return [(i.name, i.operation, i.group, i.nbytes) for i in collectives if not i.name.startswith("shared")]


def kernels(one: Pass) -> list[Compute]:
    return [i for block in one.values() for i in block if isinstance(i, Compute)]


def names(one: Pass) -> list[str]:
    return [kernel.name for kernel in kernels(one)]


def test_all_to_all_carries_each_token_to_each_of_its_experts_and_back() -> None:
    """4,096 tokens x 8 experts x 7,168 values x 2 bytes = 470 MB; 4 bytes of probability a row; before them every rank
    tells all 64 its 256 counts of 8 bytes."""
    probabilities, counts = 4096 * 8 * 4, 256 * 64 * 8
    assert 2 * ROWS == 469_762_048
    assert travels(moe.forward(CONTEXT)) == [
        ("row counts", "all_gather", "ep", counts),
        ("token dispatch", "all_to_all", "ep", 2 * ROWS),
        ("probability dispatch", "all_to_all", "ep", probabilities),
        ("token combine", "all_to_all", "ep", 2 * ROWS),
    ]
    assert travels(moe.backward(CONTEXT)) == [
        ("token gradient dispatch", "all_to_all", "ep", 2 * ROWS),
        ("token gradient combine", "all_to_all", "ep", 2 * ROWS),
        ("probability gradient combine", "all_to_all", "ep", probabilities),
    ]


def test_rows_are_permuted_carried_sorted_multiplied_and_all_that_back() -> None:
    order = [name for name in names(moe.forward(CONTEXT)) if not name.startswith(("shared", "router"))]
    assert order == [
        "permute", "row counts to host", "activation forward", "token sort", "experts up forward",
        "activation forward", "experts down forward", "token unsort", "unpermute",
    ]  # fmt: skip


def test_one_expert_a_rank_needs_no_sorting() -> None:
    alone = replace(CONTEXT, ep=256)
    assert not [name for name in names(moe.forward(alone)) + names(moe.backward(alone)) if "sort" in name]


def test_with_sequence_parallelism_a_tp_rank_sends_its_own_part_of_the_tokens() -> None:
    """Half of them each; with etp=1 that is all, with etp=2 both ranks of a pair gather what came for their expert:
    64 x 2,048 x 2 tokens x 8 rows over 64 ranks are 32,768 rows."""
    halves = replace(CONTEXT, tp=2, sp=True)
    assert travels(moe.forward(halves))[1] == ("token dispatch", "all_to_all", "ep", ROWS)
    cut = travels(moe.forward(replace(halves, etp=2)))
    assert cut == [
        ("row counts", "all_gather", "experts", 256 * 128 * 8),
        ("token gather", "all_gather", "etp", 2 * ROWS),
        ("probability gather", "all_gather", "etp", 4 * 4096 * 8),
        ("token sum", "reduce_scatter", "etp", 2 * ROWS),
        ("token dispatch", "all_to_all", "ep", ROWS),
        ("probability dispatch", "all_to_all", "ep", 4096 * 8 * 2),
        ("token combine", "all_to_all", "ep", ROWS),
    ]


def test_with_one_expert_rank_all_to_all_gathers_permuted_rows_over_tp() -> None:
    """Mixtral's usual case: ep=1, etp=tp. Nothing goes all to all; top_k times the tokens are gathered."""
    alone = replace(CONTEXT, ep=1, tp=2, etp=2, sp=True)
    assert [name for name, *_ in travels(moe.forward(alone))] == [
        "row counts", "token gather", "probability gather", "token sum",
    ]  # fmt: skip
    assert travels(moe.forward(alone))[1][1:] == ("all_gather", "etp", 2 * ROWS)


def test_all_gather_brings_all_tokens_of_all_ranks() -> None:
    """64 x 4,096 tokens x 7,168 x 2 bytes; of each token and expert a byte of choice and four of probability."""
    tokens = 64 * 4096
    assert travels(moe.forward(GATHERING)) == [
        ("choice gather", "all_gather", "ep", tokens * 256),
        ("probability gather", "all_gather", "ep", 4 * tokens * 256),
        ("token gather", "all_gather", "ep", 2 * tokens * 7168),
        ("token sum", "reduce_scatter", "ep", 2 * tokens * 7168),
    ]


def test_deepep_carries_tokens_and_knows_their_groups() -> None:
    """bf16 there and back; fp8 there where the products are in 8 bits."""
    tokens = Tokens(num_tokens=4096, hidden=7168, topk=8, num_experts=256, in_fp8=False, num_groups=8, top_groups=4)
    sent = [i for i in moe.forward(DEEPEP)["ep"] if isinstance(i, Collective)]
    assert [(i.operation, i.group, i.tokens) for i in sent] == [("dispatch", "ep", tokens), ("combine", "ep", tokens)]
    in_fp8 = [i.tokens for i in moe.forward(replace(DEEPEP, precision="fp8"))["ep"] if isinstance(i, Collective)]
    assert in_fp8 == [replace(tokens, in_fp8=True)] * 2


def test_a_cut_expert_is_to_deepep_one_more_for_each_part() -> None:
    cut = replace(DEEPEP, tp=2, sp=True, etp=2)
    (first, _) = [i for i in moe.forward(cut)["ep"] if isinstance(i, Collective)]
    assert first.group == "experts"
    assert first.tokens is not None
    assert (first.tokens.num_tokens, first.tokens.topk, first.tokens.num_experts) == (2048, 16, 512)


@pytest.mark.parametrize("context", [CONTEXT, DEEPEP])
def test_the_shared_expert_computes_while_tokens_travel(context: Context) -> None:
    compute = moe.forward(context)["compute"]
    marks = [i.flag if isinstance(i, Record | Wait) else i.name for i in compute]
    there, back = marks.index("expert forward there ready"), marks.index("expert forward back ready")
    assert marks[there : there + 4] == [
        "expert forward there ready", "shared expert up forward", "activation forward", "expert forward there done",
    ]  # fmt: skip
    assert marks[back : back + 3] == [
        "expert forward back ready", "shared expert down forward", "expert forward back done",
    ]  # fmt: skip


@pytest.mark.parametrize("context", [CONTEXT, DEEPEP, replace(CONTEXT, tp=2, etp=2, sp=True)])
def test_flags_are_set_and_waited_for_once_and_differ_between_passes(context: Context) -> None:
    both = [layers.forward(context), layers.backward(replace(context, recompute="full"))]
    flags = [[i for block in one.values() for i in block if isinstance(i, Record | Wait)] for one in both]
    for entries in flags:
        set_ones = Counter(i.flag for i in entries if isinstance(i, Record))
        assert set(set_ones.values()) == {1}
        assert set_ones == Counter(i.flag for i in entries if isinstance(i, Wait))
    assert not {i.flag for i in flags[0]} & {i.flag for i in flags[1]}


def test_the_host_learns_the_counts_once_a_forward_pass() -> None:
    name = "row counts to host"
    (sync,) = [kernel for kernel in kernels(moe.forward(CONTEXT)) if kernel.name == name]
    assert (sync.category, sync.duration) == ("host", 50e-6)
    assert name not in names(moe.backward(CONTEXT))
    assert names(moe.forward(DEEPEP)).count(name) == 1
    assert names(moe.forward(GATHERING)).count(name) == 1
    graphs = replace(DEEPEP, framework=replace(DEEPEP.framework, cuda_graphs=True))
    assert name not in names(moe.forward(graphs))


def test_with_a_capacity_every_expert_has_as_many_rows_and_nobody_counts_them() -> None:
    """ceil(4,096 x 8 / 256 x 1.25) = 160 rows of each of 64 ranks for each expert: 4 x 10,240 rows a rank, 1.25 times
    those of dropless routing; as many are sent. A skew changes nothing: what is too much is dropped."""
    padded = replace(CONTEXT, experts=ExpertLoad(capacity_factor=1.25))
    assert rows.rows_by_rank(padded) == ((10_240,) * 4,)
    sent = travels(moe.forward(padded))
    assert [name for name, *_ in sent] == ["token dispatch", "probability dispatch", "token combine"]
    assert sent[0][-1] == pytest.approx(1.25 * 2 * ROWS)
    assert "row counts to host" not in names(moe.forward(padded))
    skewed = replace(CONTEXT, experts=ExpertLoad(kind="power_law", exponent=1.2, capacity_factor=1.25))
    assert moe.forward(skewed) == moe.forward(padded)


def test_all_wait_for_the_fullest_rank() -> None:
    """Its rows decide what travels; of each kernel the mean over the ranks is compute, the rest waiting."""
    fullness = rows.fullness(SKEWED)
    assert fullness > 2
    assert travels(moe.forward(SKEWED))[1][-1] == pytest.approx(fullness * 2 * ROWS)
    of_experts = [kernel for kernel in kernels(moe.forward(SKEWED)) if kernel.name.startswith("experts")]
    assert of_experts
    for kernel in of_experts:
        parts = dict(kernel.parts)
        assert sum(parts.values()) == pytest.approx(kernel.duration, rel=1e-12)
        assert kernel.duration / parts["compute"] == pytest.approx(fullness, rel=0.25)


def test_histograms_make_layers_different_only_where_they_differ() -> None:
    """58 layers of experts after 3 dense ones; equal histograms share a kind."""
    flat, steep = (1.0,) * 256, (4.0,) * 64 + (1.0,) * 192
    one = replace(CONTEXT, experts=ExpertLoad(kind="histogram", histograms=(flat,)))
    assert len(set(moe.kinds(one))) == 2
    many = replace(CONTEXT, experts=ExpertLoad(kind="histogram", histograms=(flat,) * 57 + (steep,)))
    kinds = moe.kinds(many)
    assert len(set(kinds)) == 3
    assert [kind.histogram for kind in kinds[-2:]] == [0, 57]
    assert rows.fullness(replace(many, kind=kinds[-1])) > rows.fullness(replace(many, kind=kinds[-2])) == 1


BIASED = replace(CONTEXT, model=replace(V3, bias=True))


@pytest.mark.parametrize(
    "context", [CONTEXT, DEEPEP, SKEWED, BIASED, replace(CONTEXT, tp=2, etp=2, sp=True, precision="fp8")]
)
def test_both_halves_of_a_backward_pass_are_the_whole(context: Context) -> None:
    """Only the input of the shared expert is gathered again where weight gradients come apart; both do not overlap."""
    halves = [moe.backward(replace(context, half=half)) for half in ("input", "weight")]
    whole = Counter((kernel.name, kernel.duration) for kernel in kernels(moe.backward(context)))
    assert sum((Counter((kernel.name, kernel.duration) for kernel in kernels(half)) for half in halves), Counter()) == (
        whole
    )
    assert not [name for name in names(halves[0]) if name.endswith("weight gradient")]
    assert all(name.endswith(("weight gradient", "experts down bias gradient")) for name in names(halves[1]))
    assert not [i for i in travels(halves[1]) if i[2] in ("ep", "experts", "etp")]


def test_what_waits_for_the_weight_gradients() -> None:
    """Rows 32,768: inputs 7,168 and 2,048 wide, output gradients 2 x 2,048 and 7,168; the router's 7,168 + 256; the
    shared expert like one expert of 4,096 tokens. All in 2 bytes."""
    widths = 2 * 7168 + 3 * 2048
    expected = 2 * (32_768 * widths + 4096 * (7168 + 256) + 4096 * widths)
    assert moe.saved_for_weights_nbytes(CONTEXT) == pytest.approx(expected, rel=1e-12)


def test_a_rank_holds_its_experts_and_all_that_is_not_an_expert() -> None:
    """An expert 3 x 7,168 x 2,048; four a rank. Shared expert and router on each."""
    expert = 3 * 7168 * 2048
    assert moe.expert_parameters(CONTEXT) == 4 * expert
    assert moe.parameters(CONTEXT) == 5 * expert + 7168 * 256
    assert moe.expert_parameters(replace(CONTEXT, tp=2, etp=2, sp=True)) == 2 * expert
    assert layers.expert_parameters(replace(CONTEXT, kind=LayerKind())) == 0


def test_saved_rows_are_those_of_the_fullest_rank() -> None:
    """Balanced 32,768 rows: 7,168 wide, 3 x 2,048 in the activation; 4 + 1 bytes for each of 4,096 tokens x 256 scores,
    4 bytes a row; the shared expert's activation."""
    expected = 32_768 * 2 * (7168 + 3 * 2048) + 5 * 4096 * 256 + 4 * 32_768 + 2 * 4096 * 3 * 2048
    assert moe.saved_nbytes(CONTEXT) == pytest.approx(expected, rel=1e-12)
    more = rows.fullest_rows(SKEWED) - 32_768
    assert moe.saved_nbytes(SKEWED) - moe.saved_nbytes(CONTEXT) == pytest.approx(
        more * (2 * (7168 + 3 * 2048) + 4), rel=1e-12
    )


@pytest.mark.parametrize(("precision", "above"), [("fp8", 1.7), ("mxfp8", 1.7), ("nvfp4", 2.3)])
def test_fewer_bits_multiply_faster_and_cost_a_cast(precision: Precision, above: float) -> None:
    """On a B200; what nobody measured is called extrapolated."""
    on_b200 = replace(CONTEXT, gpu=topologies.gpu("b200-sxm"))
    low = replace(on_b200, precision=precision)

    def up(context: Context) -> Compute:
        (found,) = [kernel for kernel in kernels(moe.forward(context)) if kernel.name == "experts up forward"]
        return found

    assert up(on_b200).duration / up(low).duration > above
    assert [name for name in names(moe.forward(low)) if name.startswith("experts") and name.endswith("cast")] == [
        "experts up input cast", "experts down input cast",
    ]  # fmt: skip
    assert up(low).basis[0].origin in ("extrapolated", "datasheet")
