"""Pipelines side by side: what assets/pipelines.js draws of bare pipelines that were played, under one clock."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.pipelines import Played
from sim.program import COMPUTE
from sim.reports.palette import KINDS
from sim.reports.slices import LOOKS, looks
from sim.schedules.closed_forms import CLOSED_FORMS
from topologies.quantity import percent, seconds

SHOWN: Final = ("F", "B", "I", "W", "pp", "bubble")
"""Keys of KINDS: what a compute stream of a bare pipeline does."""


def panels_data(played: Sequence[Played], refused: Mapping[str, str] | None = None) -> dict[str, object]:
    """Panels in this order, then one for each of those that are `refused`, with the words why. Times in seconds; a
    rank's stalls for messages are spans, its bubble is what no span covers."""
    return {
        "duration": max((one.seconds for one in played), default=0.0),
        "kinds": [
            {"key": key, "letter": one.letter, "color": one.color, "ink": one.ink, "title": one.title}
            for key, one in ((key, KINDS[key]) for key in SHOWN)
        ],
        "panels": [
            *map(_panel, played),
            *({"name": name, "idea": CLOSED_FORMS[name].idea, "why": why} for name, why in (refused or {}).items()),
        ],
        "columns": _columns(played),
    }


def _panel(one: Played) -> dict[str, object]:
    most, chunks = max(one.held), one.schedule.model_stages // one.schedule.num_ranks
    facts = [
        (seconds(one.seconds), f"Step time: from the first pass to the last, {seconds(one.seconds)}."),
        (f"bubble {percent(one.bubble)}", _bubble(one)),
        (
            f"holds {most:.4g}",
            f"Microbatches whose activations a rank keeps, at most: {_each(one.held)} of its layers.",
        ),
    ]
    return {
        "name": one.name,
        "idea": CLOSED_FORMS[one.name].idea,
        "seconds": one.seconds,
        "chunks": chunks,
        "stages_of": one.schedule.num_ranks,
        "held": list(one.held),
        "facts": [{"text": text, "title": title} for text, title in facts],
    }


def _bubble(one: Played) -> str:
    waits = f", and {percent(one.exposed)} waiting for messages on their way" if one.exposed else ""
    mean = seconds(one.bubble * one.seconds)
    return f"Mean over ranks: {mean} of {seconds(one.seconds)} with nothing to do{waits}."


def _each(held: Sequence[float]) -> str:
    return ", ".join(f"{count:.4g} on rank {rank}" for rank, count in enumerate(held))


def _columns(played: Sequence[Played]) -> dict[str, NDArray[np.generic]]:
    parts = [_spans(panel, one) for panel, one in enumerate(played)]
    names = ("panel", "rank", "kind", "stage", "microbatch", "start", "end")
    return {name: np.concatenate([part[column] for part in parts]) for column, name in enumerate(names)}


def _spans(panel: int, one: Played) -> tuple[NDArray[np.generic], ...]:
    """Passes, and stalls for messages that take any time."""
    timeline, look = one.timeline, looks(one.timeline)
    ranks = np.array([track.rank if track.stream == COMPUTE else -1 for track in timeline.tracks])[timeline.track]
    kinds = np.array([SHOWN.index(key) if key in SHOWN else -1 for key in LOOKS], dtype=np.int8)[look]
    rows = np.flatnonzero((ranks >= 0) & (kinds != SHOWN.index("bubble")) & (timeline.end > timeline.start))
    return (
        np.full(len(rows), panel, dtype=np.int16),
        ranks[rows].astype(np.int16),
        kinds[rows],
        timeline.stage[rows],
        timeline.microbatch[rows],
        timeline.start[rows],
        timeline.end[rows],
    )
