"""Options of Megatron-LM [megatron/training/arguments.py]; those of the model itself are not among them."""

from collections.abc import Iterator, Mapping

from sim.models import Transformer
from sim.plan import ContextKind, Plan, split_layers, stage_layers
from sim.workload import TrainingStep
from topologies.document import InputError

SCHEDULES = ("1f1b", "interleaved")
CONTEXT: Mapping[ContextKind, str] = {"ring": "p2p", "all-gather": "all_gather", "all-to-all": "a2a"}


def flags(plan: Plan, model: Transformer, step: TrainingStep) -> str:
    """The options, one a line, as a shell takes them.

    Raises InputError where Megatron-LM has no such plan.
    """
    _check(plan)
    parts = (
        _degrees(plan),
        _stages(plan, model),
        _experts(plan),
        _sharding(plan),
        _recomputation(plan),
        _batch(plan, step),
    )
    return " \\\n".join(option for part in parts for option in part) + "\n"


def _check(plan: Plan) -> None:
    if plan.pp > 1 and plan.schedule not in SCHEDULES:
        raise InputError(f"Megatron-LM has no schedule {plan.schedule}; search with --schedule 1f1b,interleaved")
    if plan.compression != "none":
        raise InputError(f"Megatron-LM does not compress gradients ({plan.compression}); leave --compression out")


def _degrees(plan: Plan) -> Iterator[str]:
    yield f"--tensor-model-parallel-size {plan.tp}"
    if plan.sp:
        yield "--sequence-parallel"
    yield f"--pipeline-model-parallel-size {plan.pp}"
    if plan.cp > 1:
        yield f"--context-parallel-size {plan.cp}"
        yield f"--cp-comm-type {CONTEXT[plan.cp_kind]}"


def _stages(plan: Plan, model: Transformer) -> Iterator[str]:
    """Chunks, and what makes stages of unequal layers."""
    if plan.vpp > 1:
        yield f"--num-virtual-stages-per-pipeline-rank {plan.vpp}"
    if plan.group is not None:
        yield f"--microbatch-group-size-per-virtual-pipeline-stage {plan.group}"
    if plan.layers is None and model.num_layers % plan.num_stages == 0:
        return
    if plan.layers is None and split_layers(model.num_layers, plan.num_stages):
        yield "--account-for-embedding-in-pipeline-split"
        yield "--account-for-loss-in-pipeline-split"
        return
    yield f"--pipeline-model-parallel-layout '{_layout(stage_layers(plan, model.num_layers))}'"


def _layout(layers: tuple[int, ...]) -> str:
    """E the embedding, t a layer, L the loss, | between stages."""
    stages = ["t" * count for count in layers]
    return "|".join(["E" + stages[0], *stages[1:-1], stages[-1] + "L"])


def _experts(plan: Plan) -> Iterator[str]:
    if plan.ep > 1:
        yield f"--expert-model-parallel-size {plan.ep}"
        yield f"--expert-tensor-parallel-size {plan.expert_tp}"


def _sharding(plan: Plan) -> Iterator[str]:
    if plan.zero:
        yield "--use-distributed-optimizer"
    if plan.zero >= 2:
        yield "--use-megatron-fsdp"
        yield f"--data-parallel-sharding-strategy {'optim_grads' if plan.zero == 2 else 'optim_grads_params'}"
    if plan.zero and plan.shard is not None:
        yield f"--num-distributed-optimizer-instances {plan.num_replicas // plan.shard}"
    if plan.offload in ("optimizer", "all"):
        yield "--optimizer-cpu-offload"


def _recomputation(plan: Plan) -> Iterator[str]:
    if plan.recompute == "none":
        return
    yield f"--recompute-granularity {plan.recompute}"
    if plan.recompute == "selective":
        yield f"--recompute-modules {' '.join(plan.recomputed_modules)}"
    elif plan.recompute_layers is None:
        yield "--recompute-method uniform"
        yield "--recompute-num-layers 1"
    else:
        yield "--recompute-method block"
        yield f"--recompute-num-layers {plan.recompute_layers}"


def _batch(plan: Plan, step: TrainingStep) -> Iterator[str]:
    yield f"--micro-batch-size {plan.micro_batch}"
    yield f"--global-batch-size {plan.global_batch}"
    yield f"--seq-length {step.seq_len}"
    if step.precision in ("bf16", "fp16"):
        yield f"--{step.precision}"
    else:
        yield "--bf16"
        yield from {"fp8": ["--fp8-format hybrid"], "mxfp8": ["--fp8-format e4m3", "--fp8-recipe mxfp8"]}.get(
            step.precision, ["--fp4-format e2m1"]
        )
