"""Models as `shardsim models` shows them: a line each, or one with everything that is known of it."""

from dataclasses import asdict

from sim import models as catalogue
from sim.models import Entry, Moe, Transformer, active_parameters, layer_kinds, num_parameters
from sim.reports.tables import Row, Sheet
from topologies.document import InputError
from topologies.quantity import GIGA, MEGA, percent

MODEL_COLUMNS = (
    "model", "parameters", "active", "layers", "hidden", "attention", "experts", "ffn", "window", "vocab", "seq len",
)  # fmt: skip
_NOTHING = "-"
_NORMS = {"layernorm": "LayerNorm", "rmsnorm": "RMS norm"}
_ACTIVATIONS = {"gelu": "GELU", "swiglu": "SwiGLU", "geglu": "GeGLU", "relu2": "squared ReLU"}


def models() -> list[Row]:
    """A row for each model of the catalogue."""
    return [_row(catalogue.entry(name)) for name in catalogue.names()]


def model(name: str) -> Sheet:
    """The model of that name, or in that file; InputError where there is none."""
    found = catalogue.load(name)
    try:
        entry = catalogue.entry(name)
    except InputError:
        return Sheet(words=tuple(_words(found)), record=_record(found))
    return Sheet(words=(*_words(found), *_origin(entry)), record=_entry_record(entry))


def _row(entry: Entry) -> Row:
    found, moe = entry.model, entry.model.moe
    cells = (
        found.name,
        _billions(num_parameters(found)),
        _billions(active_parameters(found)) if moe else _NOTHING,
        str(found.num_layers),
        str(found.hidden),
        _attention_in_short(found),
        f"{moe.top_k} of {moe.num_experts}{_shared(moe)}" if moe else _NOTHING,
        str(moe.ffn if moe else found.ffn),
        str(found.window or _NOTHING),
        str(found.vocab),
        str(found.max_seq_len),
    )
    return Row(cells=cells, record=_entry_record(entry))


def _record(found: Transformer) -> dict[str, object]:
    fields = asdict(found)
    counts = {"parameters": num_parameters(found), "active_parameters": active_parameters(found)}
    return {"name": fields.pop("name"), **counts, **fields}


def _entry_record(entry: Entry) -> dict[str, object]:
    published = {
        "published_parameters": entry.published_parameters,
        "published_active_parameters": entry.published_active_parameters,
    }
    return {**_record(entry.model), **published, "aliases": list(entry.aliases), "source": entry.source}


def _words(found: Transformer) -> list[tuple[str, str]]:
    """Everything of the shapes, in words."""
    moe, active = found.moe, f"{_billions(active_parameters(found))} for each token, the embedding not counted"
    return [
        ("model", found.name),
        ("parameters", _billions(num_parameters(found))),
        *([("active", active)] if moe else []),
        ("layers", str(found.num_layers)),
        ("hidden", str(found.hidden)),
        ("attention", _attention(found)),
        *([("window", _window(found))] if found.window else []),
        ("MLP", f"{found.ffn} wide, {_ACTIVATIONS[found.activation]}{', gated' if found.gated_mlp else ''}"),
        *([("experts", _experts(found, moe))] if moe else []),
        ("norm", _NORMS[found.norm]),
        ("positions", f"{found.position}, trained at {found.max_seq_len} tokens"),
        ("vocabulary", f"{found.vocab}, the head {'shares' if found.tied_embedding else 'does not share'} its matrix"),
        ("biases", "all linear layers" if found.bias else "query, key, value" if found.qkv_bias else "none"),
        ("dropout", "in training" if found.dropout else "none"),
    ]


def _origin(entry: Entry) -> list[tuple[str, str]]:
    published = [] if entry.published_parameters is None else [_published(entry, entry.published_parameters)]
    aliases = [("also called", ", ".join(entry.aliases))] if entry.aliases else []
    return [*published, *aliases, ("source", entry.source)]


def _published(entry: Entry, parameters: float) -> tuple[str, str]:
    off = abs(num_parameters(entry.model) / parameters - 1)
    return "published", f"{_billions(parameters)} parameters; the shapes differ from it by {percent(off, 2)}"


def _attention_in_short(found: Transformer) -> str:
    if found.mla:
        return f"MLA {found.num_heads}"
    if found.num_kv_heads == found.num_heads:
        return f"MHA {found.num_heads}"
    return f"{'MQA' if found.num_kv_heads == 1 else 'GQA'} {found.num_heads}/{found.num_kv_heads}"


def _attention(found: Transformer) -> str:
    if found.mla is None:
        norm = ", queries and keys normed" if found.qk_norm else ""
        kinds = {1: "multi-query", found.num_heads: "multi-head"}
        kind = kinds.get(found.num_kv_heads, "grouped-query")
        heads = f"{found.num_heads} heads of {found.head_dim}, {found.num_kv_heads} for keys and values"
        return f"{kind}: {heads}{norm}"
    mla = found.mla
    query = f"queries of rank {mla.q_lora_rank}" if mla.q_lora_rank else "queries straight from the hidden state"
    head = f"a head {mla.nope_head_dim} + {mla.rope_head_dim} rotary wide, its value {mla.v_head_dim}"
    return f"multi-head latent: {found.num_heads} heads, keys and values of rank {mla.kv_lora_rank}, {query}; {head}"


def _window(found: Transformer) -> str:
    windowed = sum(kind.window is not None for kind in layer_kinds(found))
    return f"{found.window} tokens on {windowed} of {found.num_layers} layers"


def _experts(found: Transformer, moe: Moe) -> str:
    layers = sum(kind.has_experts for kind in layer_kinds(found))
    shared = f", and {moe.shared_ffn} wide that all tokens meet" if moe.shared_ffn else ""
    where = "all layers" if layers == found.num_layers else f"{layers} of {found.num_layers} layers"
    return f"{moe.top_k} of {moe.num_experts} for each token, {moe.ffn} wide{shared}; on {where}"


def _shared(moe: Moe) -> str:
    return f" + {moe.shared_ffn / moe.ffn:g}" if moe.shared_ffn else ""


def _billions(count: float) -> str:
    return f"{count / GIGA:.1f} B" if count >= GIGA else f"{count / MEGA:.3g} M"
