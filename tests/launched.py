"""What ranks do in tests: functions that processes of their own can import."""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.distributed as dist

from calibrate.bench import collectives, session
from calibrate.bench.point import Point, Ranks, Run
from calibrate.bench.session import measure
from calibrate.bench.world import gathered
from calibrate.launching.launch import launch
from calibrate.machines.machine import Machine
from calibrate.measurement import LeftOut, Measurement

Told = Measurement | LeftOut
MACHINE = Machine(backend="gloo", part="h100-80gb-sxm", link="nvlink4", device="two processes", num_gpus=2)
"""Of processes, though by the names of parts that have a sheet."""
SMALLEST = 1024
"""Bytes of the smallest collectives."""


def greet(ranks: Ranks, word: str, tell: Callable[[str], None]) -> list[int]:
    """Rank 0 tells twice; the result is what all ranks are."""
    print("noise on stdout")
    if ranks.rank == 0:
        tell(word)
        tell(word.upper())
    return gathered(ranks.rank)


def repeat(ranks: Ranks, word: str, tell: Callable[[str], None]) -> list[str]:
    """As `greet`, though the result is what each rank was asked."""
    greet(ranks, word, tell)
    return gathered(word)


def fail(ranks: Ranks, how: str, tell: Callable[[str], None]) -> None:
    """Rank 1 ends in some way, while rank 0 waits for it."""
    if ranks.rank == 0:
        tell("begun")
    dist.barrier()
    if ranks.rank == 1:
        END[how]()
    dist.barrier()


def _raise(error: Exception) -> None:
    raise error


def _exit_silently() -> None:
    sys.stderr.write("first line\nthe last line\n")
    sys.stderr.flush()
    os._exit(3)


END: dict[str, Callable[[], None]] = {
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "error": lambda: _raise(ZeroDivisionError("a gremlin\nand its lair")),
    "exit": _exit_silently,
}


def linger(ranks: Ranks, _: None, tell: Callable[[int], None]) -> None:
    """Tell who is there, then wait for a minute, deep in a library."""
    everyone = gathered(os.getpid())
    if ranks.rank == 0:
        for process in everyone:
            tell(process)
        time.sleep(60)
    dist.barrier()


def walk(ranks: Ranks, names: tuple[str, ...], tell: Callable[[Told], None]) -> bool:
    """Measure points of these names."""
    return measure([POINTS[name] for name in names], ranks, tell, lambda: False)


def walk_twice(ranks: Ranks, names: tuple[str, ...], tell: Callable[[Told], None]) -> list[bool]:
    """Measure points of these names; then again, but for all that follow the first."""
    points = [POINTS[name] for name in names]
    return [measure(points, ranks, tell, lambda: False), measure(points, ranks, tell, lambda: True)]


def walk_impatiently(ranks: Ranks, names: tuple[str, ...], tell: Callable[[Told], None]) -> bool:
    """Measure points of these names, of which none may take long."""
    session.PATIENCE = 1.0  # type: ignore[misc]
    return walk(ranks, names, tell)


def communicate(ranks: Ranks, largest: int, tell: Callable[[Told], None]) -> bool:
    """Measure all collectives up to a size."""
    machine = replace(MACHINE, num_gpus=ranks.num_ranks)
    every = collectives.points(machine, None)  # type: ignore[arg-type]
    return measure([one for one in every if one.inputs["nbytes"] <= largest], ranks, tell, lambda: False)


def communicate_twice(ranks: Ranks, largest: int, tell: Callable[[Told], None]) -> list[bool]:
    """`communicate`, and again the smallest, where rank 1 has other numbers than rank 0 thinks."""
    is_whole = communicate(ranks, largest, tell)
    right = collectives.random
    if ranks.rank == 1:
        collectives.random = lambda *shape, device, seed: right(*shape, device=device, seed=seed + 5)  # type: ignore[misc,assignment]
    return [is_whole, communicate(ranks, SMALLEST, tell)]


def _product(_: Ranks) -> Run:
    matrix = torch.ones(16, 16)
    return Run(lambda: matrix @ matrix, str)


def _sum(ranks: Ranks) -> Run:
    tensor = torch.zeros(64)
    return Run(lambda: dist.all_reduce(tensor, group=ranks.group), str)


def _too_large(ranks: Ranks) -> Run:
    """On rank 1 alone."""
    if ranks.rank == 1:
        torch.empty(1 << 46)
    return _sum(ranks)


def _tried(ranks: Ranks) -> Run:
    """What it is timed by is known once the members have met."""

    def trial() -> Run:
        dist.barrier(ranks.group)
        return _sum(ranks)._replace(found={"alone": 2.0})

    return Run(lambda: _raise(ZeroDivisionError("it is the trial's run that is timed")), str, trial=trial)


def _unknown(ranks: Ranks) -> Run:
    if ranks.rank == 1:
        raise NotImplementedError("no such dtype\nhere")
    return _sum(ranks)


def _wrong(ranks: Ranks) -> Run:
    return _product(ranks)._replace(check=lambda: "off by 3 %" if ranks.rank == 1 else "")


def _late(ranks: Ranks) -> Run:
    """Rank 1 never comes."""
    return _sum(ranks)._replace(go=lambda: time.sleep(60)) if ranks.rank == 1 else _sum(ranks)


def _killed(ranks: Ranks) -> Run:
    """In the midst of a collective."""
    if ranks.rank == 0:
        return _sum(ranks)
    return Run(lambda: os.kill(os.getpid(), signal.SIGKILL), str)


def _point(name: str, prepare: Callable[[Ranks], Run], members: tuple[int, ...] = ()) -> Point:
    return Point(operation=name, part="part", inputs={"n": 1.0}, members=members, prepare=prepare, seconds=0.0)


POINTS = {
    "product": _point("product", _product),
    "sum": _point("sum", _sum, (0, 1)),
    "too large": _point("too large", _too_large, (0, 1)),
    "unknown": _point("unknown", _unknown, (0, 1)),
    "tried": _point("tried", _tried, (0, 1)),
    "wrong": _point("wrong", _wrong),
    "late": _point("late", _late, (0, 1)),
    "killed": _point("killed", _killed, (0, 1)),
}


if __name__ == "__main__":
    from tests import launched as here  # so that work is found by its name elsewhere too

    result = launch(
        getattr(here, sys.argv[1]), sys.argv[2], backend="gloo", take=lambda told: print(told, flush=True),
        prepare=lambda word: f"{word} of rank {os.environ.get('RANK')}" if sys.argv[1] == "repeat" else word,
    )  # fmt: skip
    print("result", result, flush=True)
