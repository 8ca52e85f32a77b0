"""What real ranks noted becomes a timeline: looks by the simulator's names, one thing at a time on a stream."""

from calibrate.verification.spans import RealSpan, timeline_of
from sim.timeline import KINDS, NO_ACTION, Timeline
from tests.verified import LAYER, PIPELINE, verified

PLAYED = verified(LAYER).played
PIPELINED = verified(PIPELINE).played


def rows(timeline: Timeline) -> list[tuple[int, str, str, str, float, float]]:
    """Rank, stream, name, category, start, end."""
    columns = zip(timeline.track, timeline.label, timeline.start.tolist(), timeline.end.tolist(), strict=True)
    return [
        (timeline.tracks[track].rank, timeline.tracks[track].stream, timeline.labels[label].name,
         timeline.labels[label].category, start, end)
        for track, label, start, end in columns
    ]  # fmt: skip


def actions(timeline: Timeline) -> list[str]:
    columns = zip(timeline.stage, timeline.kind, timeline.microbatch, strict=True)
    return ["" if kind == NO_ACTION else f"{stage}{KINDS[kind]}{microbatch}" for stage, kind, microbatch in columns]


def test_a_kernel_looks_as_the_simulator_calls_it() -> None:
    spans = [
        RealSpan(0, "compute", "mlp up forward", 0.0, 1.0),
        RealSpan(0, "compute", "mlp down output sum", 1.0, 2.0),
        RealSpan(0, "compute", "mlp down input gradient", 2.0, 3.0),
    ]
    made = timeline_of(spans, PLAYED)
    assert [row[3] for row in rows(made)] == ["compute", "exposed_tp", "compute"]
    assert actions(made) == ["0F0", "0F0", "0B0"]


def test_an_action_is_told_as_a_schedule_writes_it() -> None:
    made = timeline_of([RealSpan(1, "compute", "1F3", 0.0, 1.0), RealSpan(1, "compute", "1B3", 1.0, 3.0)], PIPELINED)
    assert actions(made) == ["1F3", "1B3"]
    assert {row[2] for row in rows(made)} == {"stage 1"}


def test_waiting_for_an_input_is_a_bubble_on_the_compute_stream() -> None:
    spans = [RealSpan(1, "pp", "receive 1F0", 0.0, 1.0), RealSpan(1, "compute", "1F0", 1.0, 2.0)]
    assert rows(timeline_of(spans, PIPELINED)) == [
        (1, "compute", "bubble", "bubble", 0.0, 1.0),
        (1, "compute", "stage 1", "compute", 1.0, 2.0),
    ]


def test_what_ran_beside_a_kernel_keeps_a_stream_of_its_own() -> None:
    spans = [RealSpan(0, "compute", "0B0", 0.0, 2.0), RealSpan(0, "dp", "gradient sum", 1.0, 3.0)]
    assert [row[:4] for row in rows(timeline_of(spans, PIPELINED))] == [
        (0, "compute", "stage 0", "compute"),
        (0, "dp", "gradient sum", "dp"),
    ]


def test_what_was_started_on_a_busy_stream_is_drawn_behind_what_it_found() -> None:
    """Both started at once; the stream moved one after the other."""
    spans = [
        RealSpan(0, "compute", "0B0", 0.0, 4.0),
        RealSpan(0, "dp", "gradient sum", 0.0, 1.0),
        RealSpan(0, "dp", "gradient sum", 0.0, 3.0),
    ]
    assert [row[4:] for row in rows(timeline_of(spans, PIPELINED)) if row[1] == "dp"] == [(0.0, 1.0), (1.0, 3.0)]


def test_ranks_and_streams_come_in_the_order_of_the_simulation() -> None:
    spans = [RealSpan(rank, "compute", "0F0", 0.0, 1.0) for rank in (1, 0)]
    assert [track.rank for track in timeline_of(spans, PIPELINED).tracks] == [0, 1]


def test_nothing_noted_is_an_empty_timeline() -> None:
    made = timeline_of([], PLAYED)
    assert (len(made.start), made.duration) == (0, 0.0)
