"""The drawings of a served load's page: distributions of latencies, and what happened over time.

A picture is an SVG of fixed size that the page stretches, so it holds no text; words stand beside it, in per cent of
its width and height.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import log10
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.objectives import METRICS, Metric, Objective
from sim.reports.palette import BLUE, GREEN, ORANGE, PURPLE, VERMILLION, YELLOW
from sim.reports.serving.figures import METRIC_TITLES
from sim.serving import results
from sim.serving.results.latency import Sample, percentile
from sim.serving.results.saturation import Saturation
from sim.serving.results.series import Series
from topologies.quantity import percent, seconds

WIDTH, HEIGHT = 1000, 200
POINTS: Final = 200
MOST_TICKS: Final = 5
LAST_PERCENT: Final = 99.9
MARGIN: Final = 1.06
HIGHEST_MARK: Final = 93.0
FAR: Final = 3.0
"""A promise beyond so many times the longest latency is not drawn in its place."""

Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A line, or with `is_area` what lies below it, as SVG writes paths."""

    title: str
    color: str
    path: str
    is_area: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A place on an axis, in per cent of the picture from its left or its bottom."""

    at: float
    text: str
    is_bad: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Curves, the axes' ticks, lines that stand upright with words, and what it shows for those who cannot see it."""

    title: str
    said: str
    curves: tuple[Curve, ...]
    across: tuple[Mark, ...]
    upwards: tuple[Mark, ...]
    lines: tuple[Mark, ...] = ()


def distributions(found: results.Latencies, objectives: Sequence[Objective]) -> tuple[Chart, ...]:
    """For each metric the share of requests (ITL: of gaps) that took at most so long, and what is promised of it."""
    wanted = [metric for metric in METRICS if metric != "itl" or any(one.metric == "itl" for one in objectives)]
    return tuple(
        _distribution(metric, found.samples[metric], results.attainments(found, objectives))
        for metric in wanted
        if len(found.samples[metric])
    )


def over_time(series: Series) -> tuple[Chart, ...]:
    """Requests that run and wait; the share of the cache that is held; tokens that came out."""
    columns, times = series.columns, series.columns["t_s"]
    running, waiting = columns["running"], columns["waiting"]
    return (
        _timed(
            "requests", times, {"waiting": (running + waiting, YELLOW), "running": (running, BLUE)}, count, area=True
        ),
        _timed("KV cache in use", times, {"blocks held": (columns["kv_use"], GREEN)}, share, area=True),
        _timed(
            "tokens a second",
            times,
            {
                "of answers": (columns["output_tokens_per_s"], BLUE),
                "of prompts": (columns["prompt_tokens_per_s"], ORANGE),
            },
            count,
        ),
        _timed(
            "latencies of the window",
            times,
            {"p99 TTFT": (columns["p99_ttft_s"], VERMILLION), "median TTFT": (columns["p50_ttft_s"], PURPLE)},
            seconds,
        ),
    )


def knee(found: Saturation) -> Chart | None:
    """p99 TTFT against the rate of requests, with the load and the knee; None where nothing was answered."""
    points = [point for point in found.points if np.isfinite(point.p99_ttft)]
    if len(points) < 2:
        return None
    rates = np.array([point.rate for point in points])
    width, top = float(rates.max()) * MARGIN, max(point.p99_ttft for point in points) * MARGIN
    curves = tuple(
        Curve(title=title, color=color, path=_path(rates / width, np.array(values) / top))
        for title, color, values in (
            ("p99 TTFT", VERMILLION, [point.p99_ttft for point in points]),
            ("mean wait to be admitted", PURPLE, [point.queue for point in points]),
        )
    )
    ends = {"this load": found.asked} | ({"knee": found.knee} if found.knee else {})
    lines = tuple(Mark(at=100 * rate / width, text=name, is_bad=name == "knee") for name, rate in ends.items())
    across = tuple(Mark(at=100 * tick / width, text=f"{tick:g}/s" if tick else "0") for tick in ticks(width))
    return Chart(
        title="p99 TTFT and mean wait, by requests a second",
        said=f"p99 TTFT from {seconds(points[0].p99_ttft)} at {rates[0]:.3g}/s to {seconds(points[-1].p99_ttft)} at "
        f"{rates[-1]:.3g}/s; " + (f"the knee is at {found.knee:.3g}/s" if found.knee else "no rate is served"),
        curves=curves,
        across=across,
        upwards=_upwards(top, seconds),
        lines=lines,
    )


def ticks(top: float) -> tuple[float, ...]:
    """Round numbers from 0 up to `top`, at most five steps."""
    if top <= 0:
        return (0.0,)
    power = 10.0 ** np.floor(log10(top / MOST_TICKS))
    step = next(power * factor for factor in (1, 2, 5, 10) if top / (power * factor) <= MOST_TICKS)
    return tuple(float(step * index) for index in range(int(top / step) + 1))


def count(amount: float) -> str:
    """A number for an axis."""
    return f"{amount:,.0f}" if amount >= MOST_TICKS or amount == int(amount) else f"{amount:.1f}"


def share(fraction: float) -> str:
    """A share for an axis."""
    return percent(fraction, 0 if fraction == round(fraction, 2) else 2)


def _distribution(metric: Metric, sample: Sample, attained: Sequence[results.Attainment]) -> Chart:
    last = percentile(sample, LAST_PERCENT) or 1.0
    wanted = {one.objective: one.met for one in attained if one.objective.metric == metric}
    near = [one for one in wanted if one.seconds <= FAR * last]
    top = max([last, *(one.seconds for one in near)]) * MARGIN
    steps = np.linspace(0, 100, POINTS + 1)
    times = np.array([percentile(sample, step) for step in steps])
    rising = np.minimum(times / top, 1.0), steps / 100
    title = METRIC_TITLES[metric]
    said = ", ".join(f"{step:g} % within {seconds(percentile(sample, step))}" for step in (50, 90, 99))
    return Chart(
        title=title,
        said=f"{title}: {said}",
        curves=(Curve(title=title, color=BLUE, path=_path(*rising)),),
        across=_across(top),
        upwards=tuple(Mark(at=at, text=f"{at:g} %") for at in (25.0, 50.0, 75.0)),
        lines=tuple(
            Mark(at=100 * one.seconds / top, text=str(one), is_bad=not is_met)
            if one in near
            else Mark(at=100.0, text=f"{one}, far beyond")
            for one, is_met in wanted.items()
        ),
    )


def _timed(
    title: str,
    times: Column,
    curves: dict[str, tuple[Column, str]],
    shown: Callable[[float], str],
    *,
    area: bool = False,
) -> Chart:
    highest = max((float(np.nanmax(values, initial=0.0)) for values, _ in curves.values()), default=0.0)
    height = (highest or 1.0) * MARGIN
    end = float(times[-1])
    drawn = tuple(
        Curve(title=name, color=color, path=_steps(times / end, values / height, closed=area), is_area=area)
        for name, (values, color) in curves.items()
    )
    peaks = "; ".join(
        f"{name} at most {shown(float(np.nanmax(one, initial=0.0)))}" for name, (one, _) in curves.items()
    )
    return Chart(
        title=title,
        said=f"{title}: {peaks}",
        curves=drawn,
        across=_across(end),
        upwards=_upwards(height, shown),
    )


def _across(end: float) -> tuple[Mark, ...]:
    """Times on the axis below."""
    return tuple(Mark(at=100 * tick / end, text=seconds(tick) if tick else "0") for tick in ticks(end))


def _upwards(top: float, shown: Callable[[float], str]) -> tuple[Mark, ...]:
    """Amounts on the axis at the left, where there is room for their words."""
    marks = (Mark(at=100 * tick / top, text=shown(tick)) for tick in ticks(top) if tick)
    return tuple(mark for mark in marks if mark.at < HIGHEST_MARK)


def _steps(across: Column, upwards: Column, *, closed: bool) -> str:
    """What holds in each window, as stairs; where nothing is known the line stops."""
    starts = np.concatenate([[0.0], across[:-1]])
    pieces: list[str] = []
    for known in _runs(~np.isnan(upwards)):
        xs = np.column_stack([starts[known], across[known]]).ravel()
        ys = np.repeat(upwards[known], 2)
        if closed:
            xs, ys = np.concatenate([xs[:1], xs, xs[-1:]]), np.concatenate([[0.0], ys, [0.0]])
        pieces.append(_path(xs, ys))
    return "".join(pieces)


def _runs(known: NDArray[np.bool_]) -> Iterable[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]])))
    return (slice(int(first), int(end)) for first, end in zip(edges[::2], edges[1::2], strict=True))


def _path(across: Column, upwards: Column) -> str:
    """Through points from the lower left, in shares of the picture."""
    points = (f"{WIDTH * x:.1f},{HEIGHT * (1 - y):.1f}" for x, y in zip(across, upwards, strict=True))
    return "M" + "L".join(points)
