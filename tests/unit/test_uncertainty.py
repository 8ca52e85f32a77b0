"""Intervals and origins, by hand: three seconds of products, one of copies, one of waiting for tp's bytes."""

import math
from dataclasses import replace

import pytest

import topologies
from sim.engine import Engine
from sim.instructions import Activity, Basis, Collective, Compute
from sim.program import Stream
from sim.timeline import Timeline
from sim.uncertainty import RELEASES, UNMEASURED, UNMODELLED, borrowed, exposed_interval, interval, origins, shares
from tests.clusters import cluster_of, gpu, node_of
from tests.programs import plan, program, small, toy, train, with_node
from topologies.hardware import Cluster, Fit

GEMM = Fit(values={}, sources={}, origin="measured", spread=(-0.03, 0.04), part="toy")
NCCL = Fit(values={}, sources={}, origin="measured", spread=(-0.1, 0.05), part="wire")


def fitted(*, num_nodes: int = 1) -> Cluster:
    """A toy whose products and whose collectives in a node were measured, and nothing else."""
    cluster = toy(num_nodes=num_nodes)
    wire = replace(cluster.node.scale_up, fits={"nccl node": NCCL})
    return with_node(cluster, gpu=replace(cluster.gpu, fits={"gemm": GEMM}), scale_up=wire)


def kernel(operation: str, seconds: float, origin: str = "measured") -> Compute:
    return Compute(name=operation, duration=seconds, basis=(Basis(operation, origin, seconds),))  # type: ignore[arg-type]


def played(*kernels: Compute, waits: float = 0.0, axis: str = "tp") -> Timeline:
    """The kernels on rank 0, then a collective of so many seconds on its compute stream."""
    meet = Collective(name="sum", axis=axis, group="tp", operation="all_reduce", nbytes=1.0)  # type: ignore[arg-type]
    block = (*kernels, meet) if waits else kernels
    stream = Stream(rank=0, name="compute", steps=[(None, block)])
    return Engine(toy()).play(program([stream], {(meet, 0): Activity(latency=waits, loads=())}, {("tp", 0): (0,)}))


ALWAYS = (0.06, 0.012816)
"""Another release of the software, another day: 1.2816 standard deviations of a hundredth."""

STEP = played(kernel("gemm", 3.0), kernel("copy", 1.0, "datasheet"), waits=1.0)


def test_busy_time_is_parted_by_what_it_rests_on() -> None:
    """Three of five seconds on measured products, one on a data sheet, one on a measured link."""
    assert origins(STEP, fitted()) == pytest.approx(
        {"measured": 0.8, "interpolated": 0.0, "extrapolated": 0.0, "datasheet": 0.2}
    )
    assert [one.cause for one in shares(STEP, fitted())] == ["gemm", "copy", "nccl node wire"]


def test_an_interval_adds_the_squares_of_what_is_independent() -> None:
    """Below: 0.06 and 0.0128 always, 0.03 unmodelled, 0.6 x 0.03, 0.2 x 0.16, 0.2 x 0.1; above: 0.04 unmodelled,
    0.6 x 0.04, 0.2 x 0.16, 0.2 x 0.05."""
    assert (UNMODELLED, UNMEASURED, RELEASES) == ((-0.03, 0.04), (-0.16, 0.16), 0.06)
    found = interval(STEP, fitted(), 0.01)
    assert found["p50_s"] == 5.0
    assert math.log(found["p50_s"] / found["p10_s"]) == pytest.approx(math.hypot(0.03, *ALWAYS, 0.018, 0.032, 0.02))
    assert math.log(found["p90_s"] / found["p50_s"]) == pytest.approx(math.hypot(0.04, *ALWAYS, 0.024, 0.032, 0.01))


def test_errors_of_one_operation_add_up_and_are_twice_as_wide_outside_what_was_measured() -> None:
    """3/4 x 0.03 + 1/4 x 0.06 = 0.0375, not the root of their squares."""
    timeline = played(kernel("gemm", 3.0), kernel("gemm", 1.0, "extrapolated"))
    assert math.log(4.0 / interval(timeline, fitted(), 0.01)["p10_s"]) == pytest.approx(
        math.hypot(0.03, *ALWAYS, 0.0375)
    )
    assert origins(timeline, fitted())["extrapolated"] == 0.25


def test_a_bubble_is_as_sure_as_the_work_that_is_waited_for() -> None:
    """Three seconds of products and one of waiting; a second rank has one second of products, then nothing to do. Of
    the five busy seconds one is waited, and the other rank's three empty ones change nothing."""
    meet = Collective(name="sum", axis="tp", group="tp", operation="all_reduce", nbytes=1.0)
    blocks = ((kernel("gemm", 3.0), meet), (kernel("gemm", 1.0),))
    streams = [Stream(rank=rank, name="compute", steps=[(None, block)]) for rank, block in enumerate(blocks)]
    what = program(streams, {(meet, 0): Activity(latency=1.0, loads=())}, {("tp", 0): (0,)})
    assert [one.share for one in shares(Engine(toy()).play(what), fitted())] == pytest.approx([0.8, 0.2])


def test_gradients_cross_the_network_where_there_is_one() -> None:
    """Nobody measured the toy's network; in one node the sum goes over its measured wire."""
    timeline = played(kernel("gemm", 3.0), waits=1.0, axis="dp")
    assert origins(timeline, fitted())["datasheet"] == 0.0
    assert origins(timeline, fitted(num_nodes=2))["datasheet"] == 0.25


def test_kernels_that_say_nothing_are_unmeasured() -> None:
    timeline = played(Compute(name="kernel", duration=2.0))
    assert origins(timeline, fitted())["datasheet"] == 1.0
    assert math.log(2.0 / interval(timeline, fitted(), 0.01)["p10_s"]) == pytest.approx(math.hypot(0.03, *ALWAYS, 0.16))


def test_of_two_kinds_of_gpu_the_less_sure_one_counts_but_only_if_it_is_used() -> None:
    """The second pool's products are off by up to 0.2; a step of rank 0 alone never meets it."""
    sure, unsure = (
        node_of(gpu=replace(gpu(), name=name, fits={"gemm": replace(GEMM, spread=(-off, off), part=part)}))
        for name, off, part in (("sure", 0.03, "sure"), ("unsure", 0.2, "lender"))
    )
    cluster = cluster_of((sure, 1), (unsure, 1))
    alone = played(kernel("gemm", 4.0))
    both = replace(alone, tracks=(replace(alone.tracks[0], ranks_folded=16),))
    assert math.log(4.0 / interval(alone, cluster, 0.01)["p10_s"]) == pytest.approx(math.hypot(0.03, *ALWAYS, 0.03))
    assert math.log(4.0 / interval(both, cluster, 0.01)["p10_s"]) == pytest.approx(math.hypot(0.03, *ALWAYS, 0.2))
    assert borrowed(alone, cluster) == []
    assert borrowed(both, cluster) == [
        "Some kernels were not measured on unsure: it is given the efficiencies of lender."
    ]


@pytest.mark.parametrize(
    ("cluster", "layout"),
    [
        (topologies.load("dgx-h100", 8), plan()),
        (topologies.load("dgx-h100", 16), plan(tp=4, pp=2, dp=2)),
        (cluster_of((node_of(), 1), (node_of(gpu=gpu(2.0)), 1)), plan(tp=4, pp=2, dp=2)),
        (topologies.load("dgx-h100", 16), plan(tp=16, sp=True)),
    ],
    ids=["one GPU", "two nodes", "two kinds of GPU", "tp over nodes"],
)
def test_every_step_has_an_interval_around_it_and_origins_that_sum_to_one(cluster: Cluster, layout: object) -> None:
    timeline = train(layout, cluster, small())  # type: ignore[arg-type]
    found = interval(timeline, cluster, 0.01)
    assert 0.7 * found["p50_s"] < found["p10_s"] < found["p50_s"] < found["p90_s"] < 1.4 * found["p50_s"]
    assert sum(origins(timeline, cluster).values()) == pytest.approx(1.0)
    assert sum(one.share for one in shares(timeline, cluster)) == pytest.approx(1.0)


def test_exposed_communication_is_as_sure_as_links_and_kernels_together() -> None:
    """One of five seconds waits for a link that errs by -0.1 to 0.05; of the other four, three are products that err by
    -0.03 to 0.04, and one rests on a data sheet: 0.16. So x is within sqrt((0.75 x 0.03)^2 + (0.25 x 0.16)^2) below and
    sqrt((0.75 x 0.04)^2 + 0.04^2) = 0.05 above, and the odds, 1 : 4, move by sqrt(0.1^2 + 0.05^2) down."""
    found = exposed_interval(STEP, fitted())
    down = math.hypot(0.1, 0.05)
    up = math.hypot(0.05, 0.75 * 0.03, 0.25 * 0.16)
    assert found["p50"] == pytest.approx(0.2)
    assert found["p10"] == pytest.approx(math.exp(-down) / (4 + math.exp(-down)))
    assert found["p90"] == pytest.approx(math.exp(up) / (4 + math.exp(up)))


def test_where_nothing_is_exposed_its_share_is_sure() -> None:
    assert exposed_interval(played(kernel("gemm", 3.0)), fitted()) == {"p10": 0.0, "p50": 0.0, "p90": 0.0}
