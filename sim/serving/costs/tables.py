"""What a pass looks its seconds up in: plain lists and dicts, so that a look-up costs no call of numpy.

Numbers of tokens have rows; attention over decodes has one for each number of them, made when first asked for.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from sim.costs.law import Array
from sim.serving.costs.attention import ChunkTable, Core, decode_rows
from sim.serving.costs.decoding import Decoding
from sim.serving.costs.parts import DENSE, TOKENS, Part
from sim.serving.costs.skew import skews

_TOKENS: Final[list[float]] = TOKENS.tolist()
BLOCK: Final = 16
"""Numbers of decodes that are likely to come where one does: numpy asks as much for a few points as for many."""

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CoreTables:
    """Attention's core of a stage: chunks, and decodes by their number, made for BLOCK numbers in one go."""

    cores: tuple[tuple[int, Core], ...]
    chunks: ChunkTable
    blocks: dict[int, tuple[Array, Array]] = field(default_factory=dict)
    kept: dict[int, Decoding] = field(default_factory=dict)

    def decodes(self, num_decodes: int) -> Decoding:
        """Attention over so many decodes."""
        found = self.kept.get(num_decodes)
        if found is None:
            found = self.kept[num_decodes] = self._made(*divmod(num_decodes - 1, BLOCK))
        return found

    def _made(self, block: int, at: int) -> Decoding:
        if block not in self.blocks:
            numbers = np.arange(block * BLOCK + 1.0, (block + 1) * BLOCK + 1.0)
            self.blocks[block] = decode_rows(self.cores, numbers), skews(self.cores, numbers)
        rows, factors = self.blocks[block]
        return Decoding(rows[at].tolist(), factors[at].tolist())


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTables:
    """All that a stage's seconds are looked up in: by tokens, in graphs and started by the host; by tokens sampled (the
    last stage); attention, which stages of the same layers share; the message to the next stage by tokens; of those by
    tokens what experts shared with other dp ranks make."""

    graph: TokenTable
    eager: TokenTable
    sampled: TokenTable
    core: CoreTables
    send: TokenTable
    experts: TokenTable


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
