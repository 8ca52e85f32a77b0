"""The report says the numbers it is given, at every width, and its page is whole, safe and limited."""

import json
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest

import topologies
from sim import __version__, models
from sim.memory import HOLDINGS, MemoryOverTime
from sim.models import Transformer
from sim.plan import Plan
from sim.reports import figures, html, slices, terminal
from sim.reports.palette import KINDS
from sim.timeline import Label, Timeline, Track
from topologies.hardware import Cluster
from topologies.quantity import GIB

LABELS = (
    Label(name="bubble", category="bubble"),
    Label(name="layers", category="compute", parts=(("compute", 0.9), ("exposed_tp", 0.1))),
    Label(name="adam", category="optimizer"),
    Label(name="send", category="pp"),
)
BUBBLE, LAYERS, ADAM, SEND = range(4)
F, B = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeReport:
    scenario: dict[str, object]
    model: Transformer
    cluster: Cluster
    plan: Plan
    command: str
    result: dict[str, object]
    memory: tuple[dict[str, float], ...]
    memory_capacity_gib: tuple[float, ...]
    rank_busy: tuple[dict[str, float], ...]
    critical_path: tuple[tuple[str, float], ...]
    timeline: Timeline
    notes: tuple[str, ...]
    memory_over_time: tuple[MemoryOverTime, ...]


def over_time(rank):
    """10 GiB of weights; 20 GiB of activations from second 1 to 9."""
    nbytes = np.zeros((3, len(HOLDINGS)))
    nbytes[:, HOLDINGS.index("weights")] = 10 * GIB
    nbytes[1, HOLDINGS.index("activations")] = 20 * GIB
    return MemoryOverTime(rank=rank, times=np.array([0.0, 1.0, 9.0]), nbytes=nbytes)


def timeline_of(spans, num_ranks=1, streams=("compute",)):
    """Spans are (track, label, action, microbatch, start, end); a track is a stream of a rank, streams fastest."""
    track, label, kind, microbatch, start, end = map(np.array, zip(*spans, strict=True))
    return Timeline(
        tracks=tuple(Track(rank=8 * r, stream=s, ranks_folded=8) for r in range(num_ranks) for s in streams),
        labels=LABELS,
        track=track.astype(np.int32),
        label=label.astype(np.int32),
        kind=kind.astype(np.int8),
        stage=np.where(kind < 0, -1, track).astype(np.int32),
        microbatch=microbatch.astype(np.int32),
        start=start.astype(float),
        end=end.astype(float),
        duration=float(end.max()),
    )


def steps(num_ranks=2, num_microbatches=4):
    """Every rank: all forwards of 1 s, all backwards of 2 s, an optimizer step of 1 s."""
    spans = []
    for rank in range(num_ranks):
        spans += [(rank, LAYERS, F, m, m, m + 1) for m in range(num_microbatches)]
        turn = num_microbatches
        spans += [(rank, LAYERS, B, m, turn + 2 * m, turn + 2 * m + 2) for m in range(num_microbatches)]
        spans.append((rank, ADAM, -1, -1, 3 * turn, 3 * turn + 1))
    return timeline_of(spans, num_ranks)


def plan_of(num_ranks):
    return Plan(
        tp=8, sp=True, pp=num_ranks, vpp=1, dp=1, zero=1, recompute="none", schedule="1f1b", micro_batch=1,
        global_batch=8,
    )  # fmt: skip


def report_of(timeline=None, num_ranks=2, **changes):
    shares = {"compute": 0.7, "exposed_tp": 0.1, "exposed_cp": 0.0, "exposed_pp": 0.05, "bubble": 0.1, "other": 0.05}
    made = FakeReport(
        scenario={"model": "gpt-1t", "cluster": "dgx-a100", "gpus": 16, "plan": {"tp": 8, "sp": True, "pp": num_ranks}},
        model=models.load("gpt-1t"),
        cluster=topologies.load("dgx-a100", 8 * num_ranks),
        plan=plan_of(num_ranks),
        command="shardsim train gpt-1t dgx-a100 --gpus 16 --tp 8",
        result={
            "step_time_s": 1.2345,
            "tokens_per_s": 123456.7,
            "tokens_per_s_per_gpu": 7716.04,
            "model_tflops_per_gpu": 163.2,
            "hardware_tflops_per_gpu": 171.9,
            "mfu": 0.523,
            "hfu": 0.551,
            "mfu_causal": 0.4,
            "bubble_fraction": 0.1,
            "breakdown": shares,
            "peak_memory_gib": [30.0] * num_ranks,
            "peak_reserved_gib": [33.0] * num_ranks,
            "fits": True,
            "interval": {"p10_s": 1.1, "p50_s": 1.2345, "p90_s": 1.3},
            "parameters": {"measured": 0.0, "interpolated": 0.0, "extrapolated": 0.25, "datasheet": 0.75},
        },
        memory=({"weights": 10 * GIB, "activations": 20 * GIB, "logits": 0.0},) * num_ranks,
        memory_capacity_gib=(74.5,) * num_ranks,
        rank_busy=(shares,) * num_ranks,
        critical_path=(("F on rank 0", 0.5), ("B on rank 8", 0.25)),
        timeline=timeline or steps(num_ranks),
        notes=("Efficiencies follow the data sheet [NVIDIA 2020].",),
        memory_over_time=tuple(map(over_time, range(num_ranks))),
    )
    return replace(made, **changes)


def gantt(text):
    return [line for line in text.splitlines() if line.startswith("rank ")]


def embedded(page):
    return json.loads(re.search(r'id="timeline-data">(.*?)</script>', page, re.DOTALL)[1])


def test_gantt_shows_what_fills_each_slice_of_time():
    """4 F of 1 s, 4 B of 2 s, 1 s of optimizer: 13 s in 13 cells of 1 s each."""
    assert "".join(KINDS[key].letter for key in slices.cells(steps(), 0, 13)) == "FFFFBBBBBBBBO"


def test_gantt_cell_without_a_span_is_bubble():
    """Nothing runs from 1 s to 3 s; whether or not the timeline holds a bubble span, the cells are empty."""
    silent = timeline_of([(0, LAYERS, F, 0, 0, 1), (0, LAYERS, B, 0, 3, 4)])
    told = timeline_of([(0, LAYERS, F, 0, 0, 1), (0, BUBBLE, -1, -1, 1, 3), (0, LAYERS, B, 0, 3, 4)])
    assert slices.cells(silent, 0, 4) == slices.cells(told, 0, 4) == ["F", "bubble", "bubble", "B"]


def test_gantt_cell_with_forwards_and_backwards_by_turns_names_both():
    """100 times F 1 s, B 2 s: B fills two thirds of a cell of 30 s, F one third, ten times each."""
    spans = [
        span
        for m in range(100)
        for span in ((0, LAYERS, F, m, 3 * m, 3 * m + 1), (0, LAYERS, B, m, 3 * m + 1, 3 * m + 3))
    ]
    assert slices.cells(timeline_of(spans), 0, 10) == [slices.BOTH] * 10
    assert slices.BOTH not in slices.cells(timeline_of(spans), 0, 300)


@pytest.mark.parametrize("width", [80, 140])
def test_terminal_report_fills_but_never_exceeds_its_width(width):
    lines = terminal.render(report_of(), width, color=False).splitlines()
    assert max(map(len, lines)) == width


def test_terminal_report_without_colour_says_the_same_letters():
    plain, coloured = (terminal.render(report_of(), 100, color=color) for color in (False, True))
    assert "\x1b" not in plain
    assert "\x1b[" in coloured
    stripped = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in stripped.splitlines()] == plain.splitlines()


@pytest.mark.parametrize("width", [-3, 0, 1, 7, 39, 41, 79, 1000])
@pytest.mark.parametrize("num_ranks", [1, 3, 17, 65, 512])
def test_terminal_report_takes_any_size(width, num_ranks):
    assert "step time" in terminal.render(report_of(num_ranks=num_ranks), width, color=False)


def test_terminal_report_shows_64_ranks_and_says_what_it_leaves_out_beyond():
    assert len(gantt(terminal.render(report_of(num_ranks=64), 80, color=False))) == 64
    text = terminal.render(report_of(num_ranks=100), 80, color=False)
    assert len(gantt(text)) == 64
    assert "rank 256 to rank 536 are not shown here" in text


def test_terminal_report_says_the_numbers():
    text = terminal.render(report_of(), 100, color=False)
    for said in (
        "1.234 s",
        "123,457",
        "52.3 %",
        "55.1 %",
        "30.0 GiB",
        "33.0 with reserve, of 74.5 GiB",
        "1.1 s to 1.3 s",
        "25 % extrapolated",
    ):
        assert said in text
    assert "gpt-1t on 16 GPUs of dgx-a100" in text


def test_markup_in_a_name_is_shown_as_it_is():
    whole = report_of()
    named = replace(
        whole, model=replace(whole.model, name="[red]a<b>[/]"), cluster=replace(whole.cluster, name="<i>mine")
    )
    assert "[red]a<b>[/] on 16 GPUs of <i>mine" in terminal.render(named, 80, color=False)
    page = html.render(named)
    assert "[red]a&lt;b&gt;[/] on 16 GPUs of &lt;i&gt;mine" in page
    assert "a<b>" not in page
    assert "<i>mine" not in page


def test_memory_over_capacity_is_said():
    """30 GiB on GPUs of 24 GiB; the bar is as long as what is reserved, 33 GiB."""
    small = report_of(memory_capacity_gib=(24.0, 24.0))
    small = replace(small, result=small.result | {"fits": False})
    text, page = terminal.render(small, 80, color=False), html.render(small)
    assert "30.0 of 24.0 GiB !" in text
    assert "does not fit" in text
    assert "the bar's length is 33.0 GiB" in text
    assert 'class="rank over"' in page


def test_memory_that_fits_only_without_the_reserve_is_over():
    """30 GiB allocated, 33 GiB reserved, on 32 GiB."""
    tight = report_of(memory_capacity_gib=(32.0, 32.0))
    assert "30.0 of 32.0 GiB !" in terminal.render(tight, 80, color=False)
    assert 'class="rank over"' in html.render(tight)


def test_each_pipeline_rank_is_shown_beside_its_own_capacity():
    """33 GiB reserved of 139.8 and of 39.5 GiB: both fit, and the second has least to spare."""
    mixed = report_of(memory_capacity_gib=(139.8, 39.5))
    text, page = terminal.render(mixed, 100, color=False), html.render(mixed)
    for said in ("30.0 of 139.8 GiB", "30.0 of  39.5 GiB", "33.0 with reserve, of 39.5 GiB", "length is 139.8 GiB"):
        assert said.replace("  ", " ") in text.replace("  ", " ")
    assert "!" not in text
    assert 'class="rank over"' not in page
    assert "the capacity, 39.5 GiB or 139.8 GiB." in page
    assert f"left:{100 * 39.5 / 139.8:.3f}%" in page


def test_a_long_critical_path_is_cut_and_the_rest_summed_up():
    """20 parts of 1 % of the step each: 16 are shown, 4 are 4 % together."""
    duration = steps().duration
    page = html.render(report_of(critical_path=tuple((f"part {n}", duration / 100) for n in range(20))))
    assert page.count("<td>part ") == 16
    assert "4 more, together 4.0 %." in page


def test_a_page_names_the_version_that_made_it():
    assert f"ShardSim {__version__}: one simulated training step" in html.render(report_of())


def test_bars_part_their_columns_exactly():
    assert terminal.apportion([1, 1, 1], 10) == [4, 3, 3]
    assert terminal.apportion([0.7, 0.2, 0.1], 80) == [56, 16, 8]
    assert terminal.apportion([0.0, 0.0], 80) == [0, 0]


def test_a_report_without_intervals_ranks_or_notes_is_still_a_report():
    bare = report_of(memory=(), memory_capacity_gib=(), memory_over_time=(), rank_busy=(), critical_path=(), notes=())
    bare = replace(
        bare,
        result=bare.result | {"interval": None, "parameters": None, "peak_memory_gib": [], "peak_reserved_gib": []},
    )
    assert "Critical path" not in terminal.render(bare, 80, color=False)
    assert "Critical path" not in html.render(bare)


def paid(price):
    """1,000 tokens at 123,456.7 tokens/s would take 8.1 ms; here a run is 3 days of 16 GPUs: 1,152 GPU-hours."""
    run = {"tokens": 15e12, "steps": 10, "days": 3.0, "gpu_hours": 1152.0, "cost_usd": price and 1152 * price}
    costs = {"price_per_gpu_hour_usd": price, "cost_per_step_usd": price and price * 0.5, "run": run}
    return replace(report_of(), result=report_of().result | costs)


def test_cost_is_told_per_step_and_per_run():
    """At $2.50: half a GPU-hour a step is $1.25, 1,152 of them are $2,880."""
    text, page = terminal.render(paid(2.5), 100, color=False), html.render(paid(2.5))
    for said in ("$1.25", "16 GPUs at $2.50 an hour each", "run of 15 T tokens", "$2,880", "3.0 days, 1,152 GPU-hours"):
        assert said in text
        assert said in page


def test_what_is_rented_is_said_of_one_gpu_of_many_and_of_several_kinds():
    one, kinds = paid(2.5), topologies.load("dgx-h100").pools + topologies.load("dgx-a100").pools
    one = replace(one, plan=replace(one.plan, tp=1, pp=1))
    assert "1 GPU at $2.50 an hour" in terminal.render(one, 100, color=False)
    mixed = replace(paid(2.5), cluster=replace(paid(2.5).cluster, pools=kinds))
    assert "16 GPUs at $2.50 an hour on average" in terminal.render(mixed, 100, color=False)


def test_without_a_price_the_run_is_told_in_days_and_how_to_give_one():
    text = terminal.render(paid(None), 120, color=False)
    assert "3.0 days" in text
    assert "no price known: --price 2.50 gives one" in text
    assert "$" not in text
    assert "run of" not in terminal.render(report_of(), 120, color=False)


def test_amounts_are_rounded_for_people():
    assert [figures.dollars(amount) for amount in (0.00418, 0.5, 4.166, 99.994, 41_700, 4.17e6)] == [
        "$0.0042", "$0.5", "$4.17", "$99.99", "$41,700", "$4.17 M",
    ]  # fmt: skip
    assert [figures.count(amount) for amount in (512, 14_600, 1.5e6, 3e11, 1.5e13)] == [
        "512", "14,600", "1.5 M", "300 B", "15 T",
    ]  # fmt: skip
    assert [figures.days(number) for number in (0.5, 2.44, 158.7)] == ["12 hours", "2.4 days", "159 days"]


def test_out_of_memory_is_said_at_the_head():
    small = replace(report_of(memory_capacity_gib=(24.0, 24.0)), result=report_of().result | {"fits": False})
    said = "Out of memory: 33.0 GiB needed of 24.0 GiB."
    page = html.render(small)
    assert page.index(said) < page.index("step time")
    assert said in "".join(terminal.render(small, 120, color=False).splitlines()[:4])
    assert figures.warning(report_of()) == ""


def test_the_page_draws_memory_over_the_step_for_each_rank_that_matters():
    """Two ranks, 30 GiB at most of 74.5; two holdings, each an area with its name and its letter where it is thick."""
    page = html.render(report_of())
    charts = re.findall(r"<figure>.*?</figure>", page, re.DOTALL)
    assert len(charts) == 2
    assert 'aria-label="pipeline rank 1: from 10.0 to 30.0 GiB"' in charts[1]
    assert re.findall(r"<title>(.*?)</title>", charts[0]) == ["weights", "activations"]
    assert re.findall(r"<b [^>]*>(.)</b>", charts[0]) == ["W", "A"]
    assert "Memory over the step" not in html.render(report_of(memory_over_time=()))


def test_an_unknown_interval_is_said():
    unknown = report_of().result | {"interval": {"p10_s": None, "p50_s": 1.2345, "p90_s": None}}
    assert "no interval is known yet" in html.render(report_of(result=unknown))
    assert "80 % within 1.1 s to 1.3 s" in html.render(report_of())


def test_the_page_comes_in_the_order_of_the_questions_that_people_ask():
    headings = re.findall(r"<h([12])>(.*?)</h", html.render(report_of()))
    assert headings == [
        ("1", "gpt-1t on 16 GPUs of dgx-a100"),
        ("2", "Where the time goes"),
        ("2", "Timeline"),
        ("2", "Time of each pipeline rank"),
        ("2", "Peak memory of each pipeline rank"),
        ("2", "Memory over the step"),
        ("2", "Critical path"),
        ("2", "The cluster and the layout on it"),
        ("2", "Scenario"),
        ("2", "Assumptions"),
        ("2", "Sources of the parameters"),
        ("2", "The command that reproduces this"),
    ]


def test_page_shows_each_gpu_with_its_place_and_rank():
    page = html.render(report_of())
    assert 'title="GPU 13: node 1, slot 5, tp 5, dp 0, pp 1"' in page
    assert len(re.findall(r'class="gpu" [^>]*title="GPU', page)) == 16


def test_nothing_is_cut_off_in_a_narrow_terminal():
    """A word of 90 letters goes on in the next line, whole."""
    word = "x" * 90
    text = terminal.render(report_of(notes=(f"See {word}.",)), 42, color=False)
    assert text.count("x") >= 90
    assert "…" not in text


def test_a_kernel_looks_like_its_action_and_all_else_like_its_category():
    mixed = timeline_of(
        [(0, LAYERS, F, 0, 0, 1), (0, LAYERS, -1, -1, 1, 2), (1, SEND, F, 0, 1, 2)], 1, ("compute", "pp")
    )
    assert [slices.LOOKS[look] for look in slices.looks(mixed)] == ["F", "compute", "pp"]


def test_page_needs_nothing_from_outside():
    page = html.render(report_of())
    assert not re.findall(r"""(?:src|href)=["'](?!data:)|url\(|@import|https?://""", page)


def test_page_shows_every_span_as_it_was():
    data = embedded(html.render(report_of()))
    assert data["columns"]["start"][:5] == [0, 1, 2, 3, 4]
    assert data["columns"]["end"][:5] == [1, 2, 3, 4, 6]
    assert [data["kinds"][look]["key"] for look in data["columns"]["kind"][:5]] == ["F", "F", "F", "F", "B"]
    assert data["tracks"][1] == {"rank": 8, "stream": "compute", "ranks_folded": 8}
    assert data["labels"][1]["parts"] == [["exposed tensor-parallel communication", 0.1]]


def test_a_label_cannot_break_out_of_the_script_that_holds_it():
    evil = "</script><script>alert(1)</script><!--"
    timeline = replace(steps(), labels=(LABELS[0], Label(name=evil, category="compute"), *LABELS[2:]))
    page = html.render(report_of(timeline, command=evil, notes=(evil,)))
    assert evil not in page
    assert "alert(1)</script>" not in page
    assert embedded(page)["labels"][1]["name"] == evil


def test_beyond_the_limit_the_compute_streams_stay_and_the_page_says_so():
    """3 spans of compute and 3 of sends: of at most 4 the 3 of the compute stream stay."""
    spans = [(0, LAYERS, F, m, m, m + 1) for m in range(3)] + [(1, SEND, F, m, m, m + 1) for m in range(3)]
    shown = slices.cut(timeline_of(spans, 1, ("compute", "pp")), most=4)
    assert list(shown.timeline.label) == [LAYERS] * 3
    assert shown.end == 3
    assert shown.said == "Shown are the 3 spans of the compute streams, of 6 spans in all."
    assert [track["stream"] for track in slices.canvas_data(shown)["tracks"]] == ["compute"]


def test_beyond_the_limit_of_compute_spans_the_first_in_time_stay():
    """Two ranks of 9 spans each over 13 s; the first 8 in time are the 4 forwards of both, until 4 s: 30.8 %."""
    shown = slices.cut(steps(), most=8)
    assert list(shown.timeline.track) == [0] * 4 + [1] * 4
    assert shown.end == 4
    assert shown.said == "Shown are the first 8 spans of the compute streams, 30.8 % of the step, of 18 spans in all."
    assert slices.cut(steps(), most=18).said == ""


def test_page_with_too_many_spans_says_what_it_shows():
    spans = [(0, LAYERS, F, m, m, m + 1) for m in range(slices.MOST_SPANS + 1)]
    page = html.render(report_of(timeline_of(spans)))
    assert "Shown are the first 100,000 spans of the compute streams" in page
    assert len(embedded(page)["columns"]["start"]) == slices.MOST_SPANS


def test_the_same_report_makes_the_same_bytes():
    assert html.render(report_of()) == html.render(report_of())
    assert terminal.render(report_of(), 80, color=True) == terminal.render(report_of(), 80, color=True)


def test_sentence_names_the_largest_loss_first():
    """Bubble and tensor parallelism take a tenth each; a part without time is not mentioned."""
    said = figures.sentence(report_of())
    assert said.startswith("Kernels compute for 70.0 % of each 1.234 s step; the rest is exposed tensor-parallel")
    assert "cp" not in said


def test_a_timeline_of_whole_layers_says_what_its_slices_hold():
    said = "the communication within them included"
    whole = report_of()
    plain = tuple(replace(label, parts=()) for label in whole.timeline.labels)
    piece = Label(name="layer forward", category="compute", parts=(("compute", 0.7), ("exposed_tp", 0.3)))
    for labels, told in ((plain, False), ((*plain, piece), True)):
        page = html.render(replace(whole, timeline=replace(whole.timeline, labels=labels)))
        assert (said in page) is told


def test_the_title_says_that_a_known_cluster_or_model_was_changed():
    part = report_of(scenario={"model": "gpt-1t", "cluster": {"name": "dgx-a100", "nodes": 2}})
    assert figures.title(part) == "gpt-1t on 16 GPUs of dgx-a100"
    other = report_of(scenario={"model": {"name": "gpt-1t", "num_layers": 8}, "cluster": {"name": "a", "nic": "b"}})
    assert figures.title(other) == "gpt-1t (changed) on 16 GPUs of dgx-a100 (changed)"


def test_a_small_amount_of_money_has_no_exponent() -> None:
    said = [figures.dollars(amount) for amount in (0.000033, 0.0042, 0.5, 4.171, 0.0)]
    assert said == ["$0.000033", "$0.0042", "$0.5", "$4.17", "$0"]
