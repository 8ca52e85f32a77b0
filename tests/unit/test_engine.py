"""The engine on small programs: who waits for whom, what a stall is called, what is said of a program that stops."""

from dataclasses import replace

import pytest

from sim.engine import Engine
from sim.instructions import NO_LOAD, Activity, Block, Collective, Compute, Load, Record, Transfer, Wait
from sim.program import Program, Stream
from sim.schedules import Action, Deadlock
from sim.timeline import Timeline, breakdown_by_rank
from tests.programs import HALF, beside, collective, halved, pipeline, program, spans, toy, with_node
from topologies.fabric import Wire
from topologies.hardware import Cluster, Fit


def play(what: Program, *, steady_state: bool = True) -> Timeline:
    return Engine(toy(), steady_state=steady_state).play(what)


def named(timeline: Timeline, rank: int, stream: str = "compute") -> list[tuple[str, float, float]]:
    return [(part[0], part[5], part[6]) for part in spans(timeline, rank, stream)]


def test_kernels_of_one_stream_run_one_after_the_other() -> None:
    block: Block = (Compute(name="a", duration=1.0), Compute(name="b", duration=0.5))
    timeline = play(program([Stream(rank=0, name="compute", steps=[(None, block), (None, block)])]))
    assert named(timeline, 0) == [("a", 0.0, 1.0), ("b", 1.0, 1.5), ("a", 1.5, 2.5), ("b", 2.5, 3.0)]
    assert timeline.duration == 3.0


def test_streams_of_one_rank_run_beside_each_other_and_meet_at_flags() -> None:
    """The side starts at 1, when "ready" is set, and takes 3; compute (1 + 1) waits for it from 2 to 4: a bubble."""
    main: Block = (Compute(name="a", duration=1.0), Record("ready"), Compute(name="b", duration=1.0), Wait("done"))
    side: Block = (Wait("ready"), Compute(name="c", duration=3.0), Record("done"))
    streams = [Stream(rank=0, name=name, steps=[(None, block)]) for name, block in (("compute", main), ("side", side))]
    timeline = play(program(streams))
    assert named(timeline, 0) == [("a", 0.0, 1.0), ("b", 1.0, 2.0), ("bubble", 2.0, 4.0)]
    assert named(timeline, 0, "side") == [("c", 1.0, 4.0)]


def test_a_flag_that_was_set_before_holds_nobody_up() -> None:
    block: Block = (Record("ready"), Compute(name="a", duration=1.0), Wait("ready"))
    assert named(play(program([Stream(rank=0, name="compute", steps=[(None, block)])])), 0) == [("a", 0.0, 1.0)]


def test_a_flag_is_told_apart_by_its_microbatch() -> None:
    """The side sets microbatch 1's flag at 1 and microbatch 0's at 2; compute waits for 0, then goes through 1."""
    waits: Block = (Wait("ready"), Compute(name="a", duration=1.0))
    sets: Block = (Compute(name="c", duration=1.0), Record("ready"))
    timeline = play(
        program(
            [
                Stream(rank=0, name="compute", steps=[(Action("F", 0, 0), waits), (Action("F", 0, 1), waits)]),
                Stream(rank=0, name="side", steps=[(Action("F", 0, 1), sets), (Action("F", 0, 0), sets)]),
            ]
        )
    )
    assert named(timeline, 0) == [("bubble", 0.0, 2.0), ("a", 2.0, 3.0), ("a", 3.0, 4.0)]


def test_a_receiver_waits_for_work_and_then_for_the_bytes() -> None:
    """Rank 0 computes until 1 and sends 2 bytes at 1 B/s: rank 1's first second is bubble, the next two exposed."""
    send = Transfer(name="send F", axis="pp", peer=1, flag="input", nbytes=2.0)
    activity = Activity(latency=0.0, loads=((Wire("nvlink", "out", 0), 2.0), (Wire("nvlink", "in", 1), 2.0)))
    timeline = play(
        program(
            [
                Stream(rank=0, name="compute", steps=[(None, (Compute(name="a", duration=1.0), Record("output")))]),
                Stream(rank=0, name="send F", steps=[(None, (Wait("output"), send))]),
                Stream(rank=1, name="compute", steps=[(None, (Wait("input"), Compute(name="b", duration=1.0)))]),
            ],
            {(send, 0): activity},
        )
    )
    assert named(timeline, 1) == [("bubble", 0.0, 1.0), ("wait for pp", 1.0, 3.0), ("b", 3.0, 4.0)]
    assert named(timeline, 0, "send F") == [("send F", 1.0, 3.0)]
    assert breakdown_by_rank(timeline)[1]["exposed_pp"] == 2.0
    assert breakdown_by_rank(timeline)[0]["bubble"] == 3.0, "a rank that is done waits for the step to end"


def test_a_collective_starts_when_the_last_member_arrives_and_all_leave_together() -> None:
    """Ranks arrive at 1, 3 and 2; latency 0.5 and 2 bytes at 1 B/s: from 3 to 5.5; who came before has a bubble."""
    activity = Activity(latency=0.5, loads=((Wire("nvlink", "out", 0), 2.0), (Wire("nvlink", "in", 1), 1.0)))
    timeline = play(collective("sum", activity, {0: 1.0, 1: 3.0, 2: 2.0}, after=1.0))
    assert named(timeline, 0) == [("before", 0.0, 1.0), ("bubble", 1.0, 3.0), ("sum", 3.0, 5.5), ("after", 5.5, 6.5)]
    assert named(timeline, 1) == [("before", 0.0, 3.0), ("sum", 3.0, 5.5), ("after", 5.5, 6.5)]
    assert (
        breakdown_by_rank(timeline)[2] | {"compute": 3.0, "bubble": 1.0, "exposed_tp": 2.5}
        == (breakdown_by_rank(timeline)[2])
    )


def test_a_collective_beside_compute_is_exposed_only_where_compute_waits_for_it() -> None:
    """The sum runs from 1 to 5 on its own stream, beside b until 4; one second is left to wait for."""
    meet = Collective(name="sum", axis="tp", group="tp", operation="all_reduce", nbytes=4.0)
    main: Block = (Compute(name="a", duration=1.0), Record("ready"), Compute(name="b", duration=3.0), Wait("done"))
    side: Block = (Wait("ready"), meet, Record("done"))
    timeline = play(
        program(
            [Stream(rank=0, name="compute", steps=[(None, main)]), Stream(rank=0, name="tp", steps=[(None, side)])],
            {(meet, 0): Activity(latency=0.0, loads=((Wire("nvlink", "out", 0), 4.0),))},
            {("tp", 0): (0,)},
        )
    )
    assert named(timeline, 0)[2:] == [("wait for tp", 4.0, 5.0)]
    assert breakdown_by_rank(timeline)[0]["exposed_tp"] == 1.0
    assert breakdown_by_rank(timeline)[0]["compute"] == 4.0


@pytest.mark.parametrize("steady_state", [True, False])
def test_a_program_that_cannot_go_on_says_who_waits_for_what_and_how_far_it_came(steady_state: bool) -> None:
    """Rank 0 wants the gradient of microbatch 1 before it has sent the forward of microbatch 1."""
    whole = pipeline("1f1b", 2, 1, 3, forward=1.0, backward=1.0)
    first, *others = whole.streams
    order = sorted(first.steps, key=lambda step: ["0F0", "0B0", "0B1", "0F1", "0F2", "0B2"].index(str(step[0])))
    stuck = program([Stream(rank=0, name="compute", steps=order), *others], whole.activities)
    with pytest.raises(Deadlock) as caught:
        play(stuck, steady_state=steady_state)
    assert caught.value.waits == (
        "rank 0, stream compute, at 0B1: waits for flag 'input B0' of rank 0 for microbatch 1",
        "rank 0, stream send F, at 0F1: waits for flag 'output F0' of rank 0 for microbatch 1",
        "rank 1, stream compute, at 1F1: waits for flag 'input F1' of rank 1 for microbatch 1",
        "rank 1, stream send B, at 1B1: waits for flag 'output B1' of rank 1 for microbatch 1",
    )
    assert caught.value.grid.splitlines() == ["rank 0 | F0 B0", "rank 1 | F0 B0"]
    assert str(caught.value).startswith("deadlock: rank 0, stream compute, at 0B1: waits for flag 'input B0'")


def test_a_collective_that_a_member_never_comes_to_is_a_deadlock() -> None:
    meet = Collective(name="sum", axis="dp", group="dp", operation="all_reduce", nbytes=1.0)
    activities: dict[tuple[Collective | Transfer, int], Activity] = {
        (meet, rank): Activity(latency=1.0, loads=()) for rank in (0, 1)
    }
    streams = [
        Stream(rank=0, name="compute", steps=[(None, (Compute(name="a", duration=1.0), meet))]),
        Stream(rank=1, name="compute", steps=[(None, (Compute(name="a", duration=1.0),))]),
    ]
    with pytest.raises(Deadlock, match="rank 0, stream compute, at the end of the step: waits at 'sum' for the others"):
        play(program(streams, activities, {("dp", rank): (0, 1) for rank in (0, 1)}))


def test_a_long_deadlock_names_eight_and_counts_the_rest() -> None:
    streams = [Stream(rank=rank, name="compute", steps=[(None, (Wait("never"),))]) for rank in range(11)]
    with pytest.raises(Deadlock) as caught:
        play(program(streams))
    assert len(caught.value.waits) == 9
    assert caught.value.waits[-1] == "and 3 more"


def holding(seconds: float, num_sms: int = 1) -> Activity:
    """So long in latency, on one of two SMs."""
    return Activity(latency=seconds, loads=(), num_sms=num_sms)


def test_a_kernel_beside_communication_runs_on_the_sms_that_are_left() -> None:
    """Half speed beside 2 s of communication does 1 s of 3 s of work; 2 s remain: it ends at 4."""
    timeline = Engine(halved()).play(beside({0: [3.0]}, holding(2.0)))
    assert named(timeline, 0) == [("kernel 0", 0.0, 4.0)]
    assert named(timeline, 0, "tp") == [("sum", 0.0, 2.0)]
    assert breakdown_by_rank(timeline)[0]["compute"] == 4.0


def test_communication_that_starts_while_a_kernel_runs_slows_what_remains_of_it() -> None:
    """1 s alone, 2 s at half speed, 0.5 s alone: 2.5 s of work end at 3.5; the next, of 1 s, is alone."""
    timeline = Engine(halved()).play(beside({0: [2.5, 1.0]}, holding(2.0), starts={0: 1.0}))
    assert named(timeline, 0) == [("kernel 0", 0.0, 3.5), ("kernel 1", 3.5, 4.5)]


def test_a_kernel_that_starts_beside_communication_is_slowed_from_its_start() -> None:
    """0.5 s at half speed take until 1, of the next second half is done at 2 and the rest at 2.5."""
    timeline = Engine(halved()).play(beside({0: [0.5, 1.0]}, holding(2.0)))
    assert named(timeline, 0) == [("kernel 0", 0.0, 1.0), ("kernel 1", 1.0, 2.5)]


def test_a_communication_kernel_holds_its_sms_while_it_waits_for_the_last_member() -> None:
    """Rank 0 is there at once, rank 1 after 2 s, then 1 s of bytes: rank 0 computes 3 s at half speed, rank 1 one."""
    timeline = Engine(halved()).play(beside({0: [4.0], 1: [4.0]}, holding(1.0), starts={1: 2.0}))
    assert named(timeline, 0) == [("kernel 0", 0.0, 5.5)]
    assert named(timeline, 1)[0] == ("kernel 0", 0.0, 4.5)


def test_the_hbm_is_shared_only_while_bytes_flow() -> None:
    """Rank 0 waits 2 s for the other, then 2 bytes flow in 2 s: 2.5 B/s of the HBM's 1 B/s beside a kernel that asks
    for all of it: 1/3.5 of its speed. 3 s of work: 2 alone, 2/3.5 beside, then the rest: 5 - 4/7 in all."""
    flowing = Activity(latency=0.0, loads=((Wire("nvlink", "out", 0), 2.0), (Wire("nvlink", "in", 1), 2.0)), num_sms=1)
    what = beside({0: [3.0], 1: [0.0]}, flowing, starts={1: 2.0}, load=Load(memory=1.0))
    cluster = with_saturating_sms(halved(), 0.5)
    (kernel,) = named(Engine(cluster).play(what), 0)
    assert kernel[2] == pytest.approx(3 + 2 * (1 - 1 / 3.5))


def with_saturating_sms(cluster: Cluster, share: float) -> Cluster:
    """What share of the SMs draws the HBM's whole bandwidth."""
    fit = Fit(values={"memory_per_wire_byte": 2.5, "saturating_sms": share}, sources={})
    return with_node(cluster, gpu=replace(cluster.gpu, fits={"sharing": fit}))


@pytest.mark.parametrize(("activity", "load"), [(holding(2.0, 0), HALF), (holding(2.0), NO_LOAD)])
def test_nothing_is_shared_without_sms_held_or_needed(activity: Activity, load: Load) -> None:
    timeline = Engine(halved()).play(beside({0: [1.5, 1.5]}, activity, load=load))
    assert named(timeline, 0) == [("kernel 0", 0.0, 1.5), ("kernel 1", 1.5, 3.0)]


def test_a_message_s_kernel_is_taken_to_hold_nothing() -> None:
    """An approximation: compute beside a message is too fast by the share of the SMs that it holds."""
    send = Transfer(name="send F", axis="pp", peer=1, flag="input", nbytes=2.0)
    loads = (Wire("nvlink", "out", 0), 2.0), (Wire("nvlink", "in", 1), 2.0)
    work = Compute(name="a", duration=2.0, load=HALF)
    streams = [
        Stream(rank=0, name="compute", steps=[(None, (work,))]),
        Stream(rank=0, name="send F", steps=[(None, (send,))]),
        Stream(rank=1, name="compute", steps=[(None, (work, Wait("input")))]),
    ]
    timeline = Engine(halved()).play(program(streams, {(send, 0): Activity(latency=0.0, loads=loads, num_sms=1)}))
    assert named(timeline, 0) == [("a", 0.0, 2.0)]
