"""The noun: requests as columns, a row for each, in the order in which they are sent.

An open load sends each at its time, whatever the server does. A closed one has so many users, each of whom sends the
next when the last was answered. In a session a turn follows the answer to the turn before, and begins with all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]
Counts = NDArray[np.int64]
Names = Sequence[int]
"""Of contents: a tuple, or, of conversations of their own, a range, which costs nothing however long they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """`arrival` in seconds from the start, not falling; of a turn that follows another, seconds after that one's
    answer. `prompt` and `output` count tokens, the first whole with all that a session said before.

    after: by row, the row of the turn before, which is an earlier one; -1 where there is none. None: no sessions.
    contents: by row, names of the content of consecutive runs of `content_tokens` tokens, of the prompt and, as far as
    it is known, of the answer: two requests that begin with the same names begin with the same tokens. A name stands
    for its run and all before it. None: all differ from the first token on.
    concurrency: at most so many requests are under way; a row that has arrived waits outside the server until then.
    notes: what a person should know of how they were read.
    """

    arrival: Seconds
    prompt: Counts
    output: Counts
    after: Counts | None = None
    contents: tuple[Names, ...] | None = None
    content_tokens: int = 16
    concurrency: int | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.arrival)
