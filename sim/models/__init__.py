"""Models: shapes in, parameters and FLOPs out. The catalogue holds what was published; a user's file works alike."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sim.models.flops import hardware_flops as hardware_flops
from sim.models.flops import model_flops as model_flops
from sim.models.transformer import Transformer as Transformer
from sim.models.transformer import embedding_parameters as embedding_parameters
from sim.models.transformer import head_parameters as head_parameters
from sim.models.transformer import layer_parameters as layer_parameters
from sim.models.transformer import num_parameters as num_parameters
from topologies.document import Document, InputError, Value, closest, read, shorten, validate

_CATALOGUE = Path(__file__).parent / "catalogue"
_FAMILIES = ("llama", "gpt")
_SUFFIXES = (".yaml", ".yml", ".json")
_HUGGING_FACE = ("architectures", "model_type", "hidden_size")
_NOT_YET = {
    "experts": "mixture of experts",
    "moe": "mixture of experts",
    "top_k": "mixture of experts",
    "lora_rank": "multi-head latent attention",
    "window": "sliding-window attention",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model of the catalogue: where its shapes were read, the parameter count printed there, and its other names."""

    model: Transformer
    source: str
    published_parameters: float
    aliases: tuple[str, ...]


def load(name_or_path: str | Path) -> Transformer:
    """A model of the catalogue by name or alias, or a YAML or JSON file with the fields of a catalogue entry.

    Raises InputError for an unknown name, a file that cannot be used, and for what is not supported yet.
    """
    if isinstance(name_or_path, Path) or _is_path(name_or_path):
        return _from_file(read(Path(name_or_path)))
    return entry(name_or_path).model


def names() -> list[str]:
    """The names in the catalogue, by family from small to large."""
    return [name for family in _FAMILIES for name in _family(family)]


def entry(name: str) -> Entry:
    """The catalogue's entry for a name or an alias, upper or lower case.

    Raises InputError for an unknown name.
    """
    for family in _FAMILIES:
        for known, fields in _family(family).items():
            if name.lower() == known or name.lower() in _aliases(fields):
                return _entry(known, fields)
    fix = closest(name, _every_name()) or f"; known: {', '.join(names())}"
    raise InputError(f"unknown model {shorten(name)}{fix} (a model file ends in .yaml or .json)")


def _is_path(text: str) -> bool:
    return text.lower().endswith(_SUFFIXES) or "/" in text or "\\" in text


def _from_file(document: Document) -> Transformer:
    from sim.models.schema import ModelFile

    if isinstance(document.data, dict):
        _refuse_not_yet(document, document.data)
    return validate(document, ModelFile).transformer()


def _refuse_not_yet(document: Document, fields: Mapping[str, Value]) -> None:
    if any(key in fields for key in _HUGGING_FACE):
        raise InputError(
            f"{document.name}: a Hugging Face config.json is not supported yet; "
            "write a model file with num_layers, hidden, num_heads, num_kv_heads, ffn, vocab, max_seq_len"
        )
    for key in fields:
        for word, feature in _NOT_YET.items():
            if word in key.lower():
                raise InputError(f"{document.name}:{document.lines[(key,)]}: {key}: {feature} is not supported yet")


@functools.cache
def _family(family: str) -> dict[str, dict[str, Value]]:
    """Name -> fields, what is common to the family laid under each."""
    data = read(_CATALOGUE / f"{family}.yaml").data
    assert isinstance(data, dict)
    common, models = data["common"], data["models"]
    assert isinstance(common, dict)
    assert isinstance(models, dict)
    return {name: common | fields for name, fields in models.items() if isinstance(fields, dict)}


def _entry(name: str, fields: dict[str, Value]) -> Entry:
    from sim.models.schema import ModelFile

    found = validate(Document(name="catalogue", data=fields | {"name": name}, lines={}), ModelFile)
    assert found.published_parameters is not None
    return Entry(
        model=found.transformer(),
        source=found.source,
        published_parameters=found.published_parameters,
        aliases=tuple(found.aliases),
    )


def _aliases(fields: Mapping[str, Value]) -> list[str]:
    aliases = fields.get("aliases", [])
    assert isinstance(aliases, list)
    return [str(alias) for alias in aliases]


def _every_name() -> list[str]:
    families = [_family(family) for family in _FAMILIES]
    aliases = [alias for family in families for fields in family.values() for alias in _aliases(fields)]
    return names() + aliases
