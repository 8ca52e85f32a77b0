"""What a config.json says, in one spelling, over the defaults of its family; wrong values are told with their line."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from topologies.document import Document, InputError, Value, error_at, shorten

_MOST: Final = 10_000_000  # files come from strangers, and layers are listed
_MOST_TOKENS: Final = 100_000_000
_LENGTHS: Final = ("max_position_embeddings", "sliding_window")
_OTHER_NAMES: Final = {
    "n_embd": "hidden_size",
    "n_embed": "hidden_size",
    "d_model": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_layers": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_heads": "num_attention_heads",
    "n_head_kv": "num_key_value_heads",
    "num_kv_heads": "num_key_value_heads",
    "n_inner": "intermediate_size",
    "ffn_dim": "intermediate_size",
    "ffn_hidden_size": "intermediate_size",
    "n_positions": "max_position_embeddings",
    "seq_length": "max_position_embeddings",
    "max_seq_len": "max_position_embeddings",
    "activation_function": "hidden_act",
    "hidden_activation": "hidden_act",
    "activation": "hidden_act",
    "num_local_experts": "num_experts",
    "n_routed_experts": "num_experts",
    "experts_per_token": "num_experts_per_tok",
}


def plain_names(data: Mapping[str, Value]) -> dict[str, Value]:
    """One name per thing; where a file uses several, the plain one counts."""
    others = {_OTHER_NAMES[key]: value for key, value in data.items() if key in _OTHER_NAMES}
    return others | {key: value for key, value in data.items() if key not in _OTHER_NAMES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A file, or the section of one, by plain names. Its methods raise InputError for a value of another kind."""

    document: Document
    section: tuple[str, ...]
    data: Mapping[str, Value]

    def over(self, defaults: Mapping[str, Value]) -> "Config":
        """The same with defaults for what it does not say. What it says is null stays so."""
        return replace(self, data={**defaults, **self.data})

    def number(self, key: str) -> int:
        """A whole number that must be there, and more than none."""
        value = self.optional(key)
        if value is None:
            raise self.error(key, "this field is missing; add it")
        if value == 0:
            raise self.error(key, f"should be a whole number from 1 to {_most(key):,}, got 0")
        return value

    def optional(self, key: str) -> int | None:
        """A whole number, or None where it is absent or null."""
        value = self.data.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _most(key):
            raise self.error(key, f"should be a whole number from 0 to {_most(key):,}, got {shorten(value)}")
        return value

    def flag(self, key: str) -> bool:
        """true or false; false where it is absent or null."""
        value = self.data.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.error(key, f"should be true or false, got {shorten(value)}")
        return bool(value)

    def mapping(self, key: str) -> Mapping[str, Value]:
        """A section, empty where there is none."""
        value = self.data.get(key)
        return value if isinstance(value, dict) else {}

    def error(self, key: str, message: str) -> InputError:
        """An error about a value, under the name and on the line that the file has for it."""
        spellings = (key, *(other for other, plain in _OTHER_NAMES.items() if plain == key))
        written = [(*self.section, name) for name in spellings if (*self.section, name) in self.document.lines]
        return error_at(self.document, written[0] if written else (*self.section, key), message)


def _most(key: str) -> int:
    return _MOST_TOKENS if key in _LENGTHS else _MOST
