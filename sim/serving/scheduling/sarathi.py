"""Sarathi-Serve: prompts in chunks that fill up a budget of tokens after all who decode, so that no decode ever stalls.

Blocks for the whole prompt are taken at once, and a hundredth of all stays free, so that those who run can grow
[Agrawal et al., OSDI 2024, algorithm 3; github.com/microsoft/sarathi-serve, which follows vLLM 0.2].
"""

from typing import Final

from sim.serving.block_pool import BlockPool
from sim.serving.scheduling.continuous import Admission, admissible, admit, carry_on, prompt
from sim.serving.scheduling.decision import Decision, quiet_decodes
from sim.serving.sequence import Queues, Sequence
from sim.serving.settings import Settings

WATERMARK: Final = 0.01
"""Share of the blocks that an admission leaves free [vLLM 0.2, core/block_manager.py]."""


def schedule(queues: Queues, pool: BlockPool, settings: Settings) -> Decision:
    """The next pass: those who decode, then the prompts that were begun, then those who wait."""
    decision = Decision()
    if any(_is_unfinished(sequence) for sequence in queues.running):
        queues.running.sort(key=_is_unfinished)
    budget = carry_on(queues, pool, settings, decision)
    if not decision.preempted:
        admit(queues, pool, settings, decision, budget, ADMISSION)
    return decision


def quiet(queues: Queues, pool: BlockPool, settings: Settings) -> int:
    """See Rules."""
    if admissible(queues, pool, settings, settings.max_num_batched_tokens, ADMISSION):
        return 0
    return quiet_decodes(queues, pool, settings)


def _is_unfinished(sequence: Sequence) -> bool:
    return sequence.prompt + sequence.generated + sequence.awaited - sequence.computed > 1


def _above_watermark(sequence: Sequence, settings: Settings) -> int:
    return prompt(sequence, settings) + int(WATERMARK * settings.num_blocks) * settings.block_size


ADMISSION: Final = Admission(needed=_above_watermark, taken=prompt)
