"""Which figures a prediction rests on: of the model and of each GPU, link and framework in use the value, and where it
was read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sim import frameworks, models
from sim.models import Transformer, num_parameters
from sim.reports.drawing import used_nodes
from sim.reports.figures import count
from sim.training import TrainingReport
from topologies.hardware import Cluster, Fit, Gpu, Link, Node
from topologies.quantity import flops, nbytes, percent, rate, seconds

SHEET, PUBLISHED, ESTIMATE = "data sheet", "published figure", "estimate"
ORIGINS = {"datasheet": PUBLISHED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One figure of one part, as text, and where it was read; `origin` says what that rests on."""

    part: str
    figure: str
    value: str
    source: str
    origin: str


def parameters(report: TrainingReport) -> tuple[Parameter, ...]:
    """Every figure that the simulated step rests on: the model's, the GPUs', the links', the framework's."""
    precision = str(report.scenario.get("precision", ""))
    hardware = of_hardware(report.model, report.cluster, report.plan.num_gpus, precision)
    return *hardware, *_framework(str(report.scenario.get("framework", "")))


def of_hardware(model: Transformer, cluster: Cluster, num_gpus: int, precision: str) -> tuple[Parameter, ...]:
    """The figures of the model, and of the GPUs and links that the first `num_gpus` GPUs of a cluster are."""
    places = used_nodes(cluster, num_gpus)
    nodes = [cluster.pools[pool].node for pool in dict.fromkeys(place.pool for place in places)]
    gpus = dict.fromkeys(node.gpu for node in nodes)
    links = dict.fromkeys(link for node in nodes for link in _links(node, has_network=len(places) > 1))
    return (
        _model(model),
        *(row for gpu in gpus for row in _gpu(gpu, precision)),
        *(row for link in links for row in _link(link)),
    )


def achieved(rows: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    """The shares of the data sheets' rates that are reached: what moves a prediction most."""
    shares = ("gemm efficiency", "memory efficiency", "bandwidth efficiency")
    return tuple(row for row in rows if row.figure in shares)


def _model(model: Transformer) -> Parameter:
    """Where the model's shapes were read, where it is the catalogue's."""
    known = models.entry(model.name) if model.name in models.names() else None
    source, origin = "the scenario", "the user"
    if known is not None and known.model == model:
        source, origin = known.source, "publication"
    value = f"{count(num_parameters(model))} parameters"
    return Parameter(part=model.name, figure="shapes", value=value, source=source, origin=origin)


def _gpu(gpu: Gpu, precision: str) -> Iterator[Parameter]:
    sheet = {
        "memory": (nbytes(gpu.memory_nbytes), "memory"),
        "memory bandwidth": (rate(gpu.memory_bandwidth), "memory_bandwidth"),
    }
    if precision in gpu.peak_flops:
        sheet = {f"dense {precision} peak": (flops(gpu.peak_flops[precision]), "peak_flops")} | sheet
    yield from _sheet(gpu.name, sheet, gpu.fit)
    yield from _fit(gpu.name, gpu.fit)


def _link(link: Link) -> Iterator[Parameter]:
    yield from _sheet(link.name, {"bandwidth, one way": (rate(link.bandwidth), "bandwidth")}, link.fit)
    yield from _sheet(link.name, {"latency of a step": (seconds(link.latency), "latency")}, link.fit, PUBLISHED)
    yield from _fit(link.name, link.fit)


def _links(node: Node, *, has_network: bool) -> Iterator[Link]:
    """The kinds of link that join the GPUs of a node, and that lead out of it where there is another."""
    if node.num_gpus > 1:
        yield from (link for link in (node.scale_up, node.bridge, node.socket_link) if link is not None)
    if has_network and node.nic is not None:
        yield node.nic


def _sheet(part: str, figures: Mapping[str, tuple[str, str]], fit: Fit, origin: str = SHEET) -> Iterator[Parameter]:
    """Figures of a data sheet, as text and the field whose source it is."""
    for figure, (value, field) in figures.items():
        source = fit.sources.get(field, origin)
        yield Parameter(part=part, figure=figure, value=value, source=source, origin=_rests_on(source, origin))


def _fit(part: str, fit: Fit) -> Iterator[Parameter]:
    """What is reached of them."""
    for name, value in fit.values.items():
        source, origin = fit.sources.get(name, ""), ORIGINS.get(fit.origin, fit.origin)
        yield Parameter(
            part=part,
            figure=name.replace("_", " "),
            value=_text(name, value),
            source=source,
            origin=_rests_on(source, origin),
        )


def _rests_on(source: str, origin: str) -> str:
    """A source that calls its figure an estimate is believed, wherever the figure stands."""
    return ESTIMATE if "an estimate" in source else origin


def _framework(name: str) -> Iterator[Parameter]:
    """The facts of a framework; none where the name is not one of ours."""
    if name not in frameworks.names():
        return
    framework = frameworks.load(name)
    yield from of_software(name, framework, framework.sources)


def of_software(name: str, framework: object, sources: Mapping[str, str]) -> Iterator[Parameter]:
    """The facts of a framework that have a source."""
    for fact, source in sources.items():
        value = getattr(framework, fact)
        shown = ("yes" if value else "no") if isinstance(value, bool) else str(value)
        origin = _rests_on(source, "the software")
        yield Parameter(part=name, figure=fact.replace("_", " "), value=shown, source=source, origin=origin)


def _text(name: str, value: float) -> str:
    if name.endswith("efficiency"):
        return percent(value)
    return seconds(value) if name.endswith("latency") else f"{value:g}"
