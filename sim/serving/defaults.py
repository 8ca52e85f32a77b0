"""Defaults filled in: what a serving framework does on this GPU where the deployment does not say it."""

from typing import Final

from sim.deployment import Deployment
from sim.frameworks.serving import ServingFramework
from sim.models import Transformer
from sim.serving.settings import Settings
from topologies.document import Infeasible, InputError
from topologies.hardware import Cluster, Gpu

OVERLAPPED: Final = 2
"""Passes under way where the next one is prepared while one runs."""


def settings(
    deployment: Deployment, framework: ServingFramework, model: Transformer, cluster: Cluster, *, num_blocks: int
) -> Settings:
    """What a replica's scheduler goes by. Raises InputError where what is said contradicts itself.

    With a pipeline scheduling is asynchronous only where the deployment says so, as it is not with Ray: else requests
    decode in cohorts, one for each stage. In vLLM 0.19 the first stage then waits for the last one's tokens before each
    pass, so that passes do not overlap [0.19.0, gpu_model_runner.py: _pp_receive_prev_sampled_token_ids_to_input_batch,
    ray_executor.py; pull requests 38726, 42187].
    """
    said, cache = deployment.scheduling, deployment.cache
    policy = said.policy or framework.policy
    pp = deployment.layout.pp
    asynchronous = _said(said.asynchronous, framework.asynchronous and pp == 1)
    chunked = _said(said.chunked_prefill, framework.chunked_prefill)
    longest = max_model_len(deployment, model)
    budget = said.max_num_batched_tokens or _budget(framework, cluster.gpu, longest, chunked)
    seqs = said.max_num_seqs or min(_seqs(framework, cluster.gpu), budget)
    if seqs > budget:
        raise InputError(f"max_num_seqs={seqs} decode a token each, above max_num_batched_tokens={budget}; raise that")
    return Settings(
        policy=policy,
        max_num_seqs=seqs,
        max_num_batched_tokens=budget,
        max_model_len=longest,
        chunked_prefill=chunked,
        whole_prompts=framework.whole_prompts,
        asynchronous=asynchronous,
        prefix_caching=_said(cache.prefix_caching, framework.prefix_caching),
        block_size=cache.block_size or framework.block_size,
        num_blocks=num_blocks,
        depth=pp if pp > 1 else OVERLAPPED if asynchronous else 1,
        speculation=deployment.speculation,
        new_token_ratio=said.new_token_ratio,
        min_new_token_ratio=said.min_new_token_ratio,
        new_token_decay=said.new_token_decay,
    )


def max_model_len(deployment: Deployment, model: Transformer) -> int:
    """The longest prompt and answer. Where nobody says it, what the checkpoint says [vLLM 0.19, vllm/config/model.py,
    max_position_embeddings], and without that the length of pre-training."""
    return deployment.scheduling.max_model_len or max(model.longest_context or 0, model.max_seq_len)


def check_room(deployment: Deployment, goes_by: Settings) -> str:
    """What to note where vLLM would not start, as one request of max_model_len does not fit into its cache; else empty.

    Infeasible where that length was asked for. vLLM asks what memory leaves, not how many blocks it was told to take
    [0.19, vllm/v1/core/kv_cache_utils.py, check_enough_kv_cache_memory]; others start, and refuse such a request.
    """
    room = goes_by.num_blocks * goes_by.block_size
    if goes_by.policy != "vllm" or deployment.cache.num_blocks is not None or goes_by.max_model_len <= room:
        return ""
    said = f"a request of max_model_len={goes_by.max_model_len:,} does not fit into the cache: vLLM does not start"
    if deployment.scheduling.max_model_len is not None:
        raise Infeasible(f"{said}; write --set deployment.scheduling.max_model_len={room} or less, or take more memory")
    return f"By default {said} before it is told --max-model-len {room} or less, which is taken for said"


def _said(said: bool | None, default: bool) -> bool:
    return default if said is None else said


def _budget(framework: ServingFramework, gpu: Gpu, longest: int, chunked: bool) -> int:
    """Where prompts are not cut, the longest has to fit into one pass [vLLM, vllm/config/scheduler.py]."""
    large = framework.large_max_num_batched_tokens
    budget = large if _is_large(framework, gpu) else framework.max_num_batched_tokens
    return max(budget, longest) if framework.policy == "vllm" and not chunked else budget


def _seqs(framework: ServingFramework, gpu: Gpu) -> int:
    return framework.large_max_num_seqs if _is_large(framework, gpu) else framework.max_num_seqs


def _is_large(framework: ServingFramework, gpu: Gpu) -> bool:
    enough = gpu.memory_nbytes >= framework.large_memory_nbytes
    return enough and not gpu.name.startswith(framework.large_except)
