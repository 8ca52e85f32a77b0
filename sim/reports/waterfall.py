"""The comparison as one page to send on: the waterfall as a drawing, both results side by side, nothing fetched.

The drawing is as wide as the page: lengths are in per cent of it, heights and letters in pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from markupsafe import Markup

from sim import __version__
from sim.comparison import Comparison
from sim.reports import compared
from sim.reports.compared import BOTH, FASTER, SLOWER, Bar
from sim.reports.figures import title, warning
from sim.reports.html import asset, template
from sim.reports.palette import BLUE, GREY, VERMILLION
from topologies.quantity import seconds

BY_ITSELF: Final = Markup("""
.alone { container-type: inline-size; }
.alone h2 { margin-top: 10px; }
@container (max-width: 560px) { .waterfall .wide { display: none; } }
""")
"""Styles of a section in another page, which may be a narrow column of it."""
ROW, BAR = 46, 16
"""Pixels of a row with its words, and of the bar in it."""
LEAST_PERCENT = 0.25
COLORS = {BOTH: GREY, SLOWER: VERMILLION, FASTER: BLUE}
SectionName = Literal["waterfall", "side_by_side", "memory_beside", "changes"]
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
    facts: dict[str, object] = {}
    for facts_of in SECTIONS.values():
        facts |= facts_of(comparison)
    return template("compare.html.j2").render(
        version=__version__,
        css=asset("report.css"),
        compare_css=asset("compare.css"),
        titles=[title(report) for report in (comparison.a, comparison.b)],
        warnings=[warning(report) for report in (comparison.a, comparison.b)],
        verdict=compared.verdict(comparison),
        commands=[comparison.a.command, comparison.b.command],
        **facts,
    )


def section(name: SectionName, comparison: Comparison) -> Markup:
    """One section of the page by itself, which wants report.css around it; empty where there is nothing to say."""
    inner = Markup(template(f"sections/{name}.html.j2").render(SECTIONS[name](comparison)).strip())
    style = asset("compare.css") + BY_ITSELF
    return Markup('<style>{}</style><div class="alone">{}</div>').format(style, inner) if inner else Markup()


def _waterfall(comparison: Comparison) -> dict[str, object]:
    bars = compared.waterfall(comparison)
    return {
        "rows": drawn(bars),
        "height": ROW * len(bars),
        "bar_height": BAR,
        "begins": seconds(compared.scale(bars)[0]),
        "words": {WORDS[letter]: COLORS[letter] for letter in dict.fromkeys(bar.letter for bar in bars)},
    }


SECTIONS: Final[Mapping[SectionName, Callable[[Comparison], dict[str, object]]]] = {
    "waterfall": _waterfall,
    "side_by_side": lambda comparison: {"figures": compared.figures(comparison)},
    "memory_beside": lambda comparison: {"memory": compared.memory(comparison)},
    "changes": lambda comparison: {"changes": compared.changes(comparison.a, comparison.b)},
}
"""What each section of the page says, by the name of its template."""


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
