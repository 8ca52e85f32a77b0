"""vLLM V1: no phases; in each pass everybody's computed tokens catch up with the known ones, within a budget of tokens.

Those who run come first, in the order in which they were admitted, then those who wait. Where blocks run out, the one
that was admitted last gives up its own [vLLM 0.19.0, v1/core/sched/scheduler.py and async_scheduler.py].
"""

from typing import Final

from sim.serving.block_pool import BlockPool
from sim.serving.scheduling.continuous import Admission, admissible, admit, carry_on, first, prompt
from sim.serving.scheduling.decision import Decision, quiet_decodes
from sim.serving.sequence import Queues
from sim.serving.settings import Settings

CHUNK: Final = Admission(needed=first, taken=first)
WHOLE: Final = Admission(needed=prompt, taken=first)


def schedule(queues: Queues, pool: BlockPool, settings: Settings) -> Decision:
    """The next pass. `computed` grows by what it computes (by one for a decode; draft tokens are added by whoever knows
    how many were right), `awaited` by one where a token is to come."""
    decision = Decision()
    budget = carry_on(queues, pool, settings, decision)
    if queues.waiting and not decision.preempted:
        admit(queues, pool, settings, decision, budget, _admission(settings))
    return decision


def quiet(queues: Queues, pool: BlockPool, settings: Settings) -> int:
    """See Rules. With a pipeline, rounds in which each of its batches decodes once."""
    budget = settings.max_num_batched_tokens
    if admissible(queues, pool, settings, budget, _admission(settings)):
        return 0
    return quiet_decodes(queues, pool, settings)


def _admission(settings: Settings) -> Admission:
    """`whole_prompts`: scheduler_reserve_full_isl, on by default in 0.19. The blocks are then free, not taken."""
    return WHOLE if settings.whole_prompts else CHUNK
