"""A request inside a replica, and what a scheduler decides on: who waits, who runs, and the blocks of the cache."""

from collections import deque
from dataclasses import dataclass, field

from sim.requests import Names


class Tally:
    """Running sums of a company of requests at the end of a pass: its `time`, and seconds by record.CAUSES so far."""

    __slots__ = ("sums", "time")

    def __init__(self, time: float, sums: tuple[float, ...]) -> None:
        self.time = time
        self.sums = sums


@dataclass(slots=True, kw_only=True, eq=False)
class Sequence:
    """`row` of the requests. Tokens: `prompt`, `output` wanted, `generated` so far (out of passes that are done),
    `computed` (with keys in the cache, those of passes under way included), `awaited` (to come out of passes under
    way). `contents` as in Requests. `blocks` of the cache that it holds; `cached` tokens of the prompt found there.

    Where its time went (see attribution): seconds by `causes` until `since`, and what the sums of those who decode
    with it grew by from `mark` to `beat`, the last pass that it is in. `told`: when its last token was out, noted where
    the next one comes out of turn.
    """

    row: int
    prompt: int
    output: int
    arrival: float
    contents: Names = ()
    generated: int = 0
    computed: int = 0
    awaited: int = 0
    blocks: int = 0
    cached: int = 0
    num_preemptions: int = 0
    causes: list[float] = field(default_factory=list)
    since: float = 0.0
    told: float = 0.0
    mark: Tally | None = None
    beat: Tally | None = None

    @property
    def known(self) -> int:
        """Tokens of prompt and answer so far: those that are not computed are to be; one, when it decodes."""
        return self.prompt + self.generated


@dataclass(slots=True, kw_only=True, eq=False)
class Queues:
    """Who waits, first come first, and who runs, in the order of admission. The state of one scheduler (dp rank).

    Of schedulers that know such a thing: `batch` counts those of a batch to which nobody is added; `ended` are those of
    it that have all their tokens, and wait for the others; `new_token_ratio` is the share of answers for which room is
    kept now (None: as it begins).
    """

    waiting: deque[Sequence] = field(default_factory=deque)
    running: list[Sequence] = field(default_factory=list)
    batch: int = 0
    ended: list[Sequence] = field(default_factory=list)
    new_token_ratio: float | None = None
