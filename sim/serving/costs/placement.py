"""Where experts lie: dealt to the ranks in order, or with copies of the busiest ones, packed so that ranks are alike.

A copy takes its share of the expert's tokens. Copies go one by one to whichever expert has most tokens for each of its
copies; then, busiest first, each goes to the least busy rank that has room [DeepSeek, github.com/deepseek-ai/EPLB].
"""

import heapq
from functools import lru_cache

from sim.costs.expert_routing import chances
from sim.deployment import ExpertPlacement
from sim.models import Moe
from sim.workload import ExpertLoad
from topologies.document import InputError

Ranks = tuple[tuple[float, ...], ...]
"""For each rank and each of its experts, the chance that a token comes."""


@lru_cache(maxsize=1024)
def placed(load: ExpertLoad, moe: Moe, ep: int, placement: ExpertPlacement, histogram: int = 0) -> Ranks:
    """The experts of each rank. Raises InputError where they cannot be dealt evenly."""
    if (moe.num_experts + placement.redundant) % ep:
        raise InputError(_uneven(moe, ep, placement))
    if not placement.redundant and placement.rebalanced is None:
        return chances(load, moe.num_experts, moe.top_k, ep, histogram)
    (experts,) = chances(load, moe.num_experts, moe.top_k, 1, histogram)
    return packed(copied(list(experts), placement.redundant), ep)


def copied(experts: list[float], redundant: int) -> list[float]:
    """The chances of all copies, those of an expert alike."""
    heap = [(-chance, 1, chance) for chance in experts]
    heapq.heapify(heap)
    for _ in range(redundant):
        _, copies, chance = heap[0]
        heapq.heapreplace(heap, (-chance / (copies + 1), copies + 1, chance))
    return [chance / copies for _, copies, chance in heap for _ in range(copies)]


def packed(copies: list[float], ep: int) -> Ranks:
    """Equally many for each rank, the fullest rank first."""
    room = len(copies) // ep
    heap: list[tuple[float, int]] = [(0.0, rank) for rank in range(ep)]
    ranks: list[list[float]] = [[] for _ in range(ep)]
    for chance in sorted(copies, reverse=True):
        busy, rank = heapq.heappop(heap)
        ranks[rank].append(chance)
        if len(ranks[rank]) < room:
            heapq.heappush(heap, (busy + chance, rank))
    return tuple(sorted(map(tuple, ranks), key=sum, reverse=True))


def _uneven(moe: Moe, ep: int, placement: ExpertPlacement) -> str:
    copies = f" and {placement.redundant} copies" if placement.redundant else ""
    missing = -moe.num_experts % ep
    return f"ep={ep} cannot be dealt {moe.num_experts} experts{copies} evenly; take redundant={missing}, or another ep"
