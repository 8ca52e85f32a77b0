"""Plans in the words of Megatron-LM and torchtitan."""

import tomllib
from dataclasses import replace

import pytest

from sim import models
from sim.plan import Plan
from sim.planning.flags import FLAGS
from sim.workload import TrainingStep
from topologies.document import InputError

MODEL = models.load("llama3-70b")
STEP = TrainingStep(seq_len=8192, precision="bf16")
PLAN = Plan(
    tp=8, sp=True, pp=4, vpp=5, dp=8, zero=1, recompute="selective", schedule="interleaved", micro_batch=1,
    global_batch=256, cp=2,
)  # fmt: skip


def megatron(plan: Plan) -> list[str]:
    return FLAGS["megatron-lm"](plan, MODEL, STEP).replace(" \\", "").splitlines()


def test_megatron_takes_every_degree() -> None:
    assert megatron(PLAN) == [
        "--tensor-model-parallel-size 8",
        "--sequence-parallel",
        "--pipeline-model-parallel-size 4",
        "--context-parallel-size 2",
        "--cp-comm-type p2p",
        "--num-virtual-stages-per-pipeline-rank 5",
        "--use-distributed-optimizer",
        "--recompute-granularity selective",
        "--recompute-modules core_attn",
        "--micro-batch-size 1",
        "--global-batch-size 256",
        "--seq-length 8192",
        "--bf16",
    ]


def test_megatron_is_told_of_unequal_stages() -> None:
    """llama3-70b has 80 layers; 3 stages have 26, 27 and 27, for the first has the embedding, too."""
    plan = replace(PLAN, pp=3, vpp=1, schedule="1f1b", cp=1)
    assert f"--pipeline-model-parallel-layout 'E{'t' * 26}|{'t' * 27}|{'t' * 27}L'" in megatron(plan)


def test_megatron_has_no_zero_bubble_schedule() -> None:
    with pytest.raises(InputError, match="no schedule zb-h1"):
        megatron(replace(PLAN, vpp=1, schedule="zb-h1"))


def test_torchtitan_reads_the_tables() -> None:
    plan = replace(PLAN, zero=3, recompute="full")
    tables = tomllib.loads(FLAGS["torchtitan"](plan, MODEL, STEP))
    assert tables["parallelism"] == {
        "data_parallel_replicate_degree": 1,
        "data_parallel_shard_degree": 8,
        "fsdp_reshard_after_forward": "always",
        "tensor_parallel_degree": 8,
        "context_parallel_degree": 2,
        "expert_parallel_degree": 1,
        "pipeline_parallel_degree": 4,
        "pipeline_parallel_schedule": "Interleaved1F1B",
        "pipeline_parallel_microbatch_size": 1,
        "pipeline_parallel_layers_per_stage": 4,
    }
    assert tables["training"] == {"local_batch_size": 32, "global_batch_size": 256, "seq_len": 8192}
    assert tables["activation_checkpoint"] == {"mode": "full"}


def test_torchtitan_refuses_what_it_does_not_have() -> None:
    with pytest.raises(InputError, match="no ZeRO 1"):
        FLAGS["torchtitan"](PLAN, MODEL, STEP)
