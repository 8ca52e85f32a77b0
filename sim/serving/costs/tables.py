"""What a pass looks its seconds up in: plain lists and dicts, so that a look-up costs no call of numpy.

Numbers of tokens have rows; attention over decodes has one for each number of them, made when first asked for.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from sim.serving.costs.attention import CACHED, LENGTHS, NEW, ChunkTable, Core, decode_row
from sim.serving.costs.parts import DENSE, TOKENS, Part
from sim.serving.costs.skew import Skews, skews

_TOKENS: Final[list[float]] = TOKENS.tolist()
_LENGTHS: Final[list[float]] = LENGTHS.tolist()
_NEW: Final[list[float]] = NEW.tolist()
_CACHED: Final[list[float]] = CACHED.tolist()

Row = tuple[float, float, float, float]
"""compute, tp, ep, straggler of a stage for so many tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTable:
    """Seconds by number of tokens, rows of TOKENS; `rows` keeps those that were asked for."""

    columns: tuple[list[float], ...]
    rows: dict[int, Row] = field(default_factory=dict)

    def row(self, tokens: int) -> Row:
        """A row of the table, or between two of them."""
        found = self.rows.get(tokens)
        if found is None:
            found = self.rows[tokens] = self._between(tokens)
        return found

    def _between(self, tokens: int) -> Row:
        if tokens == 0:
            return (0.0, 0.0, 0.0, 0.0)
        at = tokens - 1 if tokens <= DENSE else min(bisect_right(_TOKENS, tokens) - 1, len(_TOKENS) - 2)
        weight = 0.0 if tokens <= DENSE else (tokens - _TOKENS[at]) / (_TOKENS[at + 1] - _TOKENS[at])
        one, two, three, four = (column[at] + weight * (column[at + 1] - column[at]) for column in self.columns)
        return (one, two, three, four)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTables:
    """All that a stage's seconds are looked up in: by tokens, in graphs and started by the host; by tokens sampled (the
    last stage); attention; the message to the next stage by tokens; of those by tokens what experts shared with other
    dp ranks make."""

    graph: TokenTable
    eager: TokenTable
    sampled: TokenTable
    cores: tuple[tuple[int, Core], ...]
    chunks: ChunkTable
    send: TokenTable
    experts: TokenTable
    chunk_columns: tuple[list[list[float]], list[list[float]]]
    decode_rows: dict[int, list[float]] = field(default_factory=dict)
    skew_tables: dict[int, Skews] = field(default_factory=dict)

    def decodes(self, num_decodes: int) -> list[float]:
        """Attention's seconds for so many decodes, by LENGTHS."""
        row = self.decode_rows.get(num_decodes)
        if row is None:
            row = self.decode_rows[num_decodes] = decode_row(self.cores, num_decodes).tolist()
        return row

    def skews(self, num_decodes: int) -> Skews:
        """By how much attention is longer for so many decodes of unequal length."""
        table = self.skew_tables.get(num_decodes)
        if table is None:
            table = self.skew_tables[num_decodes] = skews(self.cores, num_decodes)
        return table

    def chunk_seconds(self, prefills: Sequence[tuple[int, int]]) -> float:
        """Attention's seconds for chunks that share a call, beyond its floor."""
        alone, among = self.chunk_columns
        longest = work = 0.0
        for new, cached in prefills:
            at = place(_NEW, new), place(_CACHED, cached)
            longest = max(longest, new * bilinear(alone, new, cached, *at))
            work += new * bilinear(among, new, cached, *at)
        return max(longest, work)


def by_tokens(one: Part, launch_seconds: float) -> TokenTable:
    """Columns as lists; where a host starts each kernel, kernels take no less than their starts."""
    others = one.tp + one.ep + one.straggler
    compute = np.maximum(one.compute, one.launches * launch_seconds - others)
    return TokenTable(columns=tuple(column.tolist() for column in (compute, one.tp, one.ep, one.straggler)))


def padded(sizes: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """By number of tokens, the captured size to which a pass is padded."""
    found = [0]
    for most, step in sizes:
        found += [-(-tokens // step) * step for tokens in range(len(found), most + 1)]
    return tuple(found)


def place(grid: list[float], value: float) -> int:
    """The interval of a grid in which a value lies, or the outermost."""
    return min(max(bisect_right(grid, value) - 1, 0), len(grid) - 2)


def bilinear(table: list[list[float]], new: float, cached: float, row: int, column: int) -> float:
    """Between four points of a table over NEW and CACHED."""
    low, high = table[row], table[row + 1]
    across = (cached - _CACHED[column]) / (_CACHED[column + 1] - _CACHED[column])
    one = low[column] + across * (low[column + 1] - low[column])
    other = high[column] + across * (high[column + 1] - high[column])
    return one + (new - _NEW[row]) / (_NEW[row + 1] - _NEW[row]) * (other - one)


def interpolated(row: list[float], length: float) -> float:
    """As numpy.interp does it, to the last digit."""
    at = place(_LENGTHS, length)
    slope = (row[at + 1] - row[at]) / (_LENGTHS[at + 1] - _LENGTHS[at])
    return slope * (length - _LENGTHS[at]) + row[at]
