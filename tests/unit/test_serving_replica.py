"""The loop of a replica: what the host hides, who waits for whom, and that no block is lost on the way."""

from dataclasses import replace

import numpy as np
import pytest

from sim.requests import Requests
from sim.serving.block_pool import BlockPool, new_pool
from sim.serving.columns import Columns
from sim.serving.core import Core, Rank
from sim.serving.record import CAUSES
from sim.serving.replica import Action, Replica
from sim.serving.scheduling import POLICIES, Decision
from sim.serving.sequence import Queues, Sequence
from sim.serving.service import serve
from sim.serving.settings import Settings
from tests.pass_costs import Linear
from tests.served import SMALL, ahead, alike, poisson, staged

TENTH = Linear(fixed=0.1, host_seconds=0.02)


def test_the_host_works_between_passes_or_beside_them() -> None:
    """A prompt and four tokens are five passes of 0.1 s: 0.02 s of host before each, or before the first alone."""
    one_by_one = serve(alike(1, 10, 5), SMALL, TENTH)
    beside = serve(alike(1, 10, 5), ahead(SMALL), TENTH)
    assert one_by_one.finished == pytest.approx(5 * 0.12)
    assert beside.finished == pytest.approx(0.02 + 5 * 0.1)
    host = CAUSES.index("host")
    assert (one_by_one.causes[0, host], beside.causes[0, host]) == pytest.approx((0.1, 0.02))


def test_a_host_slower_than_the_gpu_sets_the_pace() -> None:
    record = serve(alike(1, 10, 5), ahead(SMALL), Linear(fixed=0.01, host_seconds=0.05))
    assert record.gap_seconds == pytest.approx(0.05)


def test_whoever_comes_during_a_pass_waits_for_its_end_and_if_prepared_ahead_for_the_next_ones() -> None:
    """The first request's passes end at 0.1, 0.2, ...; the second comes at 0.25. Prepared ahead, the pass until 0.4 is
    scheduled already at 0.2, so that it is in that from 0.4 to 0.5, chosen at 0.3."""
    load = alike(2, 10, 20, arrival=0.25)
    alone, beside = (serve(load, config, Linear(fixed=0.1)) for config in (SMALL, ahead(SMALL)))
    assert (alone.scheduled[1], alone.first_token[1]) == pytest.approx((0.3, 0.4))
    assert (beside.scheduled[1], beside.first_token[1]) == pytest.approx((0.3, 0.5))


def test_a_rank_with_nothing_to_do_keeps_step_with_a_dummy() -> None:
    """Ranks of lock-step: one prompt of 100 tokens takes 1 s, and the other's of 10 tokens as long."""
    load = Requests(arrival=np.zeros(3), prompt=np.array([100, 10, 10]), output=np.array([1, 3, 1]))
    record = serve(load, replace(SMALL, max_num_batched_tokens=110), Linear(fixed=0.0, per_token=0.01), dp=2)
    assert record.replica.tolist() == [0, 1, 0]
    assert record.first_token == pytest.approx([1.1, 1.1, 1.1])
    assert record.causes[1, CAUSES.index("straggler")] == pytest.approx(1.0)
    assert record.stage_busy[0, 0] == pytest.approx(1.1 + 2 * 0.01)


def test_others_tokens_are_interference_and_ones_own_are_compute() -> None:
    """One decodes; a prompt of 100 tokens, 1 ms each, makes its third pass 0.1 s longer, and has
    the decode's 1 ms in its way."""
    load = Requests(arrival=np.array([0.0, 0.015]), prompt=np.array([1, 100]), output=np.array([5, 1]))
    record = serve(load, SMALL, Linear(fixed=0.01, per_token=0.001))
    assert record.causes[0, CAUSES.index("interference")] == pytest.approx(0.1)
    assert record.causes[1, CAUSES.index("interference")] == pytest.approx(0.001)
    assert record.causes[1, CAUSES.index("compute")] == pytest.approx(0.110)


@pytest.mark.parametrize("config", [SMALL, ahead(SMALL), staged(SMALL, 2)], ids=["one by one", "ahead", "staged"])
def test_nothing_is_decided_anew_when_somebody_ends(config: Settings) -> None:
    """Four prompts fit into a pass, so that the fifth and sixth are a batch of their own, on two stages; one of them
    ends first, one last. All decisions are about prompts."""
    load = Requests(arrival=np.zeros(6), prompt=np.full(6, 60), output=np.array([30, 40, 50, 60, 10, 70]))
    decided: list[Decision] = []
    rank, wishes, answered = Rank(Queues(), new_pool(config)), list[tuple[float, Action]](), list[int]()
    core = Core(0, config, Linear(num_stages=config.depth if not config.asynchronous else 1), [rank], Columns(load))

    def schedule(queues: Queues, pool: BlockPool, settings: Settings) -> Decision:
        decided.append(POLICIES[config.policy].schedule(queues, pool, settings))
        return decided[-1]

    core.rules = replace(core.rules, schedule=schedule)
    replica = Replica(core, lambda *wish: wishes.append(wish), lambda sequence, _: answered.append(sequence.row))
    for row, output in enumerate(load.output.tolist()):
        replica.take(Sequence(row=row, prompt=60, output=output, arrival=0.0, causes=[0.0] * len(CAUSES)), 0, 0.0)
    while wishes:
        time, action = wishes.pop()
        wishes.clear()
        action(time)
    assert answered == [4, 0, 1, 2, 3, 5]
    assert not [each for each in decided if each.decodes and not each.chunks]


@pytest.mark.parametrize("num_stages", [1, 2])
def test_blocks_are_conserved_at_every_pass(num_stages: int) -> None:
    """Those of all who run and those that are free are all there are; whoever waits has none."""
    load, config = poisson(80, 40.0, 4), replace(staged(SMALL, num_stages), num_blocks=61)
    rank, wishes, answered = Rank(Queues(), new_pool(config)), list[tuple[float, Action]](), list[Sequence]()
    core = Core(0, config, Linear(num_stages=num_stages), [rank], Columns(load))
    replica = Replica(core, lambda *wish: wishes.append(wish), lambda sequence, _: answered.append(sequence))
    coming = [
        Sequence(row=row, prompt=prompt, output=output, arrival=time, causes=[0.0] * len(CAUSES), since=time)
        for row, (time, prompt, output) in enumerate(
            zip(*map(np.ndarray.tolist, (load.arrival, load.prompt, load.output)), strict=True)
        )
    ]
    while coming or wishes:
        if coming and (not wishes or coming[0].arrival < wishes[-1][0]):
            sequence = coming.pop(0)
            replica.take(sequence, 0, sequence.arrival)
        else:
            time, action = wishes[-1]
            wishes.clear()
            action(time)
        held = sum(sequence.blocks for sequence in rank.queues.running)
        assert held + rank.pool.num_free == rank.pool.num_blocks
        assert all(not sequence.blocks for sequence in rank.queues.waiting)
    assert len(answered) == len(load)
    assert any(sequence.num_preemptions for sequence in answered)
    assert all(sequence.generated == sequence.output and not sequence.awaited for sequence in answered)
