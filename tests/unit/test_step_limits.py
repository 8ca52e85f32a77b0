"""How large a step may be: the largest that are meant to be played pass, what would take minutes is refused."""

import pytest

import topologies
from sim import limits, models
from sim.default_plan import PartialPlan, options
from sim.detail import Detail
from sim.plan import Plan
from topologies.document import InputError


def plan_of(partial: PartialPlan, model: str, num_gpus: int, seq_len: int) -> Plan:
    cluster = topologies.load("dgx-h100", num_gpus)
    (plan,) = options(partial, models.load(model), cluster, num_gpus, seq_len)
    return plan


DEEPSEEK = PartialPlan(tp=1, pp=16, ep=64, schedule="dualpipe", recompute="full", global_batch=15_360)
LLAMA = PartialPlan(tp=8, cp=16, pp=16, zero=3, recompute="none", global_batch=128)
JITTERED = PartialPlan(tp=8, pp=16, recompute="full", global_batch=4096)
LONG_RING = PartialPlan(tp=8, cp=256, pp=2, recompute="full", global_batch=1024)
COPIED = PartialPlan(dp=256, recompute="none", offload="activations", global_batch=256 * 16)
REDUCED = PartialPlan(dp=256, recompute="none", zero=2, global_batch=256 * 32)
LONG = PartialPlan(tp=1, pp=64, recompute="full", schedule="zb-h1", global_batch=8192)


@pytest.mark.parametrize(
    ("partial", "model", "num_gpus", "seq_len", "detail", "jitter"),
    [
        (DEEPSEEK, "deepseek-v3", 2048, 4096, "layer", 0.0),
        (LLAMA, "llama3-405b", 16_384, 131_072, "layer", 0.0),
        (JITTERED, "llama3-405b", 16_384, 8192, "stage", 0.02),
    ],
)
def test_the_largest_runs_there_are_pass(
    partial: PartialPlan, model: str, num_gpus: int, seq_len: int, detail: Detail, jitter: float
) -> None:
    plan, cluster = plan_of(partial, model, num_gpus, seq_len), topologies.load("dgx-h100", num_gpus)
    limits.check_play(plan, models.load(model), cluster, detail, jitter=jitter)


@pytest.mark.parametrize(
    ("partial", "num_gpus", "seq_len", "detail", "jitter", "message"),
    [
        (LONG_RING, 4096, 131_072, "kernel", 0.0, "million operations are too many .* use --detail layer"),
        (JITTERED, 16_384, 8192, "kernel", 0.02, "million operations are too many .* use --detail layer"),
        (PartialPlan(tp=1, pp=2, recompute="full"), 32_768, 8192, "stage", 0.02, "unequal ranks .* or no jitter"),
        (COPIED, 256, 8192, "stage", 0.02, "million operations are too many .* stage detail; use --global-batch 3840 "),
        (REDUCED, 256, 8192, "stage", 0.02, "million operations are too many .* stage detail"),
        (LONG, 64, 8192, "stage", 0.0, r"8,192 microbatches .* use --global-batch 5184 or less"),
    ],
)
def test_what_would_take_minutes_is_refused(
    partial: PartialPlan, num_gpus: int, seq_len: int, detail: Detail, jitter: float, message: str
) -> None:
    """1,000,000 actions of zb-h1 on 64 stages, three a microbatch, are 5208 microbatches, in whole rounds 5184.
    Copies are 10 operations a layer, with 8 of the pass 1268 a microbatch on 256 GPUs: 5,000,000 are 15 of 256."""
    plan, cluster = plan_of(partial, "llama3-405b", num_gpus, seq_len), topologies.load("dgx-h100", num_gpus)
    with pytest.raises(InputError, match=message):
        limits.check_play(plan, models.load("llama3-405b"), cluster, detail, jitter=jitter)
