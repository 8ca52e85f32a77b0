"""Speculative decoding and multi-token prediction: a pass checks proposed tokens and keeps all until one is wrong.

The acceptance rate is all that is known of the draft; each request's luck is its own, and the same in every run.
"""

import math
from collections.abc import Sequence
from typing import Final

from sim.deployment import Speculation
from sim.serving.passes import Stage

_WORD: Final = 2**64
_STEPS: Final = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def accepted(speculation: Speculation, row: int, generated: int) -> int:
    """How many proposed tokens are right after so many of the request's: at least j with probability acceptance^j, so
    that a pass gives (1 - a^(k+1)) / (1 - a) tokens on average [Leviathan et al. 2023, equation 1]."""
    if not 0 < speculation.acceptance < 1:
        return speculation.tokens if speculation.acceptance else 0
    luck = (_mixed(_mixed(row) + generated) + 1) / _WORD
    return min(int(math.log(luck) / math.log(speculation.acceptance)), speculation.tokens)


def with_drafts(stages: Sequence[Stage], speculation: Speculation) -> list[Stage]:
    """The pass, and before it one of the draft for each proposed token, on every stage alike."""
    share = speculation.tokens * speculation.draft_share
    return [stage._replace(compute=stage.compute + share * stage.seconds) for stage in stages]


def _mixed(value: int) -> int:
    """A number of 64 bits that looks random [splitmix64, Steele et al. 2014]."""
    first, second, third = _STEPS
    value = (value + first) % _WORD
    value = (value ^ value >> 30) * second % _WORD
    value = (value ^ value >> 27) * third % _WORD
    return value ^ value >> 31
