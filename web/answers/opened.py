"""What a reader opens on the Train page, as its controls: a scenario, a model, a link. Files are parsed in memory."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sim import models
from sim.scenario.scenario import is_file
from topologies.document import InputError, Value, decoded, parse, shorten
from web import controls, links, scenarios

_MODEL_FIELDS: Final = ("num_layers", "hidden_size", "model_type", "architectures", "text_config")
_UPLOADED: Final = " (uploaded)"
"""Behind the name of a model that would be taken for another, or for a file."""


def link(packed: str) -> controls.Settings:
    """The controls of a scenario in an address; raises InputError where it cannot be read."""
    return controls.taken_apart(links.unpack(packed))


def file(content: bytes, name: str, present: str) -> controls.Settings:
    """The controls after opening a file: those of a scenario, or those of the `present` one with the file's model.

    Raises InputError for a file that is neither, and for one beyond the limits of `topologies.document`.
    """
    text = decoded(content, shorten(name))
    data = _parsed(text, name)
    fields = data if isinstance(data, dict) else {}
    if "kind" not in fields and any(field in fields for field in _MODEL_FIELDS):
        model = models.written_out(text, name)
        return controls.taken_apart(_with_model(present, {**model, "name": _called(fields, model, name)}))
    if "model" not in fields:
        raise InputError(
            f"{shorten(name)}: neither a scenario nor a model; a scenario has fields such as 'model: llama3-8b'"
        )
    return controls.taken_apart(text)


def _parsed(text: str, name: str) -> Value:
    """JSON is read as YAML, of which its messages should not speak."""
    if not name.endswith(".json"):
        return parse(text, name).data
    try:
        return parse(text.replace("\t", " "), name).data
    except InputError as error:
        raise InputError(str(error).replace("not valid YAML", "not valid JSON", 1)) from None


def _called(fields: Mapping[str, Value], model: Mapping[str, Value], file: str) -> Value:
    """The model's name: as it calls itself, or its file; a config.json says its architecture, for it has no folder."""
    if Path(file).stem != "config" or fields.get("_name_or_path") or "name" in fields:
        return model["name"]
    said = fields.get("architectures")
    first = said[0] if isinstance(said, list) and said else fields.get("model_type")
    return str(first or "model")


def _with_model(present: str, model: dict[str, Value]) -> str:
    """The present scenario of another model; what was said of a layout for the model before is left out."""
    kept = {name: value for name, value in scenarios.fields(present).items() if name not in ("plan", "experts")}
    return scenarios.text({**kept, "model": {**model, "name": _own_name(str(model["name"]))}})


def _own_name(name: str) -> str:
    plain = re.sub(r"[/\\\\]", "-", name)
    return plain + _UPLOADED if is_file(plain) or models.find(plain) else plain
