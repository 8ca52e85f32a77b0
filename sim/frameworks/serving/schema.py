"""What a serving framework's file says: each fact with its source. Imported only when one is read."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from sim.deployment import Policy
from sim.frameworks.schema import Amount, Count, Fact, Ratio
from sim.frameworks.serving import AllReduce


class ServingFrameworkFile(BaseModel):
    """The facts of `sim.frameworks.serving.ServingFramework`, each with its source."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    description: str
    policy: Fact[Policy]
    chunked_prefill: Fact[bool]
    whole_prompts: Fact[bool]
    asynchronous: Fact[bool]
    prefix_caching: Fact[bool]
    block_size: Fact[Count]
    max_num_seqs: Fact[Count]
    max_num_batched_tokens: Fact[Count]
    large_max_num_seqs: Fact[Count]
    large_max_num_batched_tokens: Fact[Count]
    large_memory_nbytes: Fact[Amount]
    large_except: Fact[list[str]]
    utilization: Fact[Ratio]
    utilization_of: Fact[Literal["total", "static", "free"]]
    all_reduce: Fact[AllReduce]
    fused_all_reduce_norm: Fact[bool]
    cast: Fact[Literal["fused", "static", "dynamic"]]
    greedy_nbytes: Fact[Amount]
    top_p_nbytes: Fact[Amount]
    pipeline_tensors: Fact[Count]
    graph_sizes: Fact[list[list[Count]]]
    graph_chunks: Fact[bool]
    launch_seconds: Fact[Amount]
    host_seconds: Fact[Amount]
    host_sequence_seconds: Fact[Amount]
    overlapped_seconds: Fact[Amount]
    overlapped_sequence_seconds: Fact[Amount]
    request_seconds: Fact[Amount]
    context_nbytes: Fact[Amount]
    group_nbytes: Fact[Amount]
    compile_nbytes: Fact[Amount]
    logits_nbytes: Fact[Amount]
    sampler_rows: Fact[bool]
