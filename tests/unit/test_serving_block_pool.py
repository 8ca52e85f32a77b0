"""Blocks of 4 tokens; contents are names of 4 tokens each, so a name is a block."""

from sim.serving.block_pool import BlockPool
from sim.serving.sequence import Sequence


def test_blocks_are_taken_as_a_sequence_grows_and_all_come_back() -> None:
    pool, sequence = BlockPool(num_blocks=3, block_size=4), request(9)
    assert pool.grow(sequence, 5)
    assert (sequence.blocks, pool.num_free) == (2, 1)
    assert pool.grow(sequence, 8)
    assert (sequence.blocks, pool.num_free) == (2, 1)
    assert not pool.grow(sequence, 13)
    assert (sequence.blocks, pool.num_free) == (2, 1)
    pool.free(sequence)
    assert (sequence.blocks, pool.num_free) == (0, 3)


def test_a_request_finds_what_begins_alike_in_full_blocks_but_never_its_last_token() -> None:
    """10 tokens fill two blocks. 8 tokens alike are two blocks, but the eighth is computed again: one block is found;
    who differs in the second block finds one; who differs in the first finds none, though its second name is known."""
    pool = cache(8)
    run(pool, request(10, 1, 2, 3))
    assert pool.find(request(9, 1, 2, 7)).num_blocks == 2
    assert pool.find(request(8, 1, 2)).num_blocks == 1
    assert pool.find(request(12, 1, 5, 3)).num_blocks == 1
    assert pool.find(request(12, 5, 2, 3)).num_blocks == 0


def test_a_block_that_several_hold_is_counted_once_and_free_when_the_last_lets_go() -> None:
    pool = cache(8)
    first, second = request(9, 1, 2, 3), request(9, 1, 2, 4)
    run(pool, first, ends=False)
    run(pool, second, ends=False)
    assert (first.blocks, second.blocks, pool.num_free) == (3, 3, 4)
    pool.free(first)
    assert pool.num_free == 5
    pool.free(second)
    assert pool.num_free == 8


def test_what_was_freed_longest_ago_is_evicted_first_tails_before_heads() -> None:
    """Of 6 blocks A's 3 were freed before B's 3, the third of each without a name: in order 3A 2A 1A 3B 2B 1B."""
    pool, others = cache(6), request(99)
    run(pool, request(9, 1, 2))
    run(pool, request(9, 5, 6))
    left = []
    for tokens in range(4, 28, 4):
        pool.grow(others, tokens)
        left.append((pool.find(request(9, 1, 2)).num_blocks, pool.find(request(9, 5, 6)).num_blocks))
    assert left == [(2, 2), (1, 2), (0, 2), (0, 2), (0, 1), (0, 0)]


def test_what_is_found_again_moves_to_the_end_of_the_eviction_order() -> None:
    pool = cache(6)
    run(pool, request(9, 1, 2))
    run(pool, request(9, 5, 6))
    run(pool, request(9, 1, 2))
    pool.grow(request(99), 12)
    assert pool.find(request(9, 1, 2)).num_blocks == 2
    assert pool.find(request(9, 5, 6)).num_blocks == 0


def test_a_copy_of_a_block_is_found_when_the_first_is_evicted() -> None:
    """Two of 8 equal tokens: the second computes the block of its last token again, so there are two of it."""
    pool = cache(5)
    first, second = request(8, 1, 2), request(8, 1, 2)
    run(pool, first, ends=False)
    run(pool, second)
    pool.free(first)
    assert pool.find(request(9, 1, 2)).num_blocks == 2
    pool.grow(request(99), 12)
    assert pool.find(request(9, 1, 2)).num_blocks == 2


def test_who_was_preempted_finds_its_own_blocks_as_far_as_they_were_not_taken() -> None:
    """10 of 11 tokens fill two blocks; the third is lost. Somebody takes it, then the second as well."""
    pool, sequence = cache(3), request(11)
    sequence.computed = 10
    pool.grow(sequence, 10)
    pool.preempt(sequence)
    assert (pool.num_free, pool.find(sequence)) == (3, ([], 2, 2))
    pool.take(2)
    found = pool.find(sequence)
    pool.hold(sequence, found)
    assert (found, sequence.blocks, pool.num_free) == (([], 1, 1), 1, 0)


def test_names_of_long_runs_stand_for_all_the_blocks_in_them() -> None:
    """A name for 8 tokens is two blocks; 11 tokens are two full blocks of the first run and none of the second."""
    pool = BlockPool(num_blocks=8, block_size=4, caching=True, content_tokens=8)
    run(pool, request(11, 1, 2))
    assert [pool.find(request(20, 1, other)).num_blocks for other in (2, 3)] == [2, 2]
    assert pool.find(request(6, 1)).num_blocks == 1


def cache(num_blocks: int) -> BlockPool:
    return BlockPool(num_blocks=num_blocks, block_size=4, caching=True, content_tokens=4)


def request(prompt: int, *contents: int) -> Sequence:
    return Sequence(row=0, prompt=prompt, output=1, arrival=0.0, contents=contents)


def run(pool: BlockPool, sequence: Sequence, ends: bool = True) -> None:
    """All its tokens are computed in one pass."""
    found = pool.find(sequence)
    pool.hold(sequence, found)
    assert pool.grow(sequence, sequence.prompt)
    sequence.computed = sequence.prompt
    pool.name(sequence)
    if ends:
        pool.free(sequence)
