"""The cache of keys and values in blocks of a few tokens: who holds how many, and which content is found again.

A free block keeps its content until it is taken, and the one that was freed longest ago is taken first. Blocks that
nobody can ask for are counted, not listed; only those of known content, and of whoever was preempted, can be found.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from sim.requests import Names
from sim.serving.sequence import Sequence
from sim.serving.settings import Settings


class Found(NamedTuple):
    """What the cache has of a sequence: blocks by their numbers, then `own` ones that it lost when it was preempted;
    `idle` of both are free now."""

    blocks: list[int]
    own: int
    idle: int

    @property
    def num_blocks(self) -> int:
        return len(self.blocks) + self.own


NOTHING = Found([], 0, 0)


@dataclass(slots=True, eq=False)
class BlockPool:
    """So many blocks of `block_size` tokens, `num_free` of which nobody holds.

    Eviction order: `loose` blocks without content first, then the entries of `order` (a block of known content, or a
    run of others) with the number of their blocks. Law: num_free is `loose` and the sum over `order`; the rest of
    num_blocks are those of all sequences, counted once where several hold them.
    """

    num_blocks: int
    block_size: int
    caching: bool = False
    content_tokens: int = 16
    num_free: int = field(init=False)
    loose: int = field(init=False)
    order: OrderedDict[int, int] = field(default_factory=OrderedDict)
    holders: dict[int, int] = field(default_factory=dict)
    _next: int = 0
    _tail: int = -1
    _content: dict[int, int] = field(default_factory=dict)
    _blocks: dict[int, list[int]] = field(default_factory=dict)
    _named: dict[Sequence, list[int]] = field(default_factory=dict)
    _contents: dict[Sequence, list[int]] = field(default_factory=dict)
    _lost: dict[Sequence, tuple[int, int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.num_free = self.loose = self.num_blocks

    def take(self, count: int) -> None:
        """So many free blocks, longest free first; what was in them is forgotten."""
        self.num_free -= count
        self.loose -= count
        while self.loose < 0:
            entry, blocks = self.order.popitem(last=False)
            self.loose += blocks
            self._forget(entry)
            if self.loose > 0:
                self._shorten(entry, self.loose)
                self.loose = 0

    def grow(self, sequence: Sequence, tokens: int) -> bool:
        """Blocks for so many tokens of the sequence, from its first; False, and none taken, where too few are free."""
        needed = -(-tokens // self.block_size) - sequence.blocks
        if needed > self.num_free:
            return False
        if needed > 0:
            self.take(needed)
            sequence.blocks += needed
        return True

    def find(self, sequence: Sequence) -> Found:
        """Full blocks from the sequence's first token on; never its last token, which is to be computed for the next
        one [vLLM 0.19, v1/core/kv_cache_manager.py: get_computed_blocks]."""
        if not self.caching or not (sequence.contents or sequence in self._lost):
            return NOTHING
        limit = (sequence.prompt + sequence.generated - 1) // self.block_size
        blocks = self._known(sequence, limit)
        entry, start, full = self._lost.get(sequence, (-1, -1, 0))
        own = min(self.order.get(entry, 0), full, limit - start) if len(blocks) == start else 0
        holders = self.holders
        return Found(blocks, own, own + sum(block not in holders for block in blocks))

    def hold(self, sequence: Sequence, found: Found) -> None:
        """The sequence, which holds nothing, now holds what `find` found a moment ago."""
        for block in found.blocks:
            self.holders[block] = self.holders.get(block, 0) + 1
            if self.holders[block] == 1:
                del self.order[block]
        entry = self._lost.pop(sequence, (-1, 0, 0))[0]
        if found.own and self.order[entry] > found.own:
            self.order[entry] -= found.own
        elif found.own:
            del self.order[entry]
        self.num_free -= found.idle
        sequence.blocks = found.num_blocks
        if sequence.contents:
            self._named[sequence] = list(found.blocks)

    def name(self, sequence: Sequence) -> None:
        """The sequence's full blocks can be found by others, as far as their content is known: from the moment that a
        pass is to fill them [vLLM 0.19, allocate_slots]."""
        if not self.caching or not sequence.contents:
            return
        tokens = min(sequence.computed, sequence.prompt + sequence.generated)
        named, contents = self._named.setdefault(sequence, []), self._contents_of(sequence)
        for content in contents[len(named) : tokens // self.block_size]:
            self._next += 1
            self._content[self._next] = content
            self._blocks.setdefault(content, []).append(self._next)
            self.holders[self._next] = 1
            named.append(self._next)

    def free(self, sequence: Sequence) -> None:
        """The sequence has ended. Its last block is to be evicted first."""
        self.name(sequence)
        named = self._named.pop(sequence, [])
        self._append(sequence.blocks - len(named))
        self._release(named)
        self._contents.pop(sequence, None)
        self._lost.pop(sequence, None)
        sequence.blocks = 0

    def preempt(self, sequence: Sequence) -> None:
        """The sequence loses its blocks, but will ask for them again."""
        if not self.caching:
            self.free(sequence)
            return
        self.name(sequence)
        named = self._named.pop(sequence, [])
        if sequence.blocks > len(named):
            self._next += 1
            self.order[self._next] = sequence.blocks - len(named)
            self.num_free += sequence.blocks - len(named)
            tokens = min(sequence.computed, sequence.prompt + sequence.generated)
            self._lost[sequence] = (self._next, len(named), max(tokens // self.block_size - len(named), 0))
        self._release(named)
        sequence.blocks = 0

    def _known(self, sequence: Sequence, limit: int) -> list[int]:
        found: list[int] = []
        for content in self._contents_of(sequence)[:limit]:
            blocks = self._blocks.get(content)
            if blocks is None:
                break
            found.append(blocks[0])
        return found

    def _contents_of(self, sequence: Sequence) -> list[int]:
        """By block, a hash of all that the sequence says up to the block's end."""
        if sequence not in self._contents:
            self._contents[sequence] = _chain(sequence.contents, self.content_tokens, self.block_size)
        return self._contents[sequence]

    def _append(self, count: int) -> None:
        """Blocks that nobody can find are evicted after all that are free now."""
        self.num_free += count
        if not self.order:
            self.loose += count
        elif self._tail == next(reversed(self.order)):
            self.order[self._tail] += count
        elif count:
            self._next += 1
            self._tail = self._next
            self.order[self._tail] = count

    def _release(self, named: list[int]) -> None:
        for block in reversed(named):
            self.holders[block] -= 1
            if not self.holders[block]:
                del self.holders[block]
                self.order[block] = 1
                self.num_free += 1

    def _forget(self, block: int) -> None:
        content = self._content.pop(block, None)
        if content is not None:
            self._blocks[content].remove(block)
            if not self._blocks[content]:
                del self._blocks[content]

    def _shorten(self, entry: int, blocks: int) -> None:
        """What is left of a run that was taken from is still first in order."""
        self.order[entry] = blocks
        self.order.move_to_end(entry, last=False)


def new_pool(settings: Settings, content_tokens: int = 16) -> BlockPool:
    """All blocks free. vLLM keeps one for itself as a placeholder [vLLM 0.19, v1/core/block_pool.py: null_block].

    content_tokens: how many tokens a name in `Sequence.contents` stands for.
    """
    usable = settings.num_blocks - (settings.policy == "vllm")
    return BlockPool(usable, settings.block_size, settings.prefix_caching, content_tokens)


def _chain(contents: Names, content_tokens: int, block_size: int) -> list[int]:
    said, spoken = [], 0
    for content in contents:
        spoken = hash((spoken, content))
        said.append(spoken)
    num_blocks = len(contents) * content_tokens // block_size
    return [hash((said[((block + 1) * block_size - 1) // content_tokens], block)) for block in range(num_blocks)]
