"""Options of torchtitan as TOML [torchtitan/config/job_config.py]."""

from collections.abc import Iterator, Mapping

from sim.models import Transformer
from sim.plan import Plan
from sim.workload import TrainingStep
from topologies.document import InputError

SCHEDULES: Mapping[str, str] = {
    "1f1b": "1F1B",
    "gpipe": "GPipe",
    "interleaved": "Interleaved1F1B",
    "looped": "LoopedBFS",
    "zb-v": "ZBVZeroBubble",
    "dualpipev": "DualPipeV",
}
"""As torch.distributed.pipelining names them."""


def flags(plan: Plan, model: Transformer, step: TrainingStep) -> str:
    """Tables of a TOML file. Sequence parallelism is part of torchtitan's tensor parallelism.

    Raises InputError where torchtitan has no such plan.
    """
    _check(plan, step)
    tables = {
        "training": _training(plan, step),
        "parallelism": _parallelism(plan, model),
        "activation_checkpoint": _again(plan),
    }
    return "\n".join(f"[{name}]\n" + "".join(f"{line}\n" for line in lines) for name, lines in tables.items())


def _check(plan: Plan, step: TrainingStep) -> None:
    if plan.pp > 1 and plan.schedule not in SCHEDULES:
        known = ", ".join(SCHEDULES)
        raise InputError(f"torchtitan has no schedule {plan.schedule}; search with --schedule among {known}")
    if plan.zero == 1:
        raise InputError("torchtitan has no ZeRO 1; search with --zero 0,2,3 or --framework fsdp2")
    if step.precision not in ("bf16", "fp8", "mxfp8"):
        raise InputError(f"torchtitan does not train in {step.precision}; use --precision bf16")


def _training(plan: Plan, step: TrainingStep) -> Iterator[str]:
    """With a pipeline all of a rank's sequences are one batch, cut into microbatches; without, they accumulate."""
    local = plan.micro_batch * (plan.num_microbatches if plan.pp > 1 else 1)
    yield f"local_batch_size = {local}"
    yield f"global_batch_size = {plan.global_batch}"
    yield f"seq_len = {step.seq_len}"


def _parallelism(plan: Plan, model: Transformer) -> Iterator[str]:
    sharing = plan.dp if plan.shard is None else plan.shard // plan.cp
    sharing = sharing if plan.zero else 1
    yield f"data_parallel_replicate_degree = {plan.dp // max(1, sharing)}"
    yield f"data_parallel_shard_degree = {max(1, sharing)}"
    if plan.zero:
        yield f'fsdp_reshard_after_forward = "{"always" if plan.zero == 3 else "never"}"'
    yield f"tensor_parallel_degree = {plan.tp}"
    yield f"context_parallel_degree = {plan.cp}"
    yield f"expert_parallel_degree = {plan.ep}"
    yield f"pipeline_parallel_degree = {plan.pp}"
    if plan.pp > 1:
        yield f'pipeline_parallel_schedule = "{SCHEDULES[plan.schedule]}"'
        yield f"pipeline_parallel_microbatch_size = {plan.micro_batch}"
        if plan.layers is None and model.num_layers % plan.num_stages == 0:
            yield f"pipeline_parallel_layers_per_stage = {model.num_layers // plan.num_stages}"


def _again(plan: Plan) -> Iterator[str]:
    yield f'mode = "{plan.recompute}"'
    if plan.recompute == "selective":
        yield 'selective_ac_option = "op"'
