"""Collectives and messages over every group that matters: in a node, over nodes, and one GPU of each node (one rail).

Sizes are as nccl-tests counts them: the buffer of an all-reduce or broadcast, the gathered total of an all-gather, the
input of a reduce-scatter, each rank's buffer of an all-to-all. Each rank's numbers follow from its place in the group,
so that every rank knows what must come out.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from calibrate.bench.groups import Group, groups, pairs
from calibrate.bench.point import Point, Ranks, Run
from calibrate.bench.shapes import number_nbytes
from calibrate.bench.tensors import TOLERANCE, difference, random
from calibrate.bench.world import ALL_GATHER, REDUCE_SCATTER
from calibrate.machines.machine import Machine, cluster_of
from calibrate.running.asked import Budget
from sim.costs.collectives.all_to_all import version_code
from sim.costs.collectives.gloo import OPERATIONS, SEND
from sim.costs.collectives.nccl import OPERATIONS as FITTED_ALIKE
from topologies.hardware import Cluster, Gpu, Link
from topologies.quantity import GIB, KIB, MIB

SMALLEST: Final = int(KIB)
LARGEST: Final = int(GIB)
LARGEST_ON_PROCESSOR: Final[Mapping[Budget, int]] = {"quick": int(16 * MIB), "default": int(64 * MIB)}
STEPS: Final[tuple[tuple[int, Budget], ...]] = ((16, "quick"), (4, "quick"), (2, "default"))
"""From size to size, coarse to fine."""
PERIOD: Final = 65_521
"""Random numbers repeat after so many: a prime, so that no part of a buffer looks like another."""
SAMPLED: Final = 4096
_ROUNDED: Final = 8
"""Ranks whose sum in bf16 is within the usual tolerance; the error grows with the root of their number."""


def points(machine: Machine, gpu: Gpu) -> Iterator[Point]:
    """Every operation over every group at every size, coarse to fine."""
    del gpu
    if machine.num_gpus < 2:
        return
    cluster = cluster_of(machine, {})
    done: set[int] = set()
    for step, budget in STEPS:
        for nbytes in (size for size in _sizes(step) if size not in done):
            done.add(nbytes)
            for operation in OPERATIONS:
                for group in pairs(machine) if operation == SEND else groups(machine):
                    level = _level(machine, group, nbytes, step, budget)
                    if level is not None:
                        yield _point(machine, cluster, operation, group, nbytes, level)


def _sizes(step: int) -> Iterator[int]:
    size = SMALLEST
    while size <= LARGEST:
        yield size
        size *= step


def _level(machine: Machine, group: Group, nbytes: int, step: int, budget: Budget) -> Budget | None:
    """The least thorough run in which the group is measured at that size; None where it never is."""
    if machine.is_cpu and nbytes > LARGEST_ON_PROCESSOR[budget]:
        if nbytes > LARGEST_ON_PROCESSOR["default"]:
            return None
        budget = "default"
    if not group.is_whole and step < STEPS[0][0]:
        budget = "default"
    return group.budget if budget == "quick" else "full" if group.budget == "full" else "default"


def _point(machine: Machine, cluster: Cluster, operation: str, group: Group, nbytes: int, budget: Budget) -> Point:
    num_ranks = len(group.members)
    element = number_nbytes(machine)
    part = max(1, nbytes // element // num_ranks)
    whole = element * part * num_ranks
    link = cluster.node.nic if group.num_nodes > 1 else cluster.node.scale_up
    assert link is not None
    return Point(
        operation=law_of(machine, operation, group.num_nodes),
        part=link.name,
        gpu=machine.part,
        fabric=machine.fabric,
        inputs={**_inputs(machine, cluster, operation, group), "nbytes": float(whole)},
        members=group.members,
        prepare=partial(PREPARE[operation], part),
        seconds=_expected(link, whole),
        budget=budget,
    )


def law_of(machine: Machine, operation: str, num_nodes: int) -> str:
    """The law that an operation is measured for."""
    if machine.is_cpu:
        return "gloo"
    where = "network" if num_nodes > 1 else "node"
    if operation in FITTED_ALIKE:
        return f"nccl {where}"
    return "nccl send" if operation == SEND else f"nccl all-to-all {where}"


def _inputs(machine: Machine, cluster: Cluster, operation: str, group: Group) -> dict[str, float]:
    """All but the size, in the columns that measurements of others are imported with."""
    shape = {"num_nodes": float(group.num_nodes), "gpus_per_node": float(machine.gpus_per_node)}
    if machine.is_cpu:
        return {"operation": float(OPERATIONS.index(operation)), "num_gpus": float(len(group.members)), **shape}
    if operation == SEND:
        return {**shape, "source": float(group.members[0]), "target": float(group.members[1])}
    which = {"operation": float(FITTED_ALIKE.index(operation))} if operation in FITTED_ALIKE else {}
    common = {"num_gpus": float(len(group.members)), "is_integer": 0.0, "nccl_version": version_code(cluster)}
    return {**which, **common, **shape}


def _expected(link: Link, nbytes: float) -> float:
    """About how long it takes: for plans only."""
    return link.fit["launch_latency"] + link.latency + 2 * nbytes / link.achievable_bandwidth


class Member(NamedTuple):
    """A rank's place in its group, what each place's numbers are, and the device."""

    place: int
    num_ranks: int
    blocks: Sequence[Tensor]
    device: torch.device

    def numbers(self, place: int, length: int) -> Tensor:
        """So many of the numbers of a place."""
        return self.blocks[place].repeat(-(-length // PERIOD))[:length]

    def at(self, place: int, index: Tensor) -> Tensor:
        """Those of a place at these indices, in double precision."""
        return self.blocks[place][index % PERIOD].double()

    def total(self, index: Tensor) -> Tensor:
        """The sum over all places."""
        return torch.stack([self.at(place, index) for place in range(self.num_ranks)]).sum(dim=0)


def member_of(ranks: Ranks) -> Member:
    """The place of this rank in the group of the point at hand."""
    num_ranks = dist.get_world_size(ranks.group)
    blocks = [random(PERIOD, device=ranks.device, seed=place) for place in range(num_ranks)]
    return Member(dist.get_rank(ranks.group), num_ranks, blocks, ranks.device)


def _run(
    member: Member, go: Callable[[], object], refill: Callable[[], object], out: Tensor,
    expected: Callable[[Tensor], Tensor], times: int = 1,
) -> Run:  # fmt: skip
    """A run whose result is looked at in places, after `refill` made all buffers new."""

    def check() -> str:
        refill()
        go()
        index = torch.linspace(0, out.numel() - 1, min(SAMPLED, out.numel()), dtype=torch.float64).long()
        index = index.to(member.device)
        tolerance = TOLERANCE * max(1.0, math.sqrt(member.num_ranks / _ROUNDED))
        return difference(out[index][None], expected(index)[None], [0], tolerance)

    return Run(go, check, times=times)


def _all_reduce(part: int, ranks: Ranks) -> Run:
    member = member_of(ranks)
    length = part * member.num_ranks
    buffer = member.numbers(member.place, length)
    go = partial(dist.all_reduce, buffer, group=ranks.group)
    return _run(member, go, lambda: buffer.copy_(member.numbers(member.place, length)), buffer, member.total)


def _all_gather(part: int, ranks: Ranks) -> Run:
    member = member_of(ranks)
    own = member.numbers(member.place, part)
    out = torch.empty(part * member.num_ranks, dtype=own.dtype, device=member.device)
    go = partial(ALL_GATHER, out, own, group=ranks.group)

    def expected(index: Tensor) -> Tensor:
        values = torch.stack([member.at(place, index % part) for place in range(member.num_ranks)])
        return values.gather(0, (index // part)[None])[0]

    return _run(member, go, out.zero_, out, expected)


def _reduce_scatter(part: int, ranks: Ranks) -> Run:
    member = member_of(ranks)
    whole = member.numbers(member.place, part * member.num_ranks)
    out = torch.empty(part, dtype=whole.dtype, device=member.device)
    go = partial(REDUCE_SCATTER, out, whole, group=ranks.group)
    return _run(member, go, out.zero_, out, lambda index: member.total(index + member.place * part))


def _broadcast(part: int, ranks: Ranks) -> Run:
    """From the first of the group, which is done before the others are; on GPUs they follow each other back to back, so
    that it waits for them before long, and all take what the slowest link does [nccl-tests: mean over ranks]."""
    member = member_of(ranks)
    buffer = member.numbers(member.place, part * member.num_ranks)
    go = partial(dist.broadcast, buffer, group=ranks.group, group_src=0)

    def refill() -> None:
        buffer.copy_(member.numbers(member.place, len(buffer)))

    return _run(member, go, refill, buffer, lambda index: member.at(0, index))


def _all_to_all(part: int, ranks: Ranks) -> Run:
    member = member_of(ranks)
    own = member.numbers(member.place, part * member.num_ranks)
    out = torch.empty_like(own)
    go = partial(dist.all_to_all_single, out, own, group=ranks.group)

    def expected(index: Tensor) -> Tensor:
        mine = index % part + member.place * part
        values = torch.stack([member.at(place, mine) for place in range(member.num_ranks)])
        return values.gather(0, (index // part)[None])[0]

    return _run(member, go, out.zero_, out, expected)


def _send(part: int, ranks: Ranks) -> Run:
    """There and back, so that neither end can run ahead: two messages."""
    member = member_of(ranks)
    own = member.numbers(0, part * member.num_ranks)
    came = torch.empty_like(own)

    def go() -> None:
        if member.place == 0:
            dist.send(own, group=ranks.group, group_dst=1)
            dist.recv(came, group=ranks.group, group_src=1)
        else:
            dist.recv(came, group=ranks.group, group_src=0)
            dist.send(came, group=ranks.group, group_dst=0)

    return _run(member, go, came.zero_, came, lambda index: member.at(0, index), times=2)


PREPARE: Final[Mapping[str, Callable[[int, Ranks], Run]]] = {
    "all_reduce": _all_reduce,
    "all_gather": _all_gather,
    "reduce_scatter": _reduce_scatter,
    "broadcast": _broadcast,
    "all_to_all": _all_to_all,
    SEND: _send,
}
