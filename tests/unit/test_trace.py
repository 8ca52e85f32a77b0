"""The trace is one that Perfetto opens: every span in its place, none over another, in microseconds."""

import gzip
import itertools
import json
from collections import defaultdict

import numpy as np
import pytest

from sim import scenario, trace
from sim.timeline import BUBBLE_LABEL, NO_ACTION, Label, Timeline, Track
from sim.training import run_scenario

F, B = 0, 1


def two_ranks() -> Timeline:
    """Rank 0 computes from 1 to 3 ms and sends from 2 to 4 ms; rank 8, which stands for 4, stalls, then computes."""
    labels = (
        BUBBLE_LABEL,
        Label(name="layers", category="compute"),
        Label(name="send F", category="pp"),
        Label(name="wait for send F", category="exposed_pp"),
        Label(name='optim "izer"', category="optimizer"),
    )
    rows = [
        (0, 1, F, 0, 5, 0.001, 0.003),
        (1, 2, F, 0, 5, 0.002, 0.004),
        (2, 0, F, 1, 5, 0.0, 0.002),
        (2, 3, F, 1, 5, 0.002, 0.004),
        (2, 1, B, 1, 5, 0.004, 0.0041),
        (2, 4, NO_ACTION, NO_ACTION, NO_ACTION, 0.0041, 0.005),
    ]
    track, label, kind, stage, microbatch, start, end = map(np.array, zip(*rows, strict=True))
    return Timeline(
        tracks=(
            Track(rank=0, stream="compute", ranks_folded=1),
            Track(rank=0, stream="send F", ranks_folded=1),
            Track(rank=8, stream="compute", ranks_folded=4),
        ),
        labels=labels,
        track=track.astype(np.int32),
        label=label.astype(np.int32),
        kind=kind.astype(np.int8),
        stage=stage.astype(np.int32),
        microbatch=microbatch.astype(np.int32),
        start=start,
        end=end,
        duration=0.005,
    )


@pytest.fixture(scope="module", params=["1f1b", "interleaved", "kernel"])
def played(request: pytest.FixtureRequest) -> Timeline:
    """Tensor, pipeline and data parallel; kernel detail has collectives on a stream of their own."""
    vpp = 2 if request.param == "interleaved" else 1
    flags = {"model": "gpt-22b", "cluster": "dgx-a100", "gpus": 64, "tp": 4, "pp": 4, "vpp": vpp, "global_batch": 64}
    detail = "kernel" if request.param == "kernel" else "layer"
    return run_scenario(scenario.from_flags(flags), detail=detail).timeline


def events(timeline: Timeline) -> list[dict[str, object]]:
    whole = json.loads(gzip.decompress(trace.perfetto(timeline)))
    assert whole.keys() == {"displayTimeUnit", "traceEvents"}
    return whole["traceEvents"]


def slices(timeline: Timeline) -> list[dict[str, object]]:
    return [event for event in events(timeline) if event["ph"] == "X"]


def test_a_span_is_a_slice_in_microseconds_on_its_stream_and_a_stall_is_a_gap() -> None:
    f, send, b, optimizer = slices(two_ranks())
    assert (f.pop("ts"), f.pop("dur")) == (pytest.approx(1000), pytest.approx(2000))
    place = {"ph": "X", "pid": 0, "tid": 0, "name": "0F5 layers", "cat": "compute"}
    assert f == {**place, "args": {"stage": 0, "microbatch": 5}}
    assert (send["tid"], send["name"], send["ts"]) == (1, "0F5 send F", pytest.approx(2000))
    assert (b["pid"], b["tid"], b["name"]) == (8, 2, "1B5 layers")
    assert optimizer["name"] == 'optim "izer"'
    assert "args" not in optimizer


def test_ranks_and_streams_have_names_in_their_order() -> None:
    named = [event for event in events(two_ranks()) if event["ph"] == "M"]
    names = {(e["name"], e["pid"], e["tid"]): e["args"]["name"] for e in named if "name" in e["args"]}
    assert names == {
        ("process_name", 0, 0): "rank 0",
        ("thread_name", 0, 0): "compute",
        ("process_name", 0, 1): "rank 0",
        ("thread_name", 0, 1): "send F",
        ("process_name", 8, 2): "rank 8 (stands for 4 ranks)",
        ("thread_name", 8, 2): "compute",
    }
    order = [e["args"]["sort_index"] for e in named if e["name"] == "thread_sort_index"]
    assert order == [0, 1, 2]


def test_every_slice_of_a_step_lies_on_a_named_stream_within_the_step(played: Timeline) -> None:
    named = {(e["pid"], e["tid"]) for e in events(played) if e["name"] == "thread_name"}
    assert named == {(track.rank, index) for index, track in enumerate(played.tracks)}
    for event in slices(played):
        assert (event["pid"], event["tid"]) in named
        assert event["dur"] >= 0
        assert 0 <= event["ts"] <= event["ts"] + event["dur"] <= played.duration * 1e6 * (1 + 1e-12)


def test_no_stream_overlaps_itself(played: Timeline) -> None:
    """To 1e-12 of the step: the trace's times are rounded when they become microseconds."""
    by_stream = defaultdict(list)
    for event in slices(played):
        by_stream[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    rounding = played.duration * 1e6 * 1e-12
    for spans in by_stream.values():
        spans.sort()
        assert all(after[0] >= before[1] - rounding for before, after in itertools.pairwise(spans))


def test_no_time_is_lost(played: Timeline) -> None:
    """Slices and stalls together are as long as the spans of the timeline."""
    stalls = np.array([label.is_stall for label in played.labels])[played.label]
    seconds = (played.end - played.start)[~stalls].sum()
    assert sum(event["dur"] for event in slices(played)) == pytest.approx(seconds * 1e6, rel=1e-12)
    assert len(slices(played)) == (~stalls).sum()


def test_every_forward_and_backward_is_in_the_trace(played: Timeline) -> None:
    found = {event["name"].split()[0] for event in slices(played) if event["cat"] == "compute"}
    num_stages = int(played.stage.max()) + 1
    num_microbatches = int(played.microbatch.max()) + 1
    expected = {f"{s}{kind}{m}" for s in range(num_stages) for kind in "FB" for m in range(num_microbatches)}
    assert found >= expected


def test_cut_into_chunks_it_is_the_same_trace(played: Timeline, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = events(played)
    for chunk in (1, 7, len(played.start)):
        monkeypatch.setattr(trace, "CHUNK", chunk)
        assert events(played) == whole


def test_a_chunk_of_stalls_alone_leaves_no_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "CHUNK", 2)
    assert len(slices(two_ranks())) == 4


def test_the_same_timeline_gives_the_same_bytes(played: Timeline) -> None:
    assert trace.perfetto(played) == trace.perfetto(played)
