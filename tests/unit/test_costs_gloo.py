"""Gloo over loopback: by torch's algorithms, both directions through one process, and the engine shares its ports."""

from dataclasses import replace

import numpy as np
import pytest

from calibrate.machines.machine import cluster_of
from sim.costs.collectives import activity_of, alone, collective, footprint, gloo
from sim.costs.collectives.all_to_all import all_to_all
from sim.costs.collectives.point_to_point import exchange, send
from sim.instructions import Collective, CollectiveOperation
from tests.processor import CPU
from topologies.document import InputError
from topologies.hardware import Cluster, Fit
from topologies.quantity import MICROSECOND

EXACT = {
    "start": 1.0, "start_send": 0.5, "message": 1.0, "rate": 1.0, "sum_rate": 0.5, "copy_rate": 2.0,
    "crowd_latency": 1.0, "crowd_rate": 0.5,
}  # fmt: skip
"""On a link of 2 GB/s (1.6 GB/s achievable), 100 us a message and 200 us a launch."""


def processes(num: int, **values: float) -> Cluster:
    fit = Fit(values={**EXACT, **values}, sources={}, part="gloo-loopback")
    return cluster_of(replace(CPU, num_gpus=num), {"gloo-loopback": {"gloo": fit}})


def seconds(cluster: Cluster, operation: str, num: int, nbytes: float) -> float:
    points = {"operation": [gloo.OPERATIONS.index(operation)], "num_gpus": [num], "nbytes": [nbytes]}
    columns = {name: np.array(column, np.float64) for name, column in points.items()}
    return float(gloo.LAW.seconds(cluster, cluster.node.scale_up.fits["gloo"].values, columns)[0])


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("all_reduce", 600 + 1000 + 500),  # 4 messages; 2 x 1 MB through the sockets, 0.5 MB summed at half the rate
        ("all_gather", 400 + 500 + 375),  # 2 messages; 1 MB; 1.5 MB copied at twice the rate
        ("reduce_scatter", 600 + 1000 + 500 + 375),  # an all-reduce of a copy
        ("broadcast", 300 + 500),  # 1 message of 1 MB
        ("all_to_all", 300 + 500 + 125),  # 1 message; half out and half in; half copied
        ("send", 200 + 500),
    ],
)
def test_two_processes_by_hand(operation: str, expected: float) -> None:
    """1 MB among two: 200 us to start (100 a send), 100 us a message, 0.5 us for each kB that crosses a socket."""
    assert seconds(processes(2), operation, 2, 1e6) == pytest.approx(expected * MICROSECOND)


def test_four_processes_by_hand() -> None:
    """An all-gather of 1 MB: 6 messages and a start, twice as long each as two pairs share the cores; 1.5 MB through
    each socket and 1.25 MB copied, 1.41 times as long."""
    by_hand = 2 * (200 + 600) + 2**0.5 * (750 + 312.5)
    assert seconds(processes(4), "all_gather", 4, 1e6) == pytest.approx(by_hand * MICROSECOND)


def test_a_broadcast_goes_down_a_tree() -> None:
    """Of 3 and of 4 processes two messages follow one another."""
    cluster = processes(4, crowd_latency=0.0, crowd_rate=0.0)
    assert seconds(cluster, "broadcast", 3, 1e6) == seconds(cluster, "broadcast", 4, 1e6)
    assert seconds(cluster, "broadcast", 4, 1e6) == pytest.approx(1400 * MICROSECOND)


@pytest.mark.parametrize("operation", gloo.OPERATIONS[:-1])
@pytest.mark.parametrize("nbytes", [1.0, 1e6, 1e9])
def test_alone_it_takes_what_the_law_says_of_numbers_twice_as_wide(
    operation: CollectiveOperation, nbytes: float
) -> None:
    """Layers count 16 bits, processes send fp32."""
    cluster = processes(4)
    asked = Collective(name="x", axis="dp", group="dp", operation=operation, nbytes=nbytes)
    for gpus in ((0, 1), (0, 1, 2, 3)):
        activity = activity_of(cluster, gpus, asked)
        assert alone(cluster, activity) == pytest.approx(seconds(cluster, operation, len(gpus), 2 * nbytes))
        assert activity.num_sms == 0
        assert activity == collective(cluster, gpus, operation, nbytes)


def test_lowering_and_folding_ask_for_the_same_all_to_all() -> None:
    cluster = processes(2)
    assert all_to_all(cluster, (0, 1), 1e6) == collective(cluster, (0, 1), "all_to_all", 1e6)


def test_a_message_takes_what_the_law_says_and_an_exchange_of_two_twice_as_long() -> None:
    """A process copies what it sends and what it receives, one after the other: 0.5 million numbers of 4 bytes."""
    cluster = processes(2)
    assert alone(cluster, send(cluster, 0, 1, 1e6)) == pytest.approx(1200 * MICROSECOND)
    assert alone(cluster, exchange(cluster, (0, 1), 1e6)) == pytest.approx(2200 * MICROSECOND)
    assert send(cluster, 1, 1, 1e6).loads == ()


def test_what_a_folded_rank_plays_is_what_the_group_plays() -> None:
    """Folding makes loads of the footprint and the activity's pattern; of a message from that of one byte."""
    cluster = processes(4)
    activity = collective(cluster, (0, 1, 2, 3), "all_reduce", 1e6)
    ((pattern, nbytes),) = activity.patterns
    loads = footprint(cluster, (0, 1, 2, 3))[1][pattern]  # type: ignore[index]
    assert tuple((wire, share * nbytes) for wire, share in loads) == activity.loads
    one, many = send(cluster, 0, 1, 1.0), send(cluster, 0, 1, 1e6)
    assert dict(many.loads) == pytest.approx({wire: share * 1e6 for wire, share in one.loads})
    assert footprint(cluster, (0,)) == ((), {})


def test_nothing_costs_nothing() -> None:
    cluster = processes(2)
    assert collective(cluster, (0, 1), "all_reduce", 0.0).loads == ()
    assert collective(cluster, (1,), "all_reduce", 1e6).loads == ()


def test_a_kernel_of_gpus_is_refused() -> None:
    with pytest.raises(InputError, match="dispatch is a kernel of GPUs; over Gloo take the all-to-all dispatcher"):
        gloo.collective(processes(2), (0, 1), "dispatch", 1e6)
