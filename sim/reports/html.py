"""The report as one page to send on: everything is inside the file, nothing is fetched from anywhere."""

from importlib.resources import files

import jinja2
import orjson
from markupsafe import Markup

from sim.reports import figures
from sim.reports.palette import KINDS, Kind
from sim.reports.slices import canvas_data, cut
from sim.training import TrainingReport
from topologies.quantity import seconds


def render(report: TrainingReport) -> str:
    """A self-contained HTML page: numbers first, then where the time goes, timeline, memory, and what it rests on."""
    shown = cut(report.timeline)
    held = figures.holdings(report)
    busy = [figures.breakdown(fractions) for fractions in report.rank_busy]
    parts = figures.breakdown(figures.mapping(report.result, "breakdown"))
    return _template().render(
        title=figures.title(report),
        headline=figures.headline(report),
        sentence=figures.sentence(report),
        parts=parts,
        timeline=embed(canvas_data(shown)),
        timeline_note=shown.said,
        busy=busy,
        busy_legend=figures.legend(busy),
        held=held,
        held_legend=figures.legend(one.shares for one in held),
        capacity=report.memory_capacity_gib,
        scale=max([report.memory_capacity_gib, *(one.reserved for one in held)]),
        critical_path=[(name, seconds(time), _share(report, time)) for name, time in report.critical_path],
        scenario=figures.scenario_rows(report.scenario),
        notes=[note for note in (figures.provenance(report.result), *report.notes) if note],
        command=report.command,
        css=_asset("report.css"),
        script=_asset("timeline.js"),
    )


def embed(data: object) -> Markup:
    """Data as JSON that is safe within a script element: no `<`, `>` or `&` can end it or begin another."""
    text = orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def computing(bar: tuple[figures.Share, ...]) -> str:
    """The share of a bar in which kernels compute, as text."""
    return figures.percent(sum(share.amount for share in bar if share.kind is KINDS["compute"]))


def swatch(kind: Kind) -> Markup:
    """A small square with the kind's letter on its colour."""
    return Markup('<b class="swatch" style="background:{};color:{}">{}</b>').format(kind.color, kind.ink, kind.letter)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sim.reports", "assets"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"computing": computing, "swatch": swatch}
    return environment.get_template("report.html.j2")


def _asset(name: str) -> Markup:
    """One of our own files, put into the page as it is."""
    return Markup(files("sim.reports").joinpath("assets", name).read_text(encoding="utf-8"))


def _share(report: TrainingReport, time: float) -> str:
    return figures.percent(time / report.timeline.duration) if report.timeline.duration > 0 else ""
