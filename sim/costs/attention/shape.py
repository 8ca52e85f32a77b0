"""What one attention works on: how many queries meet how many keys, under which mask."""

import math
from dataclasses import dataclass
from typing import Final

from sim.costs import ELEMENT

BLOCK: Final = 128
"""Rows of queries that one thread block of a flash kernel works on, and the keys of one step of its loop [Dao 2023]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The attention of one rank: `num_heads` and `num_kv_heads` are those that it holds.

    A query and a key are `head_dim` wide, a value `value_dim`. A query sees itself and the `window` - 1 tokens before
    it (None: all before it). There are `num_keys` keys, the last of them those of the `seq_len` queries; None: there
    are no others. Without a mask (`causal` False) every query sees every key, of which there may be fewer then.
    """

    batch: int
    seq_len: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    value_dim: int
    precision: str
    causal: bool = True
    window: int | None = None
    num_keys: int | None = None

    @property
    def keys(self) -> int:
        return self.seq_len if self.num_keys is None else self.num_keys

    @property
    def num_scores(self) -> int:
        return self.batch * self.num_heads * self.seq_len * self.keys

    @property
    def num_pairs(self) -> int:
        """Queries and keys that see each other, of one head of one sequence: query i sees the keys before it, those
        before all queries too, as far as the window reaches."""
        if not self.causal:
            return self.seq_len * self.keys
        before, longest = self.keys - self.seq_len, min(self.keys, self.window or self.keys)
        growing = min(self.seq_len, max(0, longest - before))
        return growing * before + growing * (growing + 1) // 2 + (self.seq_len - growing) * longest

    @property
    def operand_nbytes(self) -> int:
        """Queries and output, keys and values."""
        tokens = self.num_heads * self.seq_len + self.num_kv_heads * self.keys
        return ELEMENT * self.batch * tokens * (self.head_dim + self.value_dim)


def num_kept_blocks(shape: Shape) -> int:
    """Blocks of scores that a flash kernel works on, of all for one head.

    Block i of the queries meets the keys of its own block, and of those before it as far as its first row's window
    reaches: min(before + i, ceil((window - 1) / BLOCK)) + 1 blocks, with so many blocks `before` the first query's.
    """
    rows, columns = math.ceil(shape.seq_len / BLOCK), math.ceil(shape.keys / BLOCK)
    if not shape.causal:
        return rows * columns
    longest = columns if shape.window is None else min(columns, math.ceil((shape.window - 1) / BLOCK) + 1)
    before = columns - rows
    growing = min(rows, max(0, longest - before))
    return growing * before + growing * (growing + 1) // 2 + (rows - growing) * longest
