"""Hugging Face's config.json as the fields of a model file.

Families name the same shapes differently, and what a file leaves out has the default of the family's configuration
class in the transformers library. Left out is what changes no matrix product and less than 0.01 % of the parameters:
norms after a block (Gemma 2 and 3, GLM-4, Grok-1), sinks, norms of whole queries instead of heads (OLMo 2). Attention
and MLP side by side (GPT-NeoX, Falcon) count as one after the other: with tp one sum too many. num_nextn_predict_layers
says what the published weights hold; give mtp_layers: 0 for a training without multi-token prediction.
"""

import re
from pathlib import Path

from sim.models.hugging_face.config import Config, plain_names
from sim.models.hugging_face.families import FAMILIES, Family
from topologies.document import Document, Value, shorten

_MOST_NAME = 100


def is_config(document: Document) -> bool:
    """Whether a document is a config.json, and not a model file."""
    return isinstance(document.data, dict) and ("model_type" in document.data or "architectures" in document.data)


def fields(document: Document, path: Path) -> dict[str, Value]:
    """The fields of a model file for a config.json; `path` gives the name where the file does not.

    `max_seq_len` is the length before an extension of the context where the file tells it, else the longest one.
    Raises InputError for a family that is not known here, for a missing field, and for layers of other kinds.
    """
    assert isinstance(document.data, dict)
    outer = Config(document=document, section=(), data=plain_names(document.data))
    config = _text(outer)
    family = _family(config)
    read = family.read(config.over(family.defaults))
    return {"name": _name(outer, path), "source": f"{document.name} of Hugging Face", **read, **family.fields}


def _text(outer: Config) -> Config:
    """A model of several media keeps its decoder of text in a section of its own."""
    text = outer.mapping("text_config")
    if not text:
        return outer
    family = {key: outer.data.get(key) for key in ("model_type", "architectures")}
    return Config(document=outer.document, section=("text_config",), data=family | plain_names(text))


def _family(config: Config) -> Family:
    """By model_type, else by the first architecture, such as Grok1ForCausalLM; spelled with or without - and _."""
    architectures, model_type = config.data.get("architectures"), config.data.get("model_type")
    first = architectures[0] if isinstance(architectures, list) and architectures else None
    spellings = {_letters(name): family for name, family in FAMILIES.items()}
    for name in (str(model_type), re.sub("(Model)?ForCausalLM$", "", str(first))):
        if _letters(name) in spellings:
            return spellings[_letters(name)]
    raise config.error(
        "model_type",
        f"{shorten(model_type or first)} is not a family that can be read; known: {', '.join(FAMILIES)}\n"
        "or write a model file: name, num_layers, hidden, num_heads, num_kv_heads, ffn, vocab, max_seq_len",
    )


def _letters(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _name(outer: Config, path: Path) -> str:
    """What the file calls itself, else the file's name, or its folder's if it is called config.json."""
    own = outer.data.get("_name_or_path")
    said = re.split(r"[/\\]", own.rstrip("/\\"))[-1] if isinstance(own, str) else ""
    found = path.resolve().parent.name if path.stem == "config" else path.stem
    return (said or found or str(outer.data.get("model_type")))[:_MOST_NAME]
