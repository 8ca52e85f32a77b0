"""The ways in which a config.json is read: as Llama, GPT, Mixtral or DeepSeek, and what little is unlike these."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sim.models.hugging_face.config import Config
from topologies.document import Value, shorten

Fields = dict[str, Value]

_GATED: Final = {"silu": "swiglu", "swish": "swiglu"} | dict.fromkeys(
    ("gelu", "gelu_new", "gelu_pytorch_tanh"), "geglu"
)
_PLAIN: Final = dict.fromkeys(("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu"), "gelu") | {
    "relu2": "relu2"
}
_DROPOUTS: Final = ("resid_pdrop", "hidden_dropout", "dropout", "residual_dropout")


def _shapes(config: Config) -> Fields:
    """What every decoder has."""
    return {
        "num_layers": config.number("num_hidden_layers"),
        "hidden": config.number("hidden_size"),
        "num_heads": config.number("num_attention_heads"),
        "num_kv_heads": config.optional("num_key_value_heads"),
        "head_dim": config.optional("head_dim"),
        "vocab": config.number("vocab_size"),
        "max_seq_len": _trained_length(config),
        "longest_context": _longest_context(config),
        "tied_embedding": config.flag("tie_word_embeddings"),
        "dropout": any(config.data.get(key) for key in _DROPOUTS),
    }


def _trained_length(config: Config) -> int:
    """Before YaRN or the like stretched it, if the file says so."""
    for scaling in (config.mapping("rope_scaling"), config.mapping("rope_parameters"), config.data):
        before = scaling.get("original_max_position_embeddings")
        if isinstance(before, int) and before > 0:
            return before
    return config.optional("initial_context_length") or config.number("max_position_embeddings")


def _longest_context(config: Config) -> int | None:
    """Where it is not that of pre-training."""
    longest = config.optional("max_position_embeddings")
    return longest if longest and longest > _trained_length(config) else None


def _activation(config: Config, known: Mapping[str, str]) -> str:
    name = config.data.get("hidden_act") or next(iter(known))
    if not isinstance(name, str) or name not in known:
        raise config.error("hidden_act", f"{shorten(name)} is not known here; known: {', '.join(known)}")
    return known[name]


def gated(config: Config) -> Fields:
    """As Llama: RMS norm, rotary positions, a gate in the MLP."""
    bias, qkv_bias = config.flag("mlp_bias"), config.flag("attention_bias")
    kind: Fields = {"activation": _activation(config, _GATED), "bias": bias, "qkv_bias": qkv_bias}
    return {**_shapes(config), "ffn": config.number("intermediate_size"), **kind}


def plain(config: Config) -> Fields:
    """As GPT: LayerNorm, two matrices in the MLP, which is four times as wide as the hidden state unless said."""
    hidden = config.number("hidden_size")
    if config.data.get("word_embed_proj_dim", hidden) != hidden:
        raise config.error("word_embed_proj_dim", f"should be hidden_size={hidden}; another width is not supported yet")
    ffn = config.optional("intermediate_size") or 4 * hidden
    return {**_shapes(config), "ffn": ffn, "activation": _activation(config, _PLAIN), "norm": "layernorm"}


def windowed(read: Callable[[Config], Fields]) -> Callable[[Config], Fields]:
    """Read so, with sliding windows."""
    return lambda config: read(config) | _window(config, "sliding_window")


def _window(config: Config, key: str) -> Fields:
    """The window, and how often a layer has none; `use_sliding_window` may turn it off."""
    span, full = config.optional(key), _full_layers(config)
    if not span or config.data.get("use_sliding_window") is False or all(full):
        return {}
    every = full.index(True) + 1 if any(full) else 0
    if every and any(is_full != ((layer + 1) % every == 0) for layer, is_full in enumerate(full)):
        raise config.error("layer_types", "windows on layers other than all but every n-th are not supported yet")
    return {"window": span, "full_every": every}


def _full_layers(config: Config) -> Sequence[bool]:
    """Which layers have no window: as listed, else every n-th (sliding_window_pattern), else the first ones."""
    num_layers, kinds = config.number("num_hidden_layers"), config.data.get("layer_types")
    if isinstance(kinds, list) and kinds:
        return [_is_full(config, kind) for kind in kinds[:num_layers]]
    pattern = config.optional("sliding_window_pattern")
    if pattern:
        return [(layer + 1) % pattern == 0 for layer in range(num_layers)]
    num_first = config.optional("max_window_layers") or 0 if config.flag("use_sliding_window") else 0
    return [layer < num_first for layer in range(num_layers)]


def _is_full(config: Config, kind: Value) -> bool:
    if kind not in ("full_attention", "sliding_attention", "chunked_attention"):
        raise config.error("layer_types", f"{shorten(kind)} is not supported yet")
    return kind == "full_attention"


def experts(config: Config) -> Fields:
    """As Mixtral, or with experts of their own width, shared experts and dense layers, as in DeepSeek and Qwen."""
    if config.optional("moe_layer_freq") not in (None, 1):
        raise config.error("moe_layer_freq", "experts in only some of the layers are not supported yet")
    width = config.optional("moe_intermediate_size") or config.number("intermediate_size")
    moe: Fields = {
        "num_experts": config.number("num_experts"),
        "top_k": config.number("num_experts_per_tok"),
        "ffn": width,
        "shared_ffn": _shared_width(config, width),
        "num_dense_layers": config.optional("first_k_dense_replace") or _num_dense_layers(config),
        "every": config.optional("decoder_sparse_step") or 1,
        "num_groups": config.optional("n_group") or 1,
        "top_groups": config.optional("topk_group") or 1,
    }
    is_dense_somewhere = moe["num_dense_layers"] or moe["every"] != 1
    further: Fields = {"moe": moe, "qk_norm": config.flag("use_qk_norm"), "mtp_layers": _mtp_layers(config)}
    fields = gated(config.over({"intermediate_size": width})) | further
    return fields if is_dense_somewhere else fields | {"ffn": width}


def _mtp_layers(config: Config) -> int:
    """Layers that predict tokens after the next: those of the published weights, whether they are trained on or not."""
    return config.optional("num_nextn_predict_layers") or 0


def _shared_width(config: Config, width: int) -> int:
    """Of all shared experts together. Grok-2 has a dense MLP beside its experts (residual_moe)."""
    if config.flag("residual_moe"):
        return config.number("intermediate_size")
    together = config.optional("shared_expert_intermediate_size")
    return (config.optional("n_shared_experts") or 0) * width if together is None else together


def _num_dense_layers(config: Config) -> int:
    listed = config.data.get("mlp_only_layers") or []
    if not isinstance(listed, list) or listed != list(range(len(listed))):
        raise config.error("mlp_only_layers", "dense layers other than the first ones are not supported yet")
    if listed and config.optional("decoder_sparse_step") not in (None, 1):
        raise config.error("mlp_only_layers", "dense layers together with decoder_sparse_step are not supported yet")
    return len(listed)


def latent(config: Config) -> Fields:
    """As DeepSeek: latent attention; experts unless it has none."""
    mla: Fields = {
        "q_lora_rank": config.optional("q_lora_rank"),
        "kv_lora_rank": config.number("kv_lora_rank"),
        "nope_head_dim": config.number("qk_nope_head_dim"),
        "rope_head_dim": config.number("qk_rope_head_dim"),
        "v_head_dim": config.number("v_head_dim"),
    }
    read = gated(config) if config.data.get("num_experts") is None else experts(config)
    return read | {"mla": mla, "num_kv_heads": None, "head_dim": None, "qkv_bias": False}


def llama4(config: Config) -> Fields:
    """Experts and the shared one are intermediate_size wide. Attention within chunks is taken as a window: exact for
    sequences of at most a chunk, too much beyond."""
    width, every = config.number("intermediate_size"), config.optional("interleave_moe_layer_step") or 1
    moe: Fields = {
        "num_experts": config.number("num_experts"),
        "top_k": config.number("num_experts_per_tok"),
        "ffn": width,
        "shared_ffn": width,
        "every": every,
    }
    ffn = width if every == 1 else config.number("intermediate_size_mlp")
    return {**gated(config), **_window(config, "attention_chunk_size"), "ffn": ffn, "moe": moe}


def mpt(config: Config) -> Fields:
    """Widths in multiples of the hidden state, and a section for attention."""
    attention, ratio = config.over({"attn_config": {}}).mapping("attn_config"), config.optional("expansion_ratio") or 4
    if "glu" in str(config.mapping("ffn_config").get("ffn_type")):
        raise config.error("ffn_config", "a gated MLP in an MPT is not supported yet")
    learned = "learned" if config.flag("learned_pos_emb") else "rotary"
    return plain(config.over({"intermediate_size": ratio * config.number("hidden_size")})) | {
        "num_kv_heads": 1 if attention.get("attn_type") == "multiquery_attention" else attention.get("kv_n_heads"),
        "position": "alibi" if attention.get("alibi", True) else learned,
        "bias": not config.flag("no_bias"),
    }


def few_keys(config: Config) -> Fields:
    """As GPT, with one key and value head (multi_query) or, in the newer Falcons, with as many as said."""
    said = config.optional("num_key_value_heads") if config.flag("new_decoder_architecture") else None
    kv_heads = 1 if said is None and config.flag("multi_query") else said
    return plain(config) | {"num_kv_heads": kv_heads}


def falcon(config: Config) -> Fields:
    """As GPT, with few key heads, and rotary positions unless it has ALiBi."""
    position = "alibi" if config.flag("alibi") else "rotary"
    return few_keys(config) | {"position": position, "bias": config.flag("bias")}
