"""What one pass of a replica runs, and how long each pipeline stage takes: the border between schedulers and costs.

A pass decodes one token (or, speculating, a few) for some requests, and computes so many tokens of prompts for others.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

PARTS: Final = ("compute", "attention", "prefill", "tp", "cp", "ep", "straggler")
"""What a stage's seconds are made of. compute and attention: of the tokens that are decoded, or of all tokens where
none is; prefill: by how much the prompts' tokens make the pass longer for those who decode beside them, communication
included; tp, cp, ep: communication that nobody hides; straggler: waiting for the rank with most expert work."""


class Shape(NamedTuple):
    """What a pass costs depends on this alone: `num_decodes` requests that meet `context` keys together (new ones
    included), chunks of prompts as (new tokens, tokens before them that are cached), tokens sampled, and the keys of
    the decode that meets most (0: all meet as many)."""

    num_decodes: int
    context: int
    prefills: tuple[tuple[int, int], ...] = ()
    num_sampled: int = 0
    longest: int = 0

    @property
    def num_tokens(self) -> int:
        """Rows of the large products, before CUDA graphs pad them."""
        return self.num_decodes + sum(new for new, _ in self.prefills)


class Stage(NamedTuple):
    """Seconds of a pass on one pipeline stage, by PARTS, and of the message to the next stage (0 for the last)."""

    compute: float
    attention: float
    prefill: float
    tp: float
    cp: float
    ep: float
    straggler: float
    send: float

    @property
    def seconds(self) -> float:
        """How long the stage is busy; the message leaves afterwards, beside the next pass."""
        return sum(self[:-1])


class Steady(NamedTuple):
    """Consecutive passes of the same requests: the first one's stages, of which nothing changes but attention; its
    seconds: stages x passes."""

    stages: Sequence[Stage]
    attention: Sequence[Sequence[float]]


class PassCosts(Protocol):
    """How long passes take on a replica alone. Implementations: our own kernels' costs; operators' measured times."""

    @property
    def num_stages(self) -> int: ...

    def host(self, num_seqs: int) -> float:
        """Seconds of the host between two passes that the GPUs wait for: scheduling, inputs, sampled tokens."""

    def stages(self, shape: Shape) -> Sequence[Stage]:
        """Each stage, first to last."""

    def together(self, shapes: Sequence[Shape]) -> Sequence[Sequence[Stage]]:
        """The stages of each rank of data-parallel attention, in lock-step: their experts meet the tokens of all."""

    def decodes(self, num_decodes: int, context: int, num_passes: int, longest: int = 0) -> Steady:
        """Consecutive passes of the same requests, `context` growing by num_decodes each time, `longest` by 1. Equal to
        `stages` of each."""
