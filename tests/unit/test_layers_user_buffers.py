"""Communication of tensor parallelism in pieces beside products: the same work, of which only an end is exposed."""

from dataclasses import replace

import pytest

from sim import layers
from sim.instructions import Collective, Compute
from sim.layers import Pass, head
from sim.layers.user_buffers import NUM_PARTS
from tests.programs import LLAMA

CUT = replace(LLAMA, framework=replace(LLAMA.framework, overlap_tp=True))
TENSOR = 2 * 8192 * 8192


def pieces(one: Pass, name: str) -> list[float]:
    return [i.duration for i in one["compute"] if isinstance(i, Compute) and i.name == name]


def sent(one: Pass, stream: str) -> list[tuple[str, float]]:
    return [(i.operation, i.nbytes) for i in one.get(stream, ()) if isinstance(i, Collective)]


def test_nothing_is_left_on_the_compute_stream() -> None:
    for direction in (layers.forward, layers.backward):
        assert sent(direction(LLAMA), "compute")
        assert not sent(direction(CUT), "compute")


def test_a_gather_is_seven_exchanges_of_an_eighth_and_a_sum_four_of_a_quarter() -> None:
    assert (
        sent(layers.forward(CUT), "tp") == ([("exchange", TENSOR / 8)] * 7 + [("reduce_scatter", TENSOR / 4)] * 4) * 2
    )


def test_backward_gathers_the_gradient_in_pieces_and_the_rest_in_bulk() -> None:
    one = sent(layers.backward(CUT), "tp")
    ring, bulk = [("exchange", TENSOR / 8)] * 7, [("all_gather", TENSOR), ("reduce_scatter", TENSOR)]
    assert one == (ring + bulk) * 2


@pytest.mark.parametrize(("name", "number"), [("qkv forward", 8), ("projection forward", NUM_PARTS)])
def test_pieces_take_a_little_longer_than_the_whole(name: str, number: int) -> None:
    (whole,), parts = pieces(layers.forward(LLAMA), name), pieces(layers.forward(CUT), name)
    assert len(parts) == number
    assert whole < sum(parts) < 1.5 * whole


def test_without_sequence_parallelism_there_is_nothing_to_cut() -> None:
    """Transformer Engine asserts sequence parallelism; the sums of backward overlap as ever."""
    plain, cut = replace(LLAMA, sp=False), replace(CUT, sp=False)
    assert layers.forward(cut) == layers.forward(plain)
    assert layers.backward(cut) == layers.backward(plain)


def test_the_head_has_no_user_buffers() -> None:
    assert head.forward(CUT) == head.forward(LLAMA)
