"""Real blocks beside the simulator as one page: both timelines of each block on one axis of time, real above simulated.

Everything is inside the file; it is drawn by the same canvas as a report.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from statistics import median

import jinja2
import numpy as np
from markupsafe import Markup

from calibrate.verification import spans
from calibrate.verification.verified import COLUMNS, Verification, Verified, cells, sentences, signed
from sim import __version__
from sim.reports.html import asset, embed
from sim.reports.slices import canvas_data, cut
from sim.timeline import Timeline
from topologies.quantity import percent, seconds

REAL, SIMULATED = "real", "simulated"
FIRST = ("pipeline 1f1b", "pipeline interleaved", "pipeline gpipe")
"""What shows most comes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One block on the page: its timelines as the canvas takes them, and what it came to in words."""

    name: str
    key: str
    summary: str
    said: str
    drawn: str
    is_equal: bool
    timeline: Markup


def render(verification: Verification) -> str:
    """A self-contained HTML page: what it comes to, a table, the timelines."""
    return _template().render(
        version=__version__,
        machine=verification.machine,
        figures=list(_figures(verification)),
        sentences=sentences(verification),
        columns=COLUMNS,
        rows=[(key_of(one.ran.name), one.ran.equal, cells(one)) for one in verification.blocks],
        skipped=verification.skipped,
        blocks=[_shown(one) for one in sorted(verification.blocks, key=_place)],
        css=asset("report.css"),
        script=asset("timeline.js"),
    )


def _template() -> jinja2.Template:
    source = files("calibrate").joinpath("assets/verify.html.j2").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source)


def _place(one: Verified) -> int:
    """Sorting is stable: all that is not among the first keeps its order."""
    name = one.ran.name
    return FIRST.index(name) if name in FIRST else len(FIRST)


def _figures(verification: Verification) -> Iterator[tuple[str, str, str]]:
    """Name, value and detail of the figures at the top."""
    blocks = verification.blocks
    yield "equal to their reference", f"{sum(one.ran.equal for one in blocks)} of {len(blocks)}", "forward and backward"
    if blocks:
        errors = [abs(one.error) for one in blocks]
        yield "off in the median", percent(median(errors)), "predicted against measured time"
        yield "within 25 %", f"{sum(error <= 0.25 for error in errors)} of {len(blocks)}", "of the measured time"
    yield "ranks", str(verification.num_ranks), verification.machine.backend


def key_of(name: str) -> str:
    """A block's name as part of an address or of a file's name."""
    return name.replace(" ", "-")


def _shown(one: Verified) -> Shown:
    ran, real = one.ran, real_timeline(one)
    measured, predicted = seconds(ran.measured), seconds(one.played.duration)
    return Shown(
        name=ran.name,
        key=key_of(ran.name),
        summary=ran.summary,
        said=f"Measured {measured}, predicted {predicted}: {signed(one.error)}.",
        drawn=f"The real ranks are drawn as they were in a repetition that took {seconds(real.duration)}.",
        is_equal=ran.equal,
        timeline=embed(both(real, one.played)),
    )


def real_timeline(one: Verified) -> Timeline:
    """What the ranks recorded, on the streams of the simulation."""
    return spans.timeline_of(one.ran.spans, one.played)


def both(real: Timeline, simulated: Timeline) -> Mapping[str, object]:
    """The columns for the canvas, the real ranks above the simulated ones."""
    data = canvas_data(cut(_one_above_the_other(real, simulated)))
    names = [REAL] * len(real.tracks) + [SIMULATED] * len(simulated.tracks)
    return {**data, "tracks": _renamed(data["tracks"], names)}


def _renamed(tracks: object, names: Sequence[str]) -> list[Mapping[str, object]]:
    """The canvas writes 'rank' before what it is told."""
    assert isinstance(tracks, list)
    return [{**track, "rank": f"{track['rank']} {name}"} for track, name in zip(tracks, names, strict=True)]


def _one_above_the_other(one: Timeline, other: Timeline) -> Timeline:
    return replace(
        one,
        tracks=(*one.tracks, *other.tracks),
        labels=(*one.labels, *other.labels),
        track=np.concatenate([one.track, other.track + np.int32(len(one.tracks))]),
        label=np.concatenate([one.label, other.label + np.int32(len(one.labels))]),
        kind=np.concatenate([one.kind, other.kind]),
        stage=np.concatenate([one.stage, other.stage]),
        microbatch=np.concatenate([one.microbatch, other.microbatch]),
        start=np.concatenate([one.start, other.start]),
        end=np.concatenate([one.end, other.end]),
        duration=max(one.duration, other.duration),
    )
