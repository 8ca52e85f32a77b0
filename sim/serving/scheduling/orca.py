"""Orca: scheduling by pass and not by request. Who has ended leaves and who waits may join, at each pass.

Whoever is admitted has room for its whole answer, so nobody is ever preempted, and prompts are not cut
[Yu et al., OSDI 2022, section 4.2].
"""

from typing import Final

from sim.serving.block_pool import BlockPool
from sim.serving.scheduling.continuous import Admission, admissible, admit, answer, carry_on
from sim.serving.scheduling.decision import Decision, quiet_decodes
from sim.serving.sequence import Queues
from sim.serving.settings import Settings

RESERVED: Final = Admission(needed=answer, taken=answer)


def schedule(queues: Queues, pool: BlockPool, settings: Settings) -> Decision:
    """The next pass: all who run, and whole prompts. Only the number of requests is bounded, not that of tokens."""
    decision = Decision()
    carry_on(queues, pool, settings, decision)
    admit(queues, pool, settings, decision, _unbounded(settings), RESERVED)
    return decision


def quiet(queues: Queues, pool: BlockPool, settings: Settings) -> int:
    """See Rules."""
    if admissible(queues, pool, settings, _unbounded(settings), RESERVED):
        return 0
    return quiet_decodes(queues, pool, settings)


def _unbounded(settings: Settings) -> int:
    return settings.max_num_seqs * settings.max_model_len
