"""The families whose config.json is read: how, with which defaults, and what all their models share.

Defaults are those of the configuration classes of transformers 5: what real files leave out, and not the shapes that
every file gives.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sim.models.hugging_face.config import Config
from sim.models.hugging_face.readers import experts, falcon, few_keys, gated, latent, llama4, mpt, plain, windowed
from topologies.document import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How its files are read, what holds where they say nothing, and the fields of a model file that are always so."""

    read: Callable[[Config], dict[str, Value]]
    defaults: Mapping[str, Value] = field(default_factory=dict)
    fields: Mapping[str, Value] = field(default_factory=dict)


_TIED: Final[Mapping[str, Value]] = {"tie_word_embeddings": True}
_GEMMA: Final[Mapping[str, Value]] = {"hidden_act": "gelu_pytorch_tanh", "head_dim": 256, **_TIED}
_QWEN_WINDOW: Final[Mapping[str, Value]] = {"use_sliding_window": False, "max_window_layers": 28}
_GPT: Final[Mapping[str, Value]] = {"position": "learned", "bias": True}
_DEEPSEEK: Final[Mapping[str, Value]] = {
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
}
_DEEPSEEK_V3: Final[Mapping[str, Value]] = {**_DEEPSEEK, "n_shared_experts": 1, "first_k_dense_replace": 3}

FAMILIES: Final[Mapping[str, Family]] = {
    "llama": Family(read=gated),
    "mistral": Family(read=windowed(gated), defaults={"num_key_value_heads": 8, "sliding_window": 4096}),
    "mixtral": Family(read=windowed(experts), defaults={"num_key_value_heads": 8}),
    "qwen2": Family(read=windowed(gated), defaults=_QWEN_WINDOW, fields={"qkv_bias": True}),
    "qwen2_moe": Family(read=windowed(experts), defaults={**_QWEN_WINDOW, "attention_bias": True}),
    "qwen3": Family(read=windowed(gated), defaults={**_QWEN_WINDOW, "head_dim": 128}, fields={"qk_norm": True}),
    "qwen3_moe": Family(read=windowed(experts), defaults=_QWEN_WINDOW, fields={"qk_norm": True}),
    "deepseek_v2": Family(read=latent, defaults={**_DEEPSEEK, "n_shared_experts": 2}),
    "deepseek_v3": Family(read=latent, defaults={**_DEEPSEEK_V3, "n_group": 8, "topk_group": 4}),
    "kimi_k2": Family(read=latent, defaults=_DEEPSEEK_V3),
    "gpt_oss": Family(
        read=windowed(experts),
        defaults={"num_key_value_heads": 8, "head_dim": 64, "sliding_window": 128, "sliding_window_pattern": 2},
        fields={"bias": True, "qkv_bias": False},
    ),
    "grok-1": Family(read=experts, defaults={"hidden_act": "gelu", **_TIED}),
    "nemotron": Family(read=plain, defaults={"hidden_act": "relu2"}),
    "mpt": Family(read=mpt, defaults={"learned_pos_emb": True, "no_bias": True, **_TIED}),
    "gpt2": Family(read=plain, defaults={"resid_pdrop": 0.1, **_TIED}, fields=_GPT),
    "gpt_bigcode": Family(read=few_keys, defaults={"resid_pdrop": 0.1, "multi_query": True, **_TIED}, fields=_GPT),
    "gpt_neox": Family(read=plain, fields={"bias": True}),
    "opt": Family(read=plain, defaults={"hidden_act": "relu", "dropout": 0.1, **_TIED}, fields=_GPT),
    "bloom": Family(
        read=plain,
        defaults={"max_position_embeddings": 2048, **_TIED},
        fields={"position": "alibi", "bias": True},
    ),
    "falcon": Family(read=falcon, defaults={"max_position_embeddings": 2048, "multi_query": True, **_TIED}),
    "starcoder2": Family(read=windowed(plain), defaults={"num_key_value_heads": 2, **_TIED}, fields={"bias": True}),
    "gemma": Family(read=gated, defaults=_GEMMA),
    "gemma2": Family(
        read=windowed(gated),
        defaults={**_GEMMA, "num_key_value_heads": 4, "sliding_window": 4096, "sliding_window_pattern": 2},
    ),
    "gemma3_text": Family(
        read=windowed(gated),
        defaults={
            **_GEMMA,
            "vocab_size": 262208,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "max_position_embeddings": 131072,
            "sliding_window": 4096,
            "sliding_window_pattern": 6,
        },
        fields={"qk_norm": True},
    ),
    "phi3": Family(read=windowed(gated)),
    "granite": Family(read=gated),
    "olmo2": Family(read=gated, fields={"qk_norm": True}),
    "olmoe": Family(read=experts, fields={"qk_norm": True}),
    "glm4": Family(read=gated, defaults={"num_key_value_heads": 2, "head_dim": 128, "attention_bias": True}),
    "glm4_moe": Family(
        read=experts, defaults={"num_key_value_heads": 8, "n_shared_experts": 1, "first_k_dense_replace": 1}
    ),
    "minimax_m2": Family(read=experts, defaults={"num_key_value_heads": 8, "head_dim": 128}, fields={"qk_norm": True}),
    "llama4_text": Family(
        read=llama4,
        defaults={"num_key_value_heads": 8, "attention_chunk_size": 8192, "sliding_window_pattern": 4},
    ),
}
