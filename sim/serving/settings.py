"""What a replica's scheduler goes by, when all defaults of the framework and the GPU are filled in."""

from dataclasses import dataclass

from sim.deployment import Policy, Speculation


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """See sim.deployment.Scheduling and Cache for the fields. num_blocks is that of one dp rank; `depth`: passes that
    are under way at once, the stages of the pipeline, or 2 where the next one is prepared while one runs."""

    policy: Policy
    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    chunked_prefill: bool
    asynchronous: bool
    prefix_caching: bool
    block_size: int
    num_blocks: int
    depth: int = 1
    whole_prompts: bool = False
    speculation: Speculation | None = None
    new_token_ratio: float = 0.7
    min_new_token_ratio: float = 0.098
    new_token_decay: int = 600
