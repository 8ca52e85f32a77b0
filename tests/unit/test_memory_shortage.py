"""Out of memory is said with rank, moment, amount and content; and what is proposed has been computed to fit."""

from dataclasses import replace

import pytest

import topologies
from sim import frameworks, models
from sim.layers.context import Context
from sim.memory import changes_that_fit, memory_use, out_of_memory, room
from sim.memory.over_time import MemoryOverTime, memory_over_time
from sim.models.transformer import Transformer
from sim.plan import Plan, check
from sim.training import context_of
from sim.workload import TrainingStep
from tests.programs import plan, small, train
from topologies.hardware import Cluster
from topologies.quantity import GIB

LLAMA, GPT = models.load("llama3-70b"), models.load("gpt-175b")
H100, A100 = topologies.load("dgx-h100", 64), topologies.load("dgx-a100", 128)
SHORT = {
    "too few GPUs": (LLAMA, topologies.load("dgx-h100", 8), plan(tp=8, sp=True)),
    "long sequences": (LLAMA, H100, plan(tp=4, pp=4, dp=4, sp=True, micro_batch=2, global_batch=64)),
    "nothing sharded": (LLAMA, H100, plan(tp=8, pp=1, dp=8, sp=True, recompute="full")),
    "a deep pipeline": (GPT, A100, plan(tp=8, pp=8, dp=2, sp=True, micro_batch=8, global_batch=512)),
}


def context(model: Transformer, cluster: Cluster, layout: Plan, seq_len: int = 4096) -> Context:
    step = TrainingStep(seq_len=min(seq_len, model.max_seq_len), precision="bf16")
    return context_of(model, cluster, layout, step, frameworks.load("megatron-core"))


@pytest.mark.parametrize("name", SHORT)
def test_every_change_that_is_proposed_fits_and_can_be_run(name: str) -> None:
    """On the same number of GPUs, the same global batch; at most three, no two alike."""
    model, cluster, layout = SHORT[name]
    before = context(model, cluster, layout, 8192)
    over = [
        use.reserved > nbytes for use, nbytes in zip(memory_use(before, layout), room(cluster, layout), strict=True)
    ]
    fits = changes_that_fit(before, layout, cluster)
    assert any(over)
    assert len(fits) <= 3
    assert len({fit.said for fit in fits}) == len(fits)
    for fit in fits:
        assert (fit.plan.num_gpus, fit.plan.global_batch) == (layout.num_gpus, layout.global_batch)
        check(fit.plan, model, cluster, before.seq_len)
        uses = memory_use(context(model, cluster, fit.plan, 8192), fit.plan)
        assert max(use.reserved for use in uses) == fit.need
        assert all(use.reserved <= nbytes for use, nbytes in zip(uses, room(cluster, fit.plan), strict=True))


def test_the_least_change_is_proposed_first() -> None:
    """Full recomputation costs a third of the compute, offload more; smaller microbatches and ZeRO come before them."""
    model, cluster, layout = SHORT["nothing sharded"]
    said = [fit.said for fit in changes_that_fit(context(model, cluster, layout), layout, cluster)]
    assert said[0] == "zero=1"


def test_two_changes_are_proposed_where_none_does_alone() -> None:
    """405 billion parameters on 32 x 8 GPUs: nothing sharded are 6 bytes of 51 billion parameters alone too much, and
    sharded the activations of all 126 layers."""
    cluster, model = topologies.load("dgx-h100", 256), models.load("llama3-405b")
    layout = plan(tp=8, dp=32, sp=True, num_microbatches=4)
    fits = changes_that_fit(context(model, cluster, layout, 8192), layout, cluster)
    assert fits
    assert any(fit.said.startswith("zero=3 and ") for fit in fits)
    assert out_of_memory(context(model, cluster, layout, 8192), layout, cluster)[-1].count(" and ") >= len(fits)


def test_nothing_is_said_where_all_is_well() -> None:
    layout = plan()
    assert out_of_memory(context(small(), H100, layout), layout, H100) == ()


def test_the_sentences_name_rank_moment_amount_and_content() -> None:
    """GPT-175B, 8 x 8 x 2 GPUs, microbatches of 8: rank 0 has eight of them in flight, so its first backward is the
    worst moment."""
    model, cluster, layout = SHORT["a deep pipeline"]
    before = context(model, cluster, layout)
    use, capacity = memory_use(before, layout)[0], room(cluster, layout)[0]
    shortage, content, advice = out_of_memory(before, layout, cluster)
    assert shortage.startswith("Out of memory on pipeline rank 0 (and on 1, ")
    assert f": {use.reserved / GIB:.1f} GiB needed of {capacity / GIB:.1f} GiB, " in shortage
    assert f" {(use.reserved - capacity) / GIB:.1f} GiB too much, " in shortage
    assert shortage.endswith("in the backward pass of microbatch 0 through stage 0.")
    assert content.startswith(f"It holds activations {use.activations / GIB:.1f}, ")
    assert advice.startswith("Would fit: ")
    assert advice.count(" GiB)") <= 3


def test_the_moment_is_also_told_as_a_share_of_the_step() -> None:
    """Four ranks with almost no memory: the whole step is played, though it does not fit."""
    cluster, layout = topologies.load("dgx-a100", 8), plan(pp=4, num_microbatches=8)
    tiny = small("gpt-22b", 4)
    timeline = train(layout, cluster, tiny)
    before = context(tiny, cluster, layout, 1024)
    starved = _with_memory(cluster, 8 * GIB)
    over_time: tuple[MemoryOverTime, ...] = memory_over_time(before, layout, timeline)
    worst = over_time[0]
    share = worst.times[worst.totals.argmax()] / worst.times[-1]
    assert f", {share:.0%} into the step.".replace("%", " %") in out_of_memory(before, layout, starved, over_time)[0]


def test_where_nothing_fits_more_gpus_are_advised() -> None:
    layout = plan(tp=8, sp=True)
    nothing = _with_memory(topologies.load("dgx-h100", 8), 2 * GIB)
    assert changes_that_fit(context(LLAMA, nothing, layout), layout, nothing) == ()
    assert "use more GPUs" in out_of_memory(context(LLAMA, nothing, layout), layout, nothing)[-1]


def _with_memory(cluster: Cluster, nbytes: float) -> Cluster:
    pool = cluster.pools[0]
    gpu = replace(pool.node.gpu, memory_nbytes=nbytes)
    return replace(cluster, pools=(replace(pool, node=replace(pool.node, gpu=gpu)),))
