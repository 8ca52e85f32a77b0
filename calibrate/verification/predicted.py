"""The simulator plays what `calibrate verify` runs: the same Transformer, schedule, kernels and collectives.

A block of a layer becomes the very passes that sim.layers has for it, one forward and one backward on every rank; a
pipeline, data parallelism and ZeRO are lowered as a training step is. Nothing here knows a time: all come from the
costs, which the machine's own profile has set.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from calibrate.verification.sizes import Sizes
from sim import layers
from sim.clock import clocked
from sim.costs import ELEMENT, compression
from sim.costs.collectives import activity_of, alone
from sim.costs.memory_bound import stream
from sim.costs.processor import WIDER
from sim.costs.processor import Kind as Moving
from sim.detail import condenser
from sim.engine import Engine
from sim.folding import unfolded
from sim.frameworks import Framework, laid_over
from sim.instructions import Activity, Block, Collective, Compute, Instruction, Transfer
from sim.layers import attention, context_parallel, mlp, moe
from sim.layers.context import Context, Pass, collective_of, compute_pass, join, streaming
from sim.layers.linear import column_backward, column_forward, row_backward, row_forward
from sim.lowering import inner_groups, lower
from sim.models.transformer import Moe, Transformer, layer_kind
from sim.plan import Plan, check, group_of
from sim.program import Program, Stream, different_blocks
from sim.schedules import Action, Kind
from sim.timeline import Timeline
from sim.training import context_of
from sim.workload import TrainingStep
from topologies.document import Value
from topologies.hardware import Cluster

Direction = Callable[[Context], Pass]
Spread = Callable[[Plan, int], Plan]

FACTS: Final[Mapping[str, Value]] = {
    "qkv_gradients_joined": True,
    "vocab_multiple": 1,
    "weight_nbytes": 2,
    "gradient_nbytes": 2,
    "gradient_reduce_nbytes": 2,
    "gradient_copy_nbytes": 0,
    "overlap_param_gather": False,
    "token_dispatcher": "all-to-all",
    "moe_sync_seconds": 0.0,
    "host_seconds": 0.0,
    "data_seconds": 0.0,
}
"""How the blocks are written, laid over what the simulator knows of PyTorch's FSDP2: all in bf16, nothing fused."""

ON_PROCESSOR: Final[Mapping[str, Value]] = {"logits_nbytes": 2}
"""A processor computes in fp32, and its costs take a number for twice as wide as the layers do: 2 bytes stand for 4,
those of weights and gradients above too. What was cast to fp32 for the loss is so already."""

OF_REPLICAS: Final[Mapping[str, Value]] = {"gradient_copy_nbytes": 4}
"""Before gradients are summed, those of a part are put into one flat tensor: read and written."""

LAYERS: Final[Mapping[str, tuple[Direction, Direction]]] = {
    "column-parallel linear": (
        lambda context: column_forward(context, "linear", context.model.hidden, context.model.ffn),
        lambda context: column_backward(context, "linear", context.model.hidden, context.model.ffn),
    ),
    "row-parallel linear": (
        lambda context: row_forward(context, "linear", context.model.ffn, context.model.hidden),
        lambda context: row_backward(context, "linear", context.model.ffn, context.model.hidden),
    ),
    "tensor-parallel attention": (attention.forward, attention.backward),
    "tensor-parallel mlp": (mlp.forward, mlp.backward),
    "sequence parallelism": (layers.forward, lambda context: join(layers.backward(context), _norm_sums(context))),
    "ring attention": (context_parallel.forward, context_parallel.backward),
    "ulysses": (context_parallel.forward, context_parallel.backward),
    "expert parallelism": (moe.forward, moe.backward),
}
"""The blocks that are part of one layer: forward and backward."""

PIPELINES: Final = ("pipeline gpipe", "pipeline 1f1b", "pipeline interleaved")
COMPRESSED: Final = "int8 gradients"
"""The sum of one gradient, and no pass."""
FP32: Final = 4

# Bytes that eager kernels move for each value, where a fused kernel moves five.
DEQUANTISED: Final = 1 + FP32
"""Times its scale."""
QUANTISED: Final = (4 + 4) + 4 + (4 + 4) + (4 + 4) + (4 + 1) + (1 + 1) + DEQUANTISED + 3 * FP32
"""Magnitude, the largest, divided by it, rounded, cast, beside its scale; and what that lost."""
CORRECTED: Final = 3 * FP32
"""What was lost before is added."""
SUMMED: Final = DEQUANTISED + FP32

PLANS: Final[Mapping[str, Spread]] = {
    "column-parallel linear": lambda plan, ranks: replace(plan, tp=ranks),
    "row-parallel linear": lambda plan, ranks: replace(plan, tp=ranks),
    "tensor-parallel attention": lambda plan, ranks: replace(plan, tp=ranks),
    "tensor-parallel mlp": lambda plan, ranks: replace(plan, tp=ranks),
    "sequence parallelism": lambda plan, ranks: replace(plan, tp=ranks, sp=True),
    "ring attention": lambda plan, ranks: replace(plan, cp=ranks, cp_kind="ring"),
    "ulysses": lambda plan, ranks: replace(plan, cp=ranks, cp_kind="all-to-all"),
    "expert parallelism": lambda plan, ranks: replace(_replicated(plan, ranks), ep=ranks),
    "pipeline gpipe": lambda plan, ranks: replace(plan, pp=ranks, schedule="gpipe"),
    "pipeline 1f1b": lambda plan, ranks: replace(plan, pp=ranks, schedule="1f1b"),
    "pipeline interleaved": lambda plan, ranks: replace(plan, pp=ranks, vpp=2, schedule="interleaved"),
    "data parallel": lambda plan, ranks: _replicated(plan, ranks),
    "zero 1": lambda plan, ranks: replace(_replicated(plan, ranks), zero=1),
    "zero 2": lambda plan, ranks: replace(_replicated(plan, ranks), zero=2),
    "zero 3": lambda plan, ranks: replace(_replicated(plan, ranks), zero=3),
    COMPRESSED: lambda plan, ranks: _replicated(plan, ranks),
}
"""How each block is spread over all ranks."""

UPDATING: Final = ("zero 1", "zero 2", "zero 3")
"""The blocks that end with a step of the optimizer."""


def predicted(name: str, sizes: Sizes, cluster: Cluster, *, launch_seconds: float = 0.0) -> Timeline:
    """One repetition of the block of that name on all GPUs of the cluster, as the simulator plays it: in bf16, or where
    processors stand for GPUs in fp32.

    `launch_seconds` are the host's to start a kernel; none where each kernel's law has them, as on a processor.
    """
    plan = plan_of(name, sizes, cluster.num_gpus)
    model = model_of(name, sizes)
    framework = laid_over("fsdp2", {**_facts(plan, cluster), "launch_seconds": launch_seconds})
    check(plan, model, cluster, sizes.seq_len)
    step = TrainingStep(seq_len=sizes.seq_len, precision="bf16")
    context = context_of(model, cluster, plan, step, framework)
    at_clock = cluster if cluster.library == "gloo" else clocked(context, plan, cluster)
    context = context_of(model, at_clock, plan, step, framework)
    return Engine(at_clock).play(_program(name, context, plan, at_clock))


def _facts(plan: Plan, cluster: Cluster) -> Mapping[str, Value]:
    """How the blocks are written, for that plan on what the cluster is made of."""
    of_replicas = OF_REPLICAS if plan.num_replicas > plan.cp else {}
    return {**FACTS, **of_replicas, **(ON_PROCESSOR if cluster.gpu.is_processor else {})}


def model_of(name: str, sizes: Sizes) -> Transformer:
    """The small Llama of the blocks; only that of expert parallelism has experts."""
    experts = Moe(num_experts=sizes.num_experts, top_k=sizes.top_k, ffn=sizes.ffn)
    return Transformer(
        name=f"the model of {name}",
        num_layers=sizes.num_layers,
        hidden=sizes.hidden,
        num_heads=sizes.heads,
        num_kv_heads=sizes.heads,
        head_dim=sizes.head_dim,
        ffn=sizes.ffn,
        vocab=sizes.vocab,
        gated_mlp=True,
        activation="swiglu",
        norm="rmsnorm",
        bias=False,
        position="rotary",
        max_seq_len=sizes.seq_len,
        tied_embedding=False,
        dropout=False,
        moe=experts if name == "expert parallelism" else None,
    )


def plan_of(name: str, sizes: Sizes, num_ranks: int) -> Plan:
    """The block spread over so many ranks; a block of a layer has one microbatch, a model all."""
    num_microbatches = 1 if name in (*LAYERS, COMPRESSED) else sizes.num_microbatches
    alone = Plan(
        tp=1,
        sp=False,
        pp=1,
        vpp=1,
        dp=1,
        zero=0,
        recompute="none",
        schedule="1f1b",
        micro_batch=sizes.micro_batch,
        global_batch=sizes.micro_batch * num_microbatches,
    )
    return PLANS[name](alone, num_ranks)


def _replicated(plan: Plan, num_ranks: int) -> Plan:
    return replace(plan, dp=num_ranks, global_batch=plan.global_batch * num_ranks)


def _program(name: str, context: Context, plan: Plan, cluster: Cluster) -> Program:
    """Of a part of a model its own passes, of a whole model a training step."""
    if name in LAYERS:
        forward, backward = LAYERS[name]
        context = replace(context, kind=layer_kind(context.model, 0))
        return _of_passes({"F": forward(context), "B": backward(context)}, context.framework, plan, cluster)
    if name == COMPRESSED:
        return _of_passes({"B": _compressed(context, plan)}, context.framework, plan, cluster)
    return _of_step(name, context, plan, cluster)


def _compressed(context: Context, plan: Plan) -> Pass:
    """The gradient of one matrix, summed over the replicas in int8, by kernels that are not fused.

    Bytes are true ones, of fp32 and int8 everywhere, which a processor's costs would take for twice as many.
    """
    count, ranks = context.model.hidden * context.model.ffn, plan.num_replicas
    part, true = count / ranks, 1 / WIDER if context.gpu.is_processor else 1.0
    kernels: Iterator[tuple[float, Moving]] = iter(
        [
            ((CORRECTED + QUANTISED) * count, "quantise"),
            (SUMMED * count + (FP32 + CORRECTED) * part, "dequantise"),
            (QUANTISED * part, "quantise"),
            (DEQUANTISED * count, "dequantise"),
        ]
    )

    def seconds() -> float:
        nbytes, kind = next(kernels)
        return stream(context.gpu, true * nbytes, kind)

    return compute_pass(
        streaming(context.gpu, step.name, seconds())
        if isinstance(step, compression.Kernel)
        else Collective(name=step.name, axis="dp", group="dp", operation=step.operation, nbytes=true * step.nbytes)
        for step in compression.int8(context.gpu, count, ranks, FP32, scattered=False)
    )


def _of_passes(passes: Mapping[Kind, Pass], framework: Framework, plan: Plan, cluster: Cluster) -> Program:
    """These passes of one microbatch, one after the other, on every rank."""
    piece = condenser(cluster, framework, "kernel").piece
    streams: list[Stream] = []
    groups: dict[tuple[str, int], tuple[int, ...]] = {}
    for rank in range(plan.num_gpus):
        own = (*inner_groups(plan, rank), ("dp", group_of(plan, "dp", rank)))
        played = [(Action(kind, 0, 0), piece(kind, work, own)) for kind, work in passes.items()]
        streams += _streams(rank, played)
        groups |= {(axis, rank): members for axis, members in own}
    return Program(
        streams=tuple(streams),
        groups=groups,
        activities=dict(_activities(cluster, streams, groups)),
        ranks_folded=dict.fromkeys(range(plan.num_gpus), 1),
    )


def _streams(rank: int, passes: Sequence[tuple[Action, Pass]]) -> Iterator[Stream]:
    for name in dict.fromkeys(name for _, work in passes for name in work):
        yield Stream(rank=rank, name=name, steps=[(action, work.get(name, ())) for action, work in passes])


def _activities(
    cluster: Cluster, streams: list[Stream], groups: Mapping[tuple[str, int], tuple[int, ...]]
) -> Iterator[tuple[tuple[Collective | Transfer, int], Activity]]:
    """What each collective does to the wires."""
    for rank, block in different_blocks(streams):
        for entry in block:
            if isinstance(entry, Collective):
                activity = activity_of(cluster, groups[entry.group, rank], entry)
                yield (entry, rank), replace(activity, seconds_of_one=alone(cluster, activity))


def _norm_sums(context: Context) -> Pass:
    """With sequence parallelism each rank's norms have seen its tokens only; a training step sums their gradients once,
    at its end."""
    nbytes = ELEMENT * context.model.hidden
    names = ("mlp norm gradient sum", "attention norm gradient sum")
    return compute_pass(entry for name in names for entry in collective_of(context, name, "all_reduce", nbytes))


def _of_step(name: str, context: Context, plan: Plan, cluster: Cluster) -> Program:
    """A training step as far as the block goes."""
    condense = condenser(cluster, context.framework, "kernel")
    program = lower(context, plan, cluster, unfolded(plan), condense)
    if name in UPDATING:
        return program
    streams = tuple(
        replace(stream, steps=[(action, block if action else _kept(block)) for action, block in stream.steps])
        for stream in program.streams
    )
    return replace(program, streams=streams)


def _kept(end: Block) -> Block:
    """What is left of the end of a step where gradients are all that is wanted."""
    return tuple(entry for entry in end if not _is_update(entry))


def _is_update(entry: Instruction) -> bool:
    """The optimizer, the norm of all gradients before it, the host after it."""
    if isinstance(entry, Collective):
        return entry.group == "pp"
    return isinstance(entry, Compute) and entry.category in ("optimizer", "host")
