"""How many blocks of keys and values a server has: what is left of a GPU's memory when it has run its fullest pass.

vLLM loads the weights, runs one pass of as many tokens and sequences as the scheduler allows, and gives the cache what
this peak leaves of its share of the memory [vLLM 0.19.0, v1/worker/gpu_worker.py, determine_available_memory].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sim.deployment import Deployment
from sim.frameworks.serving import ServingFramework
from sim.models import LayerKind, Transformer
from sim.serving.costs.stages import stage_layers
from sim.serving.defaults import settings
from sim.serving.settings import Settings
from sim.serving.weights import PLAIN, kv_heads, padded_vocab, stage_weights
from topologies.document import Infeasible
from topologies.hardware import Cluster, Gpu
from topologies.quantity import KIB, MIB, nbytes, percent

LEEWAY: Final = 1.1
LIKE: Final = 1.5
"""Layers of two kinds share blocks of one size where one kind has not this much more of them than the other [vLLM
0.19.0, v1/core/kv_cache_utils.py; 1.25 in 0.12.0]."""

CHUNK: Final = 16 * KIB
"""Tokens that go through a layer's experts at a time [vLLM, envs.py, VLLM_FUSED_MOE_CHUNK_SIZE]."""

_PRODUCTS: Final = 32 * MIB
"""cuBLAS's workspace on Hopper; 8 MiB before [PyTorch, CUDABlas.cpp, parseChosenWorkspaceSize]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvMemory:
    """Blocks of a dp rank's cache, and `nbytes` of what fills a GPU of the stage that has least room, by holding:
    weights, activations (the peak of the fullest pass), context (CUDA, NCCL, libraries), cache. `fitting`: blocks that
    there is room for, however many are said."""

    num_blocks: int
    fitting: int
    nbytes: Mapping[str, float] = field(hash=False)


def num_blocks(model: Transformer, cluster: Cluster, deployment: Deployment, framework: ServingFramework) -> KvMemory:
    """The cache of a dp rank; the stage with least room decides for all, as a block has every layer.

    Raises Infeasible, with the figures, where the rest holds no block.
    """
    goes_by = settings(deployment, framework, model, cluster, num_blocks=0)
    stages = stage_layers(model, deployment)
    last = len(stages) - 1
    found = [
        _stage(model, cluster, deployment, framework, goes_by, kinds, is_first=at == 0, is_last=at == last)
        for at, kinds in enumerate(stages)
    ]
    least = min(found, key=lambda one: one.num_blocks)
    if deployment.cache.num_blocks is None:
        return least
    return replace(least, num_blocks=deployment.cache.num_blocks)


def check_blocks(deployment: Deployment, memory: KvMemory) -> None:
    """Infeasible where more blocks are said than fit by far: the prediction is within a twentieth of real servers'."""
    if deployment.cache.num_blocks is not None and memory.num_blocks > LEEWAY * memory.fitting:
        raise Infeasible(
            f"deployment.cache.num_blocks={memory.num_blocks:,}, but beside all else a GPU has room for about "
            f"{memory.fitting:,}; write num_blocks={memory.fitting} or less, or take it out"
        )


def _stage(
    model: Transformer,
    cluster: Cluster,
    deployment: Deployment,
    framework: ServingFramework,
    goes_by: Settings,
    kinds: Sequence[LayerKind],
    *,
    is_first: bool,
    is_last: bool,
) -> KvMemory:
    held = {
        "weights": stage_weights(model, deployment, kinds, is_first=is_first, is_last=is_last),
        "activations": activations(model, cluster.gpu, deployment, framework, goes_by, kinds, is_last=is_last),
        "context": _context(cluster, deployment, framework),
    }
    rest = _rest(cluster.gpu, deployment, framework, held)
    blocks, block, cache = _blocks(model, deployment, kinds, rest, goes_by)
    if blocks < 1 and deployment.cache.num_blocks is None:
        raise Infeasible(_shortage(cluster.gpu, deployment, framework, held, block))
    return KvMemory(num_blocks=blocks, fitting=max(0, blocks), nbytes={**held, "cache": cache})


def _rest(gpu: Gpu, deployment: Deployment, framework: ServingFramework, held: Mapping[str, float]) -> float:
    """Bytes for the cache. 'total': a share of the memory less all that is held; 'static': the same for weights and
    cache alone; 'free': that share of what the others leave."""
    share = _utilization(deployment, framework)
    fixed = held["weights"] + held["context"]
    if framework.utilization_of == "free":
        return share * (gpu.memory_nbytes - fixed - held["activations"])
    return share * gpu.memory_nbytes - fixed - (held["activations"] if framework.utilization_of == "total" else 0.0)


def _utilization(deployment: Deployment, framework: ServingFramework) -> float:
    return deployment.cache.utilization or framework.utilization


def _context(cluster: Cluster, deployment: Deployment, framework: ServingFramework) -> float:
    """What is outside of the allocator: more where tp GPUs on NVLink have buffers for each other."""
    joined = deployment.layout.tp > 1 and cluster.node.layout != "pcie"
    return framework.context_nbytes + (framework.group_nbytes if joined else 0.0)


def activations(
    model: Transformer,
    gpu: Gpu,
    deployment: Deployment,
    framework: ServingFramework,
    goes_by: Settings,
    kinds: Sequence[LayerKind],
    *,
    is_last: bool,
) -> float:
    """Peak bytes of the fullest pass: in an MLP, or when all sequences are sampled at once, or, on a first start, while
    kernels are tuned. Products' workspace and that of experts stay once they are made."""
    tokens = -(-goes_by.max_num_batched_tokens // deployment.layout.cp)
    hidden = PLAIN * tokens * model.hidden
    kept = _PRODUCTS + _expert_workspace(model, deployment, kinds, tokens)
    dense = 0.0 if all(kind.has_experts for kind in kinds) else PLAIN * 3 * tokens * model.ffn / deployment.layout.tp
    layer = 3 * hidden + dense
    sampled = _sampling(model, gpu, framework, goes_by.max_num_seqs) + hidden if is_last else 0.0
    return max(kept + max(layer, sampled), framework.compile_nbytes)


def _sampling(model: Transformer, gpu: Gpu, framework: ServingFramework, seqs: int) -> float:
    """Logits with the sampler's copies of them, a row of them for each SM where its kernel works on those, and the
    hidden states that they come of, twice."""
    rows = min(gpu.num_sms, seqs) if framework.sampler_rows else 0
    words = padded_vocab(model)
    return seqs * words * framework.logits_nbytes + 2 * PLAIN * rows * words + 2 * PLAIN * seqs * model.hidden


def _expert_workspace(model: Transformer, deployment: Deployment, kinds: Sequence[LayerKind], tokens: int) -> float:
    """Two buffers with a row for each token and expert that it goes to: of inputs or activations, and of gate and up or
    outputs [vLLM 0.19.0, fused_moe.py, TritonExperts.workspace_shapes]; and the tokens of all dp ranks, gathered. Where
    they are sent, a rank has rows for its experts alone, in the mean those of its own tokens."""
    moe, layout = model.moe, deployment.layout
    if moe is None or not any(kind.has_experts for kind in kinds):
        return 0.0
    width, met = moe.ffn / layout.expert_tp, tokens * layout.dp
    row = max(width, model.hidden) + max(2 * width, model.hidden)
    if layout.dp > 1 and layout.ep > 1 and layout.ep_kind != "all-gather":
        return PLAIN * row * moe.top_k * met / layout.ep
    gathered = 2 * model.hidden * met if layout.dp > 1 else 0.0
    return PLAIN * (row * moe.top_k * min(met, CHUNK) + gathered)


def _blocks(
    model: Transformer, deployment: Deployment, kinds: Sequence[LayerKind], rest: float, goes_by: Settings
) -> tuple[int, float, float]:
    """How many blocks of all layers fit into so many bytes, bytes of one, and of all.

    Layers with a window and layers without have tables of blocks of their own, so that blocks are as many layers deep
    as the rarer kind has, and some have layers that are none [vLLM 0.19.0, v1/core/kv_cache_utils.py,
    get_kv_cache_groups].
    """
    page = goes_by.block_size * token_nbytes(model, deployment) / deployment.layout.cp
    counts = {window: sum(kind.window == window for kind in kinds) for window in {kind.window for kind in kinds}}
    most, least = max(counts.values()), min(counts.values())
    depth = most if most < LIKE * least else least
    tables = {window: -(-count // depth) for window, count in counts.items()}
    there = int(rest // (page * depth))
    blocks, groups = max(there // sum(tables.values()), _beyond_windows(there, tables, goes_by)), sum(tables.values())
    return blocks, page * depth * groups, page * depth * max(there - there % groups, 0)


def _beyond_windows(there: int, tables: Mapping[int | None, int], goes_by: Settings) -> int:
    """Blocks of layers without a window if all sequences fill theirs: what falls out is free again, and at most the
    window and a pass's new tokens are kept [vLLM 0.19.0, v1/kv_cache_interface.py, SlidingWindowSpec]. Fewer sequences
    leave more, which is not counted."""
    if None not in tables:
        return 0
    size, seqs = goes_by.block_size, goes_by.max_num_seqs
    passing = -(-goes_by.max_num_batched_tokens // size)
    kept = [count * (seqs * (-(-window // size) + 1) + passing) for window, count in tables.items() if window]
    return (there - sum(kept)) // tables[None]


def token_nbytes(model: Transformer, deployment: Deployment) -> float:
    """Bytes of a token's keys and values in one layer on one GPU; the latent is on all tp of them."""
    element = 1 if deployment.cache.precision == "fp8" else PLAIN
    if model.mla is not None:
        return float(element * (model.mla.kv_lora_rank + model.mla.rope_head_dim))
    return float(element * 2 * kv_heads(model, deployment.layout.tp) * model.head_dim)


def _shortage(
    gpu: Gpu, deployment: Deployment, framework: ServingFramework, held: Mapping[str, float], block: float
) -> str:
    parts = ", ".join(f"{nbytes(size)} {name}" for name, size in held.items())
    share = percent(_utilization(deployment, framework), 0)
    fix = "take more tp, pp or ep, fewer bits, or smaller passes"
    if held["activations"] > held["weights"]:
        fix = "take fewer max_num_batched_tokens or max_num_seqs"
    return (
        f"no block of the cache ({nbytes(block)}) fits: {gpu.name} has {nbytes(gpu.memory_nbytes)}, of which "
        f"{share} may be filled, and holds {parts}; {fix}"
    )
