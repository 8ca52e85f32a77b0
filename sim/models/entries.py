"""The catalogue: one file per family, each model's fields over what is common to its family, with sources.

Names and aliases begin like their family's file, so that one file is read for one name. The files are our own: a test
checks each entry as a user's file is checked, and here it is taken as it stands, without loading a validator.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sim.models.transformer import Mla, Moe, Transformer
from topologies.catalogue import quick
from topologies.document import InputError, Value, closest, shorten

_FOLDER = Path(__file__).parent / "catalogue"
_FAMILIES = (
    "llama",
    "gpt",
    "mt-nlg",
    "opt",
    "bloom",
    "mpt",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen3",
    "deepseek",
    "kimi",
    "minimax",
    "gpt-oss",
    "nemotron",
    "grok",
    "gemma",
    "phi",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model of the catalogue: where its shapes were read, the parameter counts printed there, and its other names.

    A count is None where only the model's name tells one, or none at all."""

    model: Transformer
    source: str
    published_parameters: float | None
    published_active_parameters: float | None
    aliases: tuple[str, ...]


def names() -> list[str]:
    """The names in the catalogue, by family from small to large."""
    return [name for family in _FAMILIES for name in _family(family)]


def entry(name: str) -> Entry:
    """The catalogue's entry for a name or an alias, upper or lower case.

    Raises InputError for an unknown name.
    """
    found = find(name)
    if found is None:
        raise InputError(f"{unknown(name)} (a model file ends in .yaml or .json)")
    return Entry(
        model=_transformer(found),
        source=str(found["source"]),
        published_parameters=_published(found, "published_parameters"),
        published_active_parameters=_published(found, "published_active_parameters"),
        aliases=_aliases(found),
    )


def find(name: str) -> dict[str, Value] | None:
    """The fields of a model file for a name or an alias, upper or lower case; None for an unknown name."""
    wanted = name.strip().lower()
    for family in sorted(_FAMILIES, key=lambda family: len(family) if wanted.startswith(family) else 0, reverse=True):
        for known, found in _family(family).items():
            if wanted == known or wanted in _aliases(found):
                return {"name": known, **found}
    return None


def unknown(name: str) -> str:
    """What is wrong with a name that is not in the catalogue, and the one that may be meant."""
    return f"unknown model {shorten(name)}{closest(name, _every_name()) or '; `shardsim models` lists them'}"


@functools.cache
def _family(family: str) -> dict[str, dict[str, Value]]:
    """Name -> fields, what is common to the family laid under each."""
    data = quick(_FOLDER / f"{family}.yaml").data
    assert isinstance(data, dict)
    common, models = data["common"], data["models"]
    assert isinstance(common, dict)
    assert isinstance(models, dict)
    return {name: common | found for name, found in models.items() if isinstance(found, dict)}


def _transformer(found: Mapping[str, Value]) -> Transformer:
    """Fields that are left out follow from others, as in a model file (schema.py)."""
    hidden, num_heads, moe, mla = found["hidden"], found["num_heads"], found.get("moe"), found.get("mla")
    assert isinstance(hidden, int)
    assert isinstance(num_heads, int)
    shapes = {
        "num_kv_heads": num_heads,
        "head_dim": hidden // num_heads,
        "gated_mlp": found["activation"] in ("swiglu", "geglu"),
        **{name: value for name, value in found.items() if name in Transformer.__dataclass_fields__},
        "moe": Moe(**moe) if isinstance(moe, dict) else None,  # type: ignore[arg-type]  # checked by a test
        "mla": Mla(**{"q_lora_rank": None, **mla}) if isinstance(mla, dict) else None,  # type: ignore[arg-type]
    }
    return Transformer(**shapes)  # type: ignore[arg-type]


def _published(found: Mapping[str, Value], name: str) -> float | None:
    value = found.get(name)
    return float(value) if isinstance(value, (int, float)) else None


def _aliases(found: Mapping[str, Value]) -> tuple[str, ...]:
    aliases = found.get("aliases", [])
    assert isinstance(aliases, list)
    return tuple(str(alias) for alias in aliases)


def _every_name() -> list[str]:
    families = [_family(family) for family in _FAMILIES]
    return names() + [alias for family in families for found in family.values() for alias in _aliases(found)]
