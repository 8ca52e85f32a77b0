"""What a pass takes, beside what bandwidth and kernels say of it."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

import topologies
from sim import models
from sim.costs import gemm
from sim.costs.attention import paged_decode, paged_prefill
from sim.deployment import Deployment, Layout, Scheduling, Speculation
from sim.frameworks import serving
from sim.models import num_parameters
from sim.serving.costs.attention import grouped_core
from sim.serving.costs.forward import pass_costs
from sim.serving.costs.parts import ROUTED, TOKENS
from sim.serving.costs.products import product
from sim.serving.costs.stages import rank_of, stage_layers
from sim.serving.defaults import settings
from sim.serving.passes import PassCosts, Shape
from sim.serving.service import serve
from tests.pass_costs import one_by_one
from tests.served import alike
from topologies.document import InputError

H100 = topologies.load("dgx-h100")
LLAMA = models.load("llama3-70b")
VLLM = serving.load("vllm")
CONTEXT = 1000


def costs(*, tp: int, pp: int = 1) -> PassCosts:
    return pass_costs(LLAMA, H100, Deployment(layout=Layout(tp=tp, pp=pp)), VLLM)


def decoding(num: int, context: int = CONTEXT) -> Shape:
    return Shape(num, num * context, (), num)


def seconds(made: PassCosts, shape: Shape) -> float:
    return sum(stage.seconds for stage in made.stages(shape))


def test_a_token_takes_at_least_the_time_to_read_the_weights() -> None:
    """70.6 billion of 2 bytes on 4 GPUs at 3.35 TB/s: 10.5 ms; real servers take some 1.6 times that."""
    bound = 2 * num_parameters(LLAMA) / 4 / H100.gpu.memory_bandwidth
    assert bound < seconds(costs(tp=4), decoding(1)) < 2 * bound


def test_twice_the_gpus_take_more_than_half_of_the_time() -> None:
    four, eight = (seconds(costs(tp=tp), decoding(16)) for tp in (4, 8))
    assert four / 2 < eight < 0.75 * four


def test_stages_share_the_layers_and_send_what_lies_between() -> None:
    one, two = costs(tp=4), costs(tp=4, pp=2)
    stages = two.stages(decoding(16))
    assert len(stages) == two.num_stages == 2
    assert sum(stage.seconds for stage in stages) == pytest.approx(seconds(one, decoding(16)), rel=0.01)
    assert stages[0].send > 0
    assert stages[1].send == 0
    assert [len(layers) for layers in stage_layers(LLAMA, Deployment(layout=Layout(pp=3)))] == [27, 27, 26]


def test_layers_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(InputError, match="has 80 for pp=2; give 2 numbers"):
        stage_layers(LLAMA, Deployment(layout=Layout(pp=2, layers=(40, 39))))


def test_tables_hold_the_kernels_own_times() -> None:
    """Products at every number of tokens up to 512, attention at points of the grid and between them."""
    rank = rank_of(LLAMA, H100, Deployment(layout=Layout(tp=4)), VLLM, 0, ROUTED)
    table = product(rank, 2048, 8192)
    for tokens in (1, 17, 300, 512):
        exact = gemm.gemm(H100.gpu, tokens, 2048, 8192, "bf16", cold_weights=True)
        assert table[tokens - 1] == pytest.approx(exact, rel=1e-9)
    made = costs(tp=4)
    for num, context in ((3, 700), (40, 5000), (200, 1111)):
        exact = 80 * paged_decode(H100.gpu, (context,) * num, num_heads=16, num_kv_heads=2, head_dim=128)
        assert made.stages(decoding(num, context))[0].attention == pytest.approx(exact, rel=0.03)
    for new, cached in ((1024, 0), (5000, 0), (2048, 6000), (300, 100)):
        exact = 80 * paged_prefill(H100.gpu, (new,), (cached,), num_heads=16, num_kv_heads=2, head_dim=128)
        assert made.stages(Shape(0, 0, ((new, cached),), 1))[0].attention == pytest.approx(exact, rel=0.08)


def test_between_rows_the_time_is_a_straight_line_within_half_a_per_cent() -> None:
    """All products of the stage, at numbers of tokens between those of the table; the median of 40 of them."""
    rank = rank_of(LLAMA, H100, Deployment(layout=Layout(tp=4)), VLLM, 0, ROUTED)
    between = np.random.default_rng(0).integers(600, 16000, 40).astype(np.float64)
    shapes = ((2560, 8192), (8192, 2048), (14336, 8192), (8192, 7168))
    looked_up = sum(np.interp(between, TOKENS, product(rank, n, k)) for n, k in shapes)
    exact = sum(
        gemm.seconds(H100.gpu, between, np.full(40, float(n)), np.full(40, float(k)), "bf16", cold_weights=True)
        for n, k in shapes
    )
    assert np.median(np.abs(looked_up / exact - 1)) < 0.005


@pytest.mark.parametrize(("mean", "longest"), [(CONTEXT, 0), (CONTEXT, 3 * CONTEXT), (40, 100), (1, 6), (900, 900)])
def test_consecutive_decodes_equal_one_after_the_other(mean: int, longest: int) -> None:
    """Through cells of all tables and beyond their ends, where one is longer than the others."""
    made = costs(tp=4, pp=2)
    many = one_by_one(made.decodes(7, 7 * mean + 2, 300, longest))
    for step in range(0, 300, 7):
        shape = Shape(7, 7 * (mean + step) + 2, (), 7, longest and longest + step)
        assert np.array(many[step]) == pytest.approx(np.array(made.stages(shape)), rel=1e-12)


def test_prompts_beside_decodes_are_told_apart() -> None:
    """Those who decode keep their own seconds; all that the prompt adds is `prefill`."""
    made = costs(tp=4)
    alone, beside = (made.stages(Shape(8, 8000, prefills, 8))[0] for prefills in ((), ((2048, 0),)))
    assert beside._replace(prefill=0.0) == alone
    prompt = seconds(made, Shape(0, 0, ((2048, 0),), 1))
    assert prompt - alone.seconds < beside.prefill < prompt


def test_a_graph_pads_to_the_next_captured_size() -> None:
    """9 to 16 requests share a graph; products do not notice, attention does."""
    made = costs(tp=4)
    nine, sixteen = (made.stages(decoding(num))[0] for num in (9, 16))
    assert nine.tp == pytest.approx(sixteen.tp, rel=0.05)
    assert nine.attention < sixteen.attention


def test_a_host_that_works_beside_the_gpus_is_waited_for_when_it_is_longer() -> None:
    """TensorRT-LLM's 2 ms + 72 us a sequence: hidden behind the 12 ms of 70B on 8 GPUs, but not behind 1B's."""
    framework, deployment = serving.load("trtllm"), Deployment(layout=Layout(tp=8))
    small = models.load("llama3.2-1b")
    hidden, shown = (pass_costs(model, H100, deployment, framework).host(64) for model in (LLAMA, small))
    assert hidden == framework.overlapped_seconds < shown
    in_turn = replace(deployment, scheduling=Scheduling(asynchronous=False))
    whole = framework.host_seconds + 64 * framework.host_sequence_seconds
    assert pass_costs(LLAMA, H100, in_turn, framework).host(64) == pytest.approx(whole)


def test_a_drafting_model_computes_more_rows() -> None:
    plain = costs(tp=4)
    drafted = pass_costs(
        LLAMA, H100, Deployment(layout=Layout(tp=4), speculation=Speculation(tokens=3, acceptance=0.7)), VLLM
    )
    assert seconds(plain, decoding(4)) < seconds(drafted, decoding(4)) < 1.2 * seconds(plain, decoding(4))


def test_proposed_tokens_are_rows_once() -> None:
    """128 requests with 3 proposed tokens each are 512 rows, both where a server schedules them and where a pass
    is timed by itself; 8 beside a prompt are 32."""
    speculation = Speculation(tokens=3, acceptance=0.0, draft_share=0.0)
    deployment = Deployment(layout=Layout(tp=4), speculation=speculation)
    proposing = pass_costs(LLAMA, H100, deployment, VLLM)
    beside = Shape(8, 8000, ((512, 0),), 9)
    rows = pass_costs(LLAMA, H100, Deployment(layout=Layout(tp=4)), VLLM).stages(Shape(32, 32_000, ((512, 0),), 33))
    assert proposing.stages(beside)[0].seconds == pytest.approx(rows[0].seconds, rel=0.02)
    goes_by = settings(deployment, VLLM, LLAMA, H100, num_blocks=10_000)
    played = serve(alike(128, 10, 3), goes_by, proposing)
    assert played.gap_seconds.min() == pytest.approx(seconds(proposing, decoding(128, 11)), rel=0.05)


def test_a_token_drawn_from_the_likeliest_costs_more_than_the_likeliest() -> None:
    """256 requests x 128,256 logits: greedy moves 0.33 GB, 0.11 ms of an H100, the sort of vLLM 0.12 15 GB, 5 ms."""
    moved = 256 * LLAMA.vocab / 3.0e12
    for framework in (VLLM, serving.load("vllm-0.12")):
        greedy, drawn = (
            seconds(pass_costs(LLAMA, H100, Deployment(layout=Layout(tp=4), sampling=how), framework), decoding(256))
            for how in ("greedy", "top-p")
        )
        assert drawn - greedy == pytest.approx(moved * (framework.top_p_nbytes - framework.greedy_nbytes), rel=0.1)


def test_a_window_bounds_what_attention_reads() -> None:
    gpt = models.load("gpt-oss-20b")
    rank = rank_of(gpt, H100, Deployment(), VLLM, 0, ROUTED)
    kinds = {kind.window: grouped_core(rank, kind) for kind in stage_layers(gpt, Deployment())[0]}
    batch, length = np.array([64.0]), np.array([8192.0])
    assert 5 * kinds[128].decodes(batch, length, None) < kinds[None].decodes(batch, length, None)


def test_twice_the_rates_and_half_the_latencies_take_half_of_the_time() -> None:
    """All a GPU's rates and starts, and the host's: everything but what its own kernels' fits say in seconds."""
    gpu = H100.gpu
    fast = replace(gpu, memory_bandwidth=2 * gpu.memory_bandwidth, peak_flops=_twice(gpu.peak_flops))
    pool = replace(H100.pools[0], node=replace(H100.pools[0].node, gpu=fast))
    quick = pass_costs(LLAMA, replace(H100, pools=(pool,)), Deployment(layout=Layout(tp=2)), VLLM)
    slow = costs(tp=2)
    prompt = Shape(0, 0, ((8192, 0),), 1)
    assert seconds(quick, prompt) / seconds(slow, prompt) == pytest.approx(0.5, abs=0.12)
    assert seconds(quick, decoding(64)) / seconds(slow, decoding(64)) == pytest.approx(0.5, abs=0.12)


def _twice(rates: Mapping[str, float]) -> dict[str, float]:
    return {name: 2 * rate for name, rate in rates.items()}
