"""Models: shapes in, parameters and FLOPs out. The catalogue holds what was published; a user's file works alike."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sim.models.entries import Entry as Entry
from sim.models.entries import entry as entry
from sim.models.entries import find as find
from sim.models.entries import names as names
from sim.models.entries import unknown
from sim.models.flops import hardware_flops as hardware_flops
from sim.models.flops import model_flops as model_flops
from sim.models.transformer import LayerKind as LayerKind
from sim.models.transformer import Mla as Mla
from sim.models.transformer import Moe as Moe
from sim.models.transformer import Transformer as Transformer
from sim.models.transformer import active_parameters as active_parameters
from sim.models.transformer import attention_parameters as attention_parameters
from sim.models.transformer import embedding_parameters as embedding_parameters
from sim.models.transformer import expert_parameters as expert_parameters
from sim.models.transformer import head_parameters as head_parameters
from sim.models.transformer import layer_kind as layer_kind
from sim.models.transformer import layer_kinds as layer_kinds
from sim.models.transformer import layer_parameters as layer_parameters
from sim.models.transformer import mlp_parameters as mlp_parameters
from sim.models.transformer import moe_parameters as moe_parameters
from sim.models.transformer import norm_parameters as norm_parameters
from sim.models.transformer import num_parameters as num_parameters
from sim.models.transformer import router_parameters as router_parameters
from sim.models.transformer import shared_expert_parameters as shared_expert_parameters
from topologies.document import Document, InputError, Value, parse, read, validate

if TYPE_CHECKING:
    from sim.models.schema import ModelFile

_SUFFIXES = (".yaml", ".yml", ".json")
_SHAPES = ("num_layers", "hidden", "num_heads", "vocab", "max_seq_len")


def load(reference: str | Path | Mapping[str, Value]) -> Transformer:
    """A model by name or alias, by a file, or by a mapping that lays fields over one of these.

    A file is YAML or JSON with the fields of a catalogue entry, or a Hugging Face config.json; which one, its content
    tells. A mapping `{name: grok1-314b, num_layers: 16}` takes the catalogue's entry or the file of that name and
    changes the fields that it gives, those of `moe` and `mla` one by one; under an unknown name it must give all.
    Raises InputError for an unknown name, a file that cannot be used, and for what the simulator has no words for.
    """
    if isinstance(reference, Mapping):
        return _checked(_overlaid(dict(reference))).transformer()
    if _is_path(reference):
        return _checked(_in_file(Path(reference))).transformer()
    return entry(str(reference)).model


def written_out(text: str, name: str) -> dict[str, Value]:
    """The fields of a model file or a Hugging Face config.json at hand, as a mapping that `load` takes.

    `name` is that of the file, which names a model that does not name itself. Raises InputError as `load` does.
    """
    document = parse(text.replace("\t", " ") if name.endswith(".json") else text, name)
    fields = _fields_in(document, Path(name)).data
    validated = _checked(Document(name=name, data=fields, lines={}))
    return validated.model_dump(exclude_defaults=True, exclude={"source", "aliases"})


def _is_path(reference: str | Path) -> bool:
    text = str(reference)
    return isinstance(reference, Path) or text.lower().endswith(_SUFFIXES) or "/" in text or "\\" in text


def _checked(document: Document) -> "ModelFile":
    from sim.models.schema import ModelFile

    return validate(document, ModelFile)


def _in_file(path: Path) -> Document:
    return _fields_in(read(path), path)


def _fields_in(document: Document, path: Path) -> Document:
    """The fields of a model file, whichever kind of file it is."""
    from sim.models import hugging_face

    if not hugging_face.is_config(document):
        return document
    return replace(document, data=hugging_face.fields(document, path), lines={})


def _overlaid(changes: dict[str, Value]) -> Document:
    """The fields of the model that `changes` names, with the changes in place; the model keeps its own name."""
    name = changes.get("name")
    below = _below(name, changes) if isinstance(name, str) else {}
    merged = below | {field: _merged(below.get(field), value) for field, value in changes.items()}
    own_name = {"name": below["name"]} if "name" in below else {}
    return Document(name="model", data=merged | own_name, lines={})


def _below(name: str, changes: Mapping[str, Value]) -> dict[str, Value]:
    if _is_path(name):
        data = _in_file(Path(name)).data
        return data if isinstance(data, dict) else {}
    known = find(name)
    if known is None and any(field not in changes for field in _SHAPES):
        raise InputError(f"{unknown(name)}; a model of your own needs {', '.join(_SHAPES)}, ffn")
    return known or {}


def _merged(below: Value, above: Value) -> Value:
    """A section such as moe keeps the fields that are not changed."""
    return below | above if isinstance(below, dict) and isinstance(above, dict) else above
