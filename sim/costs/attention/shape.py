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
    it (None: all before it).
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

    @property
    def num_scores(self) -> int:
        return self.batch * self.num_heads * self.seq_len**2

    @property
    def operand_nbytes(self) -> int:
        """Queries and output, keys and values."""
        width = (self.num_heads + self.num_kv_heads) * (self.head_dim + self.value_dim)
        return ELEMENT * self.batch * self.seq_len * width


def num_kept_blocks(shape: Shape) -> int:
    """Blocks of scores that a flash kernel works on, of the whole square for one head.

    Block i of the queries meets the keys of its own block, and of those before it as far as its first row's window
    reaches: min(i, ceil((window - 1) / BLOCK)) + 1 blocks.
    """
    blocks = math.ceil(shape.seq_len / BLOCK)
    if not shape.causal:
        return blocks**2
    longest = blocks if shape.window is None else min(blocks, math.ceil((shape.window - 1) / BLOCK) + 1)
    return longest * (longest + 1) // 2 + (blocks - longest) * longest
