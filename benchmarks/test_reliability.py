"""How fast months of a large run are lived, beside bare SimPy: the timeouts of each interruption, and nothing else.

Processor time, the best of several rounds.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from time import process_time

import numpy as np
from simpy import Environment, Event

from benchmarks.conftest import Show
from sim.reliability import Checkpointing, Fleet, Recovery, Run, load, simulate_run, with_interval
from topologies.quantity import DAY, GB, TB

MONTH = Run(
    fleet=Fleet(num_gpus=16_384),
    step_time=6.2,
    tokens_per_step=1,
    tokens=int(30 * DAY / 6.2),
    checkpointing=Checkpointing(nbytes=5.68e12, interval=240, storage_bandwidth=2 * TB, node_bandwidth=25 * GB),
    failures=load("llama3-405b"),
    recovery=Recovery(spares=64),
)
SEEDS = 32
PER_INTERRUPTION = 4
"""Train until it comes, see it, start again; beside them the node's repair."""


def seconds(play: Callable[[], object], rounds: int = 5) -> float:
    """Processor seconds of the best round."""

    def once() -> float:
        start = process_time()
        play()
        return process_time() - start

    return min(once() for _ in range(rounds))


def bare(interruptions: int) -> None:
    """As many timeouts of one SimPy process, each drawn."""
    env, random = Environment(), np.random.default_rng(0)

    def live() -> Iterator[Event]:
        for each in random.exponential(1.0, PER_INTERRUPTION * interruptions).tolist():
            yield env.timeout(each)

    env.process(live())
    env.run()


def test_a_month_of_16384_gpus_is_lived_in_5_s_with_many_seeds(show: Show) -> None:
    took = seconds(lambda: simulate_run(MONTH, SEEDS))
    interruptions = round(SEEDS * sum(simulate_run(MONTH, SEEDS).interruptions.values()))
    ratio = took / seconds(lambda: bare(interruptions))
    show(
        f"{'a month of 16,384 GPUs, ' + str(SEEDS) + ' seeds':<52} {took:>7.2f} s, bar     5 s; "
        f"{interruptions:>9,} interruptions, {ratio:.1f} x a bare timeout for each of their {PER_INTERRUPTION} events"
    )
    assert took < 5.0
    assert ratio < 12.0


def test_checkpoints_cost_nothing_to_simulate(show: Show) -> None:
    """Six times as many of them, and the same failures: the time goes with interruptions."""
    unfailing = replace(MONTH, recovery=replace(MONTH.recovery, spares=1000))
    often, seldom = (
        seconds(lambda interval=interval: simulate_run(with_interval(unfailing, interval), SEEDS))  # type: ignore[misc]
        for interval in (60.0, 360.0)
    )
    show(f"{'a checkpoint a minute in place of one in six':<52} {often / seldom:>7.2f} x the time, bar 1.50 x")
    assert often < 1.5 * seldom
