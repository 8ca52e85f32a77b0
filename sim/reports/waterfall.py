"""The comparison as one page to send on: the waterfall as a drawing, both results side by side, nothing fetched.

The drawing is as wide as the page: lengths are in per cent of it, heights and letters in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sim import __version__
from sim.comparison import Comparison
from sim.reports import compared
from sim.reports.compared import BOTH, FASTER, SLOWER, Bar
from sim.reports.figures import title, warning
from sim.reports.html import asset, template
from sim.reports.palette import BLUE, GREY, VERMILLION
from topologies.quantity import seconds

ROW, BAR = 46, 16
"""Pixels of a row with its words, and of the bar in it."""
LEAST_PERCENT = 0.25
COLORS = {BOTH: GREY, SLOWER: VERMILLION, FASTER: BLUE}
WORDS = {BOTH: "the whole step", SLOWER: "slower", FASTER: "faster"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A row: its words, where its bar begins and how long it is (per cent of the width), and its place (pixels)."""

    bar: Bar
    left: float
    width: float
    top: int
    color: str

    @property
    def spoken(self) -> str:
        """What the row shows, for those who cannot see it."""
        detail = f", {self.bar.detail}" if self.bar.detail else ""
        return f"{self.bar.name}: {self.bar.text}{detail}"


def page(comparison: Comparison) -> str:
    """A self-contained HTML page."""
    bars = compared.waterfall(comparison)
    return template("compare.html.j2").render(
        version=__version__,
        css=asset("report.css"),
        titles=[title(report) for report in (comparison.a, comparison.b)],
        warnings=[warning(report) for report in (comparison.a, comparison.b)],
        verdict=compared.verdict(comparison),
        figures=compared.figures(comparison),
        rows=drawn(bars),
        height=ROW * len(bars),
        bar_height=BAR,
        begins=seconds(compared.scale(bars)[0]),
        words={WORDS[letter]: COLORS[letter] for letter in dict.fromkeys(bar.letter for bar in bars)},
        memory=compared.memory(comparison),
        changes=compared.changes(comparison.a, comparison.b),
        commands=[comparison.a.command, comparison.b.command],
    )


def drawn(bars: Sequence[Bar]) -> list[Drawn]:
    """The bars in their places; one that is too short to be seen is as long as can be."""
    low, high = compared.scale(bars)
    rows = []
    for place, bar in enumerate(bars):
        ends = sorted(100 * max(0.0, min(1.0, (end - low) / (high - low))) for end in (bar.start, bar.end))
        width = max(LEAST_PERCENT, ends[1] - ends[0])
        left = min(ends[0], 100 - width)
        rows.append(Drawn(bar=bar, left=left, width=width, top=ROW * place, color=COLORS[bar.letter]))
    return rows
