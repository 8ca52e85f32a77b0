"""Which of a leaf's parallel up-links a message takes: switches hash its addresses and ports [RFC 2992].

A connection keeps its link, so two that hash alike share one while others are idle. NCCL opens several connections (one
a channel, times NCCL_IB_QPS_PER_CONNECTION), splits a message evenly over them, and waits for the last.
"""

from collections import Counter
from functools import lru_cache

_MASK = (1 << 64) - 1


@lru_cache(maxsize=65_536)
def uplinks(num_uplinks: int, qps: int, seed: int, source: int, target: int) -> tuple[tuple[int, float], ...]:
    """The up-links, by number, that the bytes from one NIC to another take, and which part of them each."""
    taken = Counter(_mixed(seed, source, target, qp) % num_uplinks for qp in range(qps))
    return tuple((link, count / qps) for link, count in sorted(taken.items()))


def _mixed(*words: int) -> int:
    """A number that is as good as random and the same on every machine [SplitMix64, Steele et al. 2014]."""
    state = 0
    for word in words:
        state = (state + word + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state
