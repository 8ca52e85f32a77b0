"""Requests, settings and passes of small served loads, for laws that hold on every one."""

from dataclasses import replace

import numpy as np

from sim.requests import Requests
from sim.serving.settings import Settings

SMALL = Settings(
    policy="vllm",
    max_num_seqs=16,
    max_num_batched_tokens=256,
    max_model_len=1024,
    chunked_prefill=True,
    asynchronous=False,
    prefix_caching=False,
    block_size=16,
    num_blocks=201,
)
"""A server that a few hundred tokens fill."""


def alike(count: int, prompt: int, output: int, arrival: float = 0.0) -> Requests:
    """So many requests of these lengths, which come `arrival` seconds one after another."""
    return Requests(
        arrival=np.arange(count) * arrival,
        prompt=np.full(count, prompt),
        output=np.full(count, output),
    )


def poisson(count: int, rate: float, seed: int, *, prompt: int = 200, output: int = 60) -> Requests:
    """Requests that come at random, of 1 to `prompt` and 1 to `output` tokens."""
    random = np.random.default_rng(seed)
    return Requests(
        arrival=np.add.accumulate(random.exponential(1 / rate, count)),
        prompt=random.integers(1, prompt + 1, count),
        output=random.integers(1, output + 1, count),
    )


def staged(settings: Settings, num_stages: int) -> Settings:
    """With a pass under way in each stage."""
    return replace(settings, depth=num_stages)


def ahead(settings: Settings) -> Settings:
    """The next pass is prepared while one runs."""
    return replace(settings, asynchronous=True, depth=2)
