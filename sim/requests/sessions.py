"""Conversations: whose turn a row is, and prompts that grow by all that was said before.

Contents are named so that a prefix cache finds what two prompts share: one name for each whole run of tokens, and the
names of a turn are those of the turn before, and more.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sim.requests.requests import Counts, Names


class Rows(NamedTuple):
    """By row, in order of the sessions: which session, which of its turns, and the row of the turn before or -1."""

    session: Counts
    turn: Counts
    after: Counts


def rows(turns: Counts, count: int | None) -> Rows:
    """A row for each turn of each session, at most `count` of them."""
    session = np.repeat(np.arange(len(turns)), turns)[:count]
    first = np.cumsum(turns) - turns
    turn = np.arange(len(session)) - first[session]
    return Rows(session, turn, np.where(turn == 0, -1, np.arange(len(session)) - 1))


def whole_prompts(spoken: Rows, new: Counts, output: Counts) -> Counts:
    """Tokens of each turn's prompt, `new` of which nobody has seen: all prompts and answers before it, and these."""
    said = np.cumsum(new + output)
    before = np.concatenate([[0], said])[np.arange(len(new)) - spoken.turn]
    prompts: Counts = said - output - before
    return prompts


def contents(spoken: Rows | None, total: Counts, group: Counts, prefix: int, run: int) -> tuple[Names, ...]:
    """The names of each row's runs of `run` tokens: of the prefix that its group shares, `prefix` whole runs, and then,
    where there are sessions, of all `total` tokens of its own prompt and answer."""
    num_groups = int(group.max()) + 1
    shared = [tuple(range(number * prefix, (number + 1) * prefix)) for number in range(num_groups)]
    if spoken is None:
        return tuple(shared[number] for number in group.tolist())
    return _of_sessions(spoken, (total // run).tolist(), [shared[number] for number in group.tolist()])


def _of_sessions(spoken: Rows, lengths: list[int], shared: list[tuple[int, ...]]) -> tuple[Names, ...]:
    """The last turn of a session names everything; the turns before it have the beginning of that."""
    starts = np.flatnonzero(spoken.turn == 0).tolist()
    named: list[Names] = []
    free = max((names[-1] for names in shared if names), default=-1) + 1
    for first, end in pairwise([*starts, len(lengths)]):
        own = range(free, free + lengths[end - 1] - len(shared[first]))
        names = (*shared[first], *own) if shared[first] else own
        named += [names[:length] for length in lengths[first:end]]
        free += len(own)
    return tuple(named)
