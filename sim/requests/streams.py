"""Random numbers: each purpose has a stream of its own, so that other lengths leave the arrivals as they were."""

from typing import Final

import numpy as np

PURPOSES: Final = ("arrivals", "prompts", "outputs", "rows", "turns", "thinking", "groups")
"""In an order that stays: a seed's requests depend on it."""


def stream(seed: int, purpose: str) -> np.random.Generator:
    """PCG64, seeded by a child of the seed's sequence."""
    child = np.random.SeedSequence(seed, spawn_key=(PURPOSES.index(purpose),))
    return np.random.Generator(np.random.PCG64(child))
