"""TensorRT-LLM: a capacity scheduler says who may run, a micro-batch scheduler who of them fits into the next pass.

Guaranteed no evict: blocks to the end of each answer are spoken for. Maximum utilisation: only those of the next pass,
and whoever started last is paused where they run out, to be computed again [TensorRT-LLM,
cpp/tensorrt_llm/batch_manager/capacityScheduler.cpp at 02a10fe, microBatchScheduler.cpp at 0a949d3].
"""

from typing import Final

from sim.serving.block_pool import BlockPool
from sim.serving.scheduling.continuous import Admission, admissible, admit, answer, carry_on, first, prompt
from sim.serving.scheduling.decision import Decision, quiet_decodes
from sim.serving.sequence import Queues
from sim.serving.settings import Settings

NO_EVICT: Final = Admission(needed=answer, taken=answer)
"""TensorRT-LLM only counts the blocks of the answer until they are used: the same decisions, but prefixes that nobody
holds are evicted a little earlier here."""

MAX_UTILIZATION: Final = Admission(needed=prompt, taken=first)


def no_evict(queues: Queues, pool: BlockPool, settings: Settings) -> Decision:
    """The next pass: those who decode, then prompts, whole or, with chunked_prefill, cut to the budget."""
    return _schedule(queues, pool, settings, NO_EVICT)


def no_evict_quiet(queues: Queues, pool: BlockPool, settings: Settings) -> int:
    """See Rules."""
    return _quiet(queues, pool, settings, NO_EVICT)


def max_utilization(queues: Queues, pool: BlockPool, settings: Settings) -> Decision:
    """The next pass, as above; nobody joins in which somebody is paused."""
    return _schedule(queues, pool, settings, MAX_UTILIZATION)


def max_utilization_quiet(queues: Queues, pool: BlockPool, settings: Settings) -> int:
    """See Rules."""
    return _quiet(queues, pool, settings, MAX_UTILIZATION)


def _schedule(queues: Queues, pool: BlockPool, settings: Settings, admission: Admission) -> Decision:
    decision = Decision()
    budget = carry_on(queues, pool, settings, decision)
    if not decision.preempted:
        admit(queues, pool, settings, decision, budget, admission)
    return decision


def _quiet(queues: Queues, pool: BlockPool, settings: Settings, admission: Admission) -> int:
    if admissible(queues, pool, settings, settings.max_num_batched_tokens, admission):
        return 0
    return quiet_decodes(queues, pool, settings)
