"""The layout of a deployment that does not say it all: as small a replica as holds the model, and as many as there is
room for.

A small replica wastes least on communication, and a large one keeps the more requests at once and answers the sooner;
which is better depends on the load, and is for a search to say. Until then the rule is: the weights take at most
WEIGHT_SHARE of the GPUs' memory, so that caches have as much again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from sim.deployment import Deployment, Layout, WeightPrecision
from sim.models import Transformer, num_parameters
from sim.plan import divisors, layer_problems
from topologies.document import InputError
from topologies.hardware import Cluster
from topologies.quantity import BITS_PER_BYTE

WEIGHT_SHARE: Final = 0.6
WEIGHT_BITS: Final[Mapping[WeightPrecision, float]] = {
    "bf16": 16, "fp16": 16, "fp8": 8, "fp8_block": 8, "int8": 8, "mxfp4": 4.25, "nvfp4": 4.5, "int4": 4.25,
}  # fmt: skip
"""Bits of a weight with its share of the scales: one of 8 bits for 32 (mxfp4) or 16 values (nvfp4) [OCP MX 1.0; NVIDIA
NVFP4], one of 16 for 64 to 128 (int4, grouped); that of a channel, a block or a tensor does not count."""


def share_of_a_replica(num_gpus: int, replicas: int) -> int:
    """GPUs of each of so many replicas. Raises InputError where they cannot be shared out evenly."""
    if num_gpus < 1:
        raise InputError(f"deployment.prefill takes all GPUs, and {-num_gpus} more; write fewer for it, or more gpus")
    if num_gpus % replicas:
        raise InputError(f"deployment.replicas={replicas} does not divide {num_gpus} GPUs; use {divisors(num_gpus)}")
    return num_gpus // replicas


def smallest(
    model: Transformer, cluster: Cluster, num_gpus: int, weights: WeightPrecision, *, is_whole: bool = False
) -> Layout:
    """The smallest replica whose share of the weights is at most WEIGHT_SHARE of a GPU's memory: tp = 1, 2, 4, ... as
    far as it divides the heads and stays in a node, then stages in further nodes. Where none does, or where it
    `is_whole`, the largest."""
    memory = min(gpu.memory_nbytes for gpu in cluster.gpus_between(0, num_gpus - 1))
    nbytes = num_parameters(model) * WEIGHT_BITS[weights] / BITS_PER_BYTE
    sizes = list(_grown(model, cluster, num_gpus))
    fitting = (size for size in sizes if nbytes / size.num_gpus <= WEIGHT_SHARE * memory)
    return sizes[-1] if is_whole else next(fitting, sizes[-1])


def filled(deployment: Deployment, num_gpus: int, replicas: int | None) -> Deployment:
    """With as many replicas as fill the GPUs beside those of prefill; a number that was said must be that.

    Raises InputError where they do not fill them.
    """
    apart = 0 if deployment.prefill is None else deployment.prefill.layout.num_gpus * deployment.prefill.replicas
    each = deployment.layout.num_gpus
    filling, rest = divmod(num_gpus - apart, each)
    beside = f" beside {apart} of prefill" if apart else ""
    if rest or filling < 1:
        fix = f"gpus={apart + each * max(1, filling)} or {apart + each * (max(1, filling) + 1)}"
        fitting = f"tp x pp x dp x cp = {divisors(num_gpus - apart)}, or " if num_gpus > apart else ""
        raise InputError(
            f"deployment: replicas of {each} GPUs (tp x pp x dp x cp) do not fill gpus={num_gpus}{beside}; "
            f"use {fitting}{fix}"
        )
    if replicas not in (None, filling):
        made = each * (replicas or 0) + apart
        raise InputError(
            f"deployment.replicas={replicas} of {each} GPUs{beside} are {made}, but gpus={num_gpus}; "
            f"use replicas={filling}, or gpus={made}"
        )
    return replace(deployment, replicas=filling)


def problems(layout: Layout, model: Transformer) -> Iterator[tuple[str, str]]:
    """What of the model the layout cannot split: the field, and what is wrong, with what to write instead."""
    if model.num_heads % layout.tp:
        yield "tp", f"{layout.tp} does not divide num_heads={model.num_heads}; use {divisors(model.num_heads)}"
    elif not _keeps_kv_heads_whole(layout.tp, model):
        yield "tp", f"{layout.tp} neither divides num_kv_heads={model.num_kv_heads} nor is a multiple of it"
    if layout.pp > model.num_layers:
        yield "pp", f"{layout.pp} stages for {model.num_layers} layers; use at most {model.num_layers}"
    if layout.layers is not None:
        yield from (("layers", said) for said in layer_problems(layout.layers, layout.pp, 1, model.num_layers))
    if layout.ep > 1:
        yield from (("ep", said) for said in _expert_problems(layout, model))


def _expert_problems(layout: Layout, model: Transformer) -> Iterator[str]:
    if model.moe is None:
        yield f"{model.name} has no experts; take it out"
    elif (layout.tp * layout.dp) % layout.ep:
        ranks = layout.tp * layout.dp
        yield f"{layout.ep} does not divide tp x dp = {layout.tp} x {layout.dp} = {ranks}; use {divisors(ranks)}"


def _keeps_kv_heads_whole(tp: int, model: Transformer) -> bool:
    """Serving frameworks give each rank whole key and value heads, copies of them where there are too few."""
    return model.mla is not None or model.num_kv_heads % tp == 0 or tp % model.num_kv_heads == 0


def _grown(model: Transformer, cluster: Cluster, num_gpus: int) -> Iterator[Layout]:
    """From one GPU to all of them; each fills the GPUs a whole number of times."""
    powers = (2**power for power in range(cluster.node.num_gpus.bit_length()))
    tps = [tp for tp in powers if tp <= cluster.node.num_gpus and num_gpus % tp == 0 and _splits(tp, model)]
    yield from (Layout(tp=tp) for tp in tps)
    stages = num_gpus // tps[-1]
    yield from (Layout(tp=tps[-1], pp=pp) for pp in range(2, min(stages, model.num_layers) + 1) if stages % pp == 0)


def _splits(tp: int, model: Transformer) -> bool:
    return not any(problems(Layout(tp=tp), model))
