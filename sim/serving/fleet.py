"""Replicas of one kind behind a router: each request is dealt to one dp rank of one of them."""

from collections.abc import Sequence as Several
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim import deployment
from sim.serving.replica import Replica
from sim.serving.router import ROUTERS, Router
from sim.serving.sequence import Sequence
from sim.serving.settings import Settings

UNBOUNDED: Final = ("orca", "static")
"""Schedulers to which max_num_batched_tokens means nothing."""


def refusal(settings: Settings, num_blocks: int, prompt: int, output: int) -> str | None:
    """Why a replica can never answer a request of so many tokens."""
    tokens = prompt + output
    if tokens > settings.max_model_len:
        return f"{tokens:,} tokens of prompt and answer are more than max_model_len={settings.max_model_len:,}"
    if -(-tokens // settings.block_size) > num_blocks:
        room = num_blocks * settings.block_size
        return f"{tokens:,} tokens of prompt and answer are more than the {room:,} that the cache has room for"
    if settings.policy not in UNBOUNDED and not settings.chunked_prefill and tokens > settings.max_num_batched_tokens:
        return (
            f"{tokens:,} tokens of prompt and answer are more than max_num_batched_tokens="
            f"{settings.max_num_batched_tokens:,}, and prompts are not split (chunked_prefill)"
        )
    return None


def in_lock_step(replicas: int, dp: int, *, has_experts: bool) -> tuple[int, int]:
    """How many run by themselves, and how many ranks of each wait for one another: the dp ranks of a replica do where
    they share experts; else each has an engine of its own [vLLM, docs/serving/data_parallel_deployment.md]."""
    return (replicas, dp) if has_experts else (replicas * dp, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """`dp` ranks of each replica, numbered through all of them."""

    replicas: Several[Replica]
    dp: int
    router: Router
    kind: deployment.Router

    @property
    def num_blocks(self) -> int:
        """Of each rank's cache."""
        return self.replicas[0].core.ranks[0].pool.num_blocks

    def deal(self, sequence: Sequence, now: float) -> int:
        """Who gets the request, as far as the router has heard of answers by now."""
        self.router.hear(now)
        target = ROUTERS[self.kind](self.router, sequence.contents)
        self.router.send(target)
        return target

    def at(self, target: int) -> tuple[Replica, int]:
        """A replica and which of its ranks."""
        replica, rank = divmod(target, self.dp)
        return self.replicas[replica], rank

    def busy(self) -> NDArray[np.float64]:
        """Seconds of each rank's stages: ranks x stages."""
        return np.array([stages for replica in self.replicas for stages in replica.core.pipeline.busy])
