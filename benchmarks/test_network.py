"""How fast shared wires are played, beside figures published for ASTRA-sim and a reference solved anew at every event.

An all-reduce of 1 GiB is played folded, on the wires of one GPU, and with every link's share tracked. The yardstick of
many messages at once is a fluid that solves all of them again whenever one comes or goes.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from time import perf_counter

import pytest

import topologies
from benchmarks.conftest import Show
from sim.costs.collectives import all_reduce
from sim.flow import Flow, flow_of
from sim.folding import fold, seen_by
from sim.instructions import Activity
from sim.max_min import fair_speeds
from sim.messages import play_activities
from sim.plan import Plan
from topologies.fabric import Wire, capacity, message_loads
from topologies.hardware import Cluster
from topologies.quantity import GIB, MEGA

ASTRA_SIM = {8: 0.01, 64: 0.03, 512: 2.4, 4096: 312.0}
"""Wall seconds of an all-reduce of 1 GiB by GPUs, as the issue that asked for this names them."""
MANY, MANY_GPUS, MANY_BAR = 10_000, 1024, 20.0
FEW = 400
WINDOW = 0.02
"""Seconds in which the messages start: some 500 are in flight at any time."""
LATENCY = 15e-6


def seconds_of(work: Callable[[], object], rounds: int) -> float:
    """Best wall seconds."""
    best = math.inf
    for _ in range(rounds):
        start = perf_counter()
        work()
        best = min(best, perf_counter() - start)
    return best


def replicas(num_gpus: int) -> Plan:
    """Data parallelism alone: one group of all GPUs."""
    return Plan(
        tp=1, sp=False, pp=1, vpp=1, dp=num_gpus, zero=0, recompute="none", schedule="1f1b", micro_batch=1,
        global_batch=num_gpus,
    )  # fmt: skip


@pytest.mark.parametrize("num_gpus", ASTRA_SIM)
def test_an_all_reduce_of_1_gib(show: Show, num_gpus: int) -> None:
    """Both ways give the same time. The fold itself, and how NCCL's ways lie on the nodes, are found once a group."""
    cluster, plan = topologies.load("dgx-h100", num_gpus), replicas(num_gpus)
    start = perf_counter()
    whole = all_reduce(cluster, range(num_gpus), GIB)
    first = perf_counter() - start
    folding = fold(plan, cluster)
    folded = seen_by(folding, whole, "dp", 0)
    few = seconds_of(lambda: play_activities(cluster, [(0.0, folded)]), 5)
    all_links = seconds_of(lambda: play_activities(cluster, [(0.0, whole)]), 3)
    assert play_activities(cluster, [(0.0, folded)]) == pytest.approx(play_activities(cluster, [(0.0, whole)]))
    published = ASTRA_SIM[num_gpus]
    show(
        f"all-reduce of 1 GiB, {num_gpus:>4} GPUs: priced in {first:.4f} s, played folded in {few:.5f} s,"
        f" all {len(whole.loads):>5} links in {all_links:.4f} s; ASTRA-sim {published:g} s,"
        f" {published / (first + all_links):,.1f} times as long"
    )


@cache
def fat_tree() -> Cluster:
    """1,024 GPUs below 8 leaves, 2:1 oversubscribed above them."""
    cluster = topologies.load("dgx-h100", MANY_GPUS)
    return replace(
        cluster, network=replace(cluster.network, wiring="fat-tree", nodes_per_leaf=16, oversubscription=2.0)
    )


def messages(num: int) -> list[tuple[float, Activity]]:
    """Messages of 1 to 64 MB between GPUs at random, as many in each moment however many there are."""
    dice, window = random.Random(1), WINDOW * num / MANY
    found = []
    for _ in range(num):
        source, target = dice.sample(range(MANY_GPUS), 2)
        nbytes = dice.uniform(MEGA, 64 * MEGA)
        loads = tuple((wire, share * nbytes) for wire, share in message_loads(fat_tree(), source, target))
        found.append((dice.uniform(0.0, window), Activity(latency=LATENCY, loads=loads)))
    return found


def solved_anew(cluster: Cluster, starts: Sequence[tuple[float, Activity]]) -> list[float]:
    """The yardstick: when each is done if all who move are solved at every arrival and departure."""
    numbers: dict[Wire, int] = {}
    flows: list[Flow] = [flow_of(cluster, activity, numbers) for _, activity in starts]
    carries = {number: capacity(cluster, wire) for wire, number in numbers.items()}
    left = [flow.nbytes for flow in flows]
    enters = sorted((at + flow.latency, index) for index, ((at, _), flow) in enumerate(zip(starts, flows, strict=True)))
    done = [0.0] * len(flows)
    moving: list[int] = []
    now = 0.0
    while enters or moving:
        speeds = fair_speeds([dict(flows[index].usage) for index in moving], carries)
        ends = [now + left[index] / speed for index, speed in zip(moving, speeds, strict=True)]
        then = min([*ends, *(at for at, _ in enters[:1])])
        for index, speed, end in zip([*moving], speeds, ends, strict=True):
            left[index] -= speed * (then - now)
            if end <= then:
                moving.remove(index)
                done[index] = then
        while enters and enters[0][0] <= then:
            moving.append(enters.pop(0)[1])
        now = then
    return done


def test_many_messages_on_a_fat_tree(show: Show) -> None:
    cluster = fat_tree()
    few = messages(FEW)
    anew = seconds_of(lambda: solved_anew(cluster, few), 1)
    same = seconds_of(lambda: play_activities(cluster, few), 1)
    assert play_activities(cluster, few) == pytest.approx(solved_anew(cluster, few), rel=1e-9)
    show(f"{FEW} random messages on {MANY_GPUS} GPUs: {same:.2f} s, solved anew at every event {anew:.2f} s,")
    show(f"  {anew / same:.1f} times as long")
    many = messages(MANY)
    start = perf_counter()
    done = play_activities(cluster, many)
    wall = perf_counter() - start
    in_flight = sum(end - at for end, (at, _) in zip(done, many, strict=True)) / max(done)
    verdict = "" if wall < MANY_BAR else "  MISSED"
    show(f"{MANY:,} of them, {in_flight:.0f} in flight at a time: {wall:.1f} s, bar {MANY_BAR:.0f} s{verdict}")
