"""A scenario as pages hand it around: YAML in one form, and the address under which the Train page shows it.

What comes from a browser names nothing but parts of the catalogue: a file of the server is never read for it.
"""

from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlencode

from sim.scenario import Scenario, as_yaml, of
from sim.scenario.scenario import is_file
from topologies.document import Document, InputError, Value, parse, shorten
from web.links import pack

TITLE: Final = "scenario"
"""What messages call it."""
PACKED: Final = "scenario"
"""The key of the address that holds a packed scenario."""
_ORDER: Final = (
    "kind", "model", "cluster", "gpus", "plan", "batch", "experts", "precision", "framework", "jitter", "seed",
    "tokens", "price",
)  # fmt: skip
REFERENCES: Final = ("model", "cluster", "framework")
"""Fields that a name may stand for."""
_SAID_ONLY: Final = ("source",)
"""Fields whose text is for readers."""


def text(fields: Mapping[str, Value]) -> str:
    """The fields of a scenario as YAML, always in the same form; empty sections and what is not said are left out."""
    said = {"kind": "training", **{name: _trimmed(value) for name, value in fields.items()}}
    order = [*_ORDER, *sorted(said.keys() - set(_ORDER))]
    return as_yaml({name: said[name] for name in order if said.get(name) not in (None, {})})


def laid_over(below: Mapping[str, Value], above: Mapping[str, Value]) -> dict[str, Value]:
    """Fields over others, section by section; a name opens to {name: NAME} where fields are laid over it."""
    merged = dict(below)
    for field, value in above.items():
        under = merged.get(field)
        if isinstance(under, str) and isinstance(value, dict) and field in REFERENCES:
            under = {"name": under}
        merged[field] = laid_over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def fields(text: str) -> dict[str, Value]:
    """The fields that a text holds, as they are; raises InputError for a text that is no mapping."""
    data = parse(text, TITLE).data
    if not isinstance(data, dict):
        raise InputError(f"{TITLE}: write fields such as 'gpus: 64', not {shorten(data)}")
    return data


def parsed(text: str) -> Scenario:
    """The scenario that a text describes.

    Raises InputError that names the field, also for a reference to a file: the server has none of the reader's.
    """
    document = parse(text, TITLE)
    check_references(document)
    return of(document)


def address(text: str) -> str:
    """Where the Train page shows this scenario; raises InputError for one that is too long for a link."""
    return f"/?{urlencode({PACKED: pack(text)})}"


def check_references(document: Document) -> None:
    """Raises InputError where a scenario names a file: the server has none of the reader's."""
    data = document.data if isinstance(document.data, dict) else {}
    plan = data.get("plan")
    schedule = plan.get("schedule") if isinstance(plan, dict) else None
    parts = {"model": data.get("model"), "cluster": data.get("cluster"), "framework": data.get("framework")}
    for field, value in {**parts, "plan.schedule": schedule}.items():
        for name in filter(is_file, _names(value)):
            raise InputError(f"{field}: {shorten(name)} is a file, which the app does not read; {_INSTEAD[field]}")


_INSTEAD: Final = {
    "model": "upload the config.json of the model, or use a model of the catalogue",
    "cluster": "name a cluster of the catalogue, and lay its own fields over it: {name: dgx-h100, nics_per_node: 4}",
    "framework": "name a framework of the catalogue, and lay its own facts over it",
    "plan.schedule": "name one of the schedules, or use the command line",
}


def _names(value: Value) -> Iterator[str]:
    """Every text in a value that could be taken for the name of a file."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _names(inner) if key not in _SAID_ONLY else ()
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)


def _trimmed(value: Value) -> Value:
    """Without fields that are not said."""
    if isinstance(value, dict):
        return {name: _trimmed(inner) for name, inner in value.items() if inner is not None}
    return value
