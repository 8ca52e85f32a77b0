"""`shardsim models, clusters, gpus, links`: what is known, as lists and one by one; `schema`: what files may say."""

from typing import TYPE_CHECKING, Annotated

import typer

from sim.commands import completion, console
from topologies.document import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sim.commands.schemas import Kind
    from sim.reports.tables import Row, Sheet

FORMATS = ("table", "json", "csv")
KINDS: "tuple[Kind, ...]" = ("scenario", "serving", "model", "cluster", "gpu", "link")

Format = Annotated[str, typer.Option("--format", help="table, json or csv", autocompletion=completion.words(*FORMATS))]


def models(
    name: Annotated[
        str | None, typer.Argument(help="a model's name, or a file", autocompletion=completion.model)
    ] = None,
    output: Format = "table",
) -> None:
    """List the models, or show one."""
    console.one_of("format", output, FORMATS)
    from sim.reports import catalogue

    if name is None:
        _list(catalogue.MODEL_COLUMNS, catalogue.models(), output)
    else:
        _show(catalogue.model(name), output)


def clusters(
    name: Annotated[
        str | None, typer.Argument(help="a cluster's name, or a file", autocompletion=completion.cluster)
    ] = None,
    route: Annotated[
        tuple[int, int] | None, typer.Option(help="show the way from one GPU to another, counted from 0")
    ] = None,
    output: Format = "table",
) -> None:
    """List the clusters, show one, or show the links between two of its GPUs."""
    console.one_of("format", output, FORMATS)
    from sim.reports import clusters as shown

    if route is not None and name is None:
        raise InputError("--route needs a cluster; write for example `shardsim clusters dgx-h100 --route 0 9`")
    if name is None:
        _list(shown.CLUSTER_COLUMNS, shown.clusters(), output)
    elif route is not None:
        _list(shown.ROUTE_COLUMNS, shown.route(name, *route), output)
    else:
        _show(shown.cluster(name), output)


def gpus(
    name: Annotated[str | None, typer.Argument(help="a GPU's name", autocompletion=completion.gpu)] = None,
    output: Format = "table",
) -> None:
    """List the GPUs, or show one, with prices and sources."""
    console.one_of("format", output, FORMATS)
    from sim.reports import parts

    if name is None:
        _list(parts.GPU_COLUMNS, parts.gpus(), output)
    else:
        _show(parts.gpu(name), output)


def links(
    name: Annotated[str | None, typer.Argument(help="a link's name", autocompletion=completion.link)] = None,
    output: Format = "table",
) -> None:
    """List the links, or show one, with sources."""
    console.one_of("format", output, FORMATS)
    from sim.reports import parts

    if name is None:
        _list(parts.LINK_COLUMNS, parts.links(), output)
    else:
        _show(parts.link(name), output)


def schema(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS), autocompletion=completion.words(*KINDS))],
) -> None:
    """Print the JSON Schema of a file, for editors that check and complete it."""
    for known in KINDS:
        if kind == known:
            from sim.commands.schemas import schema_json

            return console.show(schema_json(known))
    raise InputError(f"unknown schema {kind!r}; use {', '.join(KINDS)}")


def _list(columns: "Sequence[str]", rows: "Sequence[Row]", output: str) -> None:
    from sim.reports import tables

    records = [row.record for row in rows]
    if output == "table":
        console.show(tables.table(columns, rows, console.list_columns()))
    else:
        console.show(tables.as_json(records) if output == "json" else tables.as_csv(records))


def _show(sheet: "Sheet", output: str) -> None:
    from sim.reports import tables

    if output == "table":
        console.show(tables.pairs(sheet.words, console.list_columns()))
    else:
        console.show(tables.as_json(sheet.record) if output == "json" else tables.as_csv([sheet.record]))
