"""config.json files as they lie beside released checkpoints, cut to the keys that say something of shapes.

Counts are those of the checkpoints, or of transformers' own classes built from the same values.
"""

import json
from pathlib import Path

import pytest

from sim import models
from sim.models.hugging_face.families import FAMILIES
from topologies.document import InputError, Value

LLAMA31_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rope_scaling": {"factor": 8.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}
DEEPSEEK_V3 = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "attention_bias": False,
    "ep_size": 1,
    "first_k_dense_replace": 3,
    "hidden_act": "silu",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "kv_lora_rank": 512,
    "max_position_embeddings": 163840,
    "model_type": "deepseek_v3",
    "moe_intermediate_size": 2048,
    "moe_layer_freq": 1,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_attention_heads": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 61,
    "num_key_value_heads": 128,
    "num_nextn_predict_layers": 1,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "quantization_config": {"fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]},
    "rope_scaling": {"factor": 40, "original_max_position_embeddings": 4096, "type": "yarn"},
    "tie_word_embeddings": False,
    "v_head_dim": 128,
    "vocab_size": 129280,
}
KIMI_K2 = DEEPSEEK_V3 | {
    "model_type": "kimi_k2",
    "first_k_dense_replace": 1,
    "max_position_embeddings": 131072,
    "n_routed_experts": 384,
    "num_attention_heads": 64,
    "num_key_value_heads": 64,
    "num_nextn_predict_layers": 0,
    "vocab_size": 163840,
}
DEEPSEEK_V2_LITE = {
    "architectures": ["DeepseekV2ForCausalLM"],
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "kv_lora_rank": 512,
    "max_position_embeddings": 163840,
    "model_type": "deepseek_v2",
    "moe_intermediate_size": 1408,
    "moe_layer_freq": 1,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_attention_heads": 16,
    "num_experts_per_tok": 6,
    "num_hidden_layers": 27,
    "num_key_value_heads": 16,
    "q_lora_rank": None,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "rope_scaling": {"factor": 40, "original_max_position_embeddings": 4096, "type": "yarn"},
    "tie_word_embeddings": False,
    "v_head_dim": 128,
    "vocab_size": 102400,
}
MISTRAL_7B = {
    "model_type": "mistral",
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
    "vocab_size": 32000,
}
MIXTRAL_8X7B = MISTRAL_7B | {
    "model_type": "mixtral",
    "num_experts_per_tok": 2,
    "num_local_experts": 8,
    "sliding_window": None,
}
MIXTRAL_8X22B = MIXTRAL_8X7B | {
    "hidden_size": 6144,
    "intermediate_size": 16384,
    "max_position_embeddings": 65536,
    "num_attention_heads": 48,
    "num_hidden_layers": 56,
}
QWEN25_7B = {
    "model_type": "qwen2",
    "hidden_act": "silu",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "max_position_embeddings": 131072,
    "max_window_layers": 28,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "sliding_window": 131072,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 152064,
}
QWEN15_MOE = {
    "model_type": "qwen2_moe",
    "decoder_sparse_step": 1,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "max_position_embeddings": 8192,
    "moe_intermediate_size": 1408,
    "num_attention_heads": 16,
    "num_experts": 60,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 24,
    "num_key_value_heads": 16,
    "shared_expert_intermediate_size": 5632,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
QWEN3_32B = {
    "model_type": "qwen3",
    "attention_bias": False,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 5120,
    "intermediate_size": 25600,
    "max_position_embeddings": 40960,
    "max_window_layers": 64,
    "num_attention_heads": 64,
    "num_hidden_layers": 64,
    "num_key_value_heads": 8,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
QWEN3_235B = {
    "model_type": "qwen3_moe",
    "attention_bias": False,
    "decoder_sparse_step": 1,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "max_position_embeddings": 40960,
    "mlp_only_layers": [],
    "moe_intermediate_size": 1536,
    "num_attention_heads": 64,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 94,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
    "vocab_size": 151936,
}
GPT_OSS_20B = {
    "model_type": "gpt_oss",
    "attention_bias": True,
    "experts_per_token": 4,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 2880,
    "initial_context_length": 4096,
    "intermediate_size": 2880,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "max_position_embeddings": 131072,
    "num_attention_heads": 64,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 24,
    "num_key_value_heads": 8,
    "num_local_experts": 32,
    "rope_scaling": {"factor": 32.0, "original_max_position_embeddings": 4096, "rope_type": "yarn"},
    "sliding_window": 128,
    "tie_word_embeddings": False,
    "vocab_size": 201088,
}
NEMOTRON4_340B = {
    "model_type": "nemotron",
    "attention_bias": False,
    "head_dim": 192,
    "hidden_act": "relu2",
    "hidden_size": 18432,
    "intermediate_size": 73728,
    "max_position_embeddings": 4096,
    "mlp_bias": False,
    "num_attention_heads": 96,
    "num_hidden_layers": 96,
    "num_key_value_heads": 8,
    "partial_rotary_factor": 0.5,
    "tie_word_embeddings": False,
    "vocab_size": 256000,
}
GROK_1 = {
    "architectures": ["Grok1ModelForCausalLM"],
    "model_type": "grok-1",
    "hidden_size": 6144,
    "intermediate_size": 32768,
    "max_position_embeddings": 8192,
    "num_attention_heads": 48,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 64,
    "num_key_value_heads": 8,
    "vocab_size": 131072,
}
MPT_7B = {
    "architectures": ["MPTForCausalLM"],
    "attn_config": {"alibi": True, "attn_impl": "torch", "attn_type": "multihead_attention", "qk_ln": False},
    "d_model": 4096,
    "expansion_ratio": 4,
    "learned_pos_emb": True,
    "max_seq_len": 2048,
    "model_type": "mpt",
    "n_heads": 32,
    "n_layers": 32,
    "no_bias": True,
    "norm_type": "low_precision_layernorm",
    "vocab_size": 50432,
}
GPT2_XL = {
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "n_ctx": 1024,
    "n_embd": 1600,
    "n_head": 25,
    "n_layer": 48,
    "n_positions": 1024,
    "resid_pdrop": 0.1,
    "vocab_size": 50257,
}
STARCODER = {
    "model_type": "gpt_bigcode",
    "activation_function": "gelu",
    "multi_query": True,
    "n_embd": 6144,
    "n_head": 48,
    "n_inner": 24576,
    "n_layer": 40,
    "n_positions": 8192,
    "vocab_size": 49152,
}
GPT_NEOX_20B = {
    "model_type": "gpt_neox",
    "hidden_act": "gelu_fast",
    "hidden_size": 6144,
    "intermediate_size": 24576,
    "max_position_embeddings": 2048,
    "num_attention_heads": 64,
    "num_hidden_layers": 44,
    "rotary_pct": 0.25,
    "tie_word_embeddings": False,
    "vocab_size": 50432,
}
OPT_66B = {
    "model_type": "opt",
    "activation_function": "relu",
    "do_layer_norm_before": True,
    "dropout": 0.1,
    "ffn_dim": 36864,
    "hidden_size": 9216,
    "max_position_embeddings": 2048,
    "num_attention_heads": 72,
    "num_hidden_layers": 64,
    "vocab_size": 50272,
    "word_embed_proj_dim": 9216,
}
BLOOM = {
    "model_type": "bloom",
    "hidden_dropout": 0.0,
    "n_embed": 14336,
    "n_layer": 70,
    "num_attention_heads": 112,
    "seq_length": 2048,
    "vocab_size": 250880,
}
FALCON_7B = {
    "model_type": "falcon",
    "alibi": False,
    "bias": False,
    "hidden_size": 4544,
    "multi_query": True,
    "new_decoder_architecture": False,
    "num_attention_heads": 71,
    "num_hidden_layers": 32,
    "parallel_attn": True,
    "vocab_size": 65024,
}
FALCON_40B = FALCON_7B | {
    "hidden_size": 8192,
    "new_decoder_architecture": True,
    "num_attention_heads": 128,
    "num_hidden_layers": 60,
    "num_kv_heads": 8,
}
STARCODER2_15B = {
    "model_type": "starcoder2",
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_size": 6144,
    "intermediate_size": 24576,
    "max_position_embeddings": 16384,
    "num_attention_heads": 48,
    "num_hidden_layers": 40,
    "num_key_value_heads": 4,
    "sliding_window": 4096,
    "use_bias": True,
    "vocab_size": 49152,
}
GEMMA_7B = {
    "model_type": "gemma",
    "head_dim": 256,
    "hidden_act": "gelu",
    "hidden_activation": None,
    "hidden_size": 3072,
    "intermediate_size": 24576,
    "max_position_embeddings": 8192,
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 16,
    "vocab_size": 256000,
}
GEMMA2_9B = {
    "model_type": "gemma2",
    "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 3584,
    "intermediate_size": 14336,
    "max_position_embeddings": 8192,
    "num_attention_heads": 16,
    "num_hidden_layers": 42,
    "num_key_value_heads": 8,
    "sliding_window": 4096,
    "vocab_size": 256000,
}
GEMMA3_4B = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "text_config": {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    },
    "vision_config": {"hidden_size": 1152, "model_type": "siglip_vision_model"},
}
PHI3_MINI = {
    "model_type": "phi3",
    "hidden_act": "silu",
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "max_position_embeddings": 4096,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "original_max_position_embeddings": 4096,
    "resid_pdrop": 0.0,
    "sliding_window": 2047,
    "tie_word_embeddings": False,
    "vocab_size": 32064,
}
GRANITE_8B = {
    "model_type": "granite",
    "attention_bias": False,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 12800,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "num_attention_heads": 32,
    "num_hidden_layers": 40,
    "num_key_value_heads": 8,
    "tie_word_embeddings": True,
    "vocab_size": 49155,
}
OLMO2_7B = {
    "model_type": "olmo2",
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "max_position_embeddings": 4096,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "tie_word_embeddings": False,
    "vocab_size": 100352,
}
OLMOE = OLMO2_7B | {
    "model_type": "olmoe",
    "hidden_size": 2048,
    "intermediate_size": 1024,
    "num_attention_heads": 16,
    "num_experts": 64,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 16,
    "num_key_value_heads": 16,
    "vocab_size": 50304,
}
GLM4_9B = {
    "model_type": "glm4",
    "attention_bias": True,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 13696,
    "max_position_embeddings": 32768,
    "num_attention_heads": 32,
    "num_hidden_layers": 40,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
    "vocab_size": 151552,
}
GLM45_AIR = {
    "architectures": ["Glm4MoeForCausalLM"],
    "attention_bias": True,
    "first_k_dense_replace": 1,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 10944,
    "max_position_embeddings": 131072,
    "model_type": "glm4_moe",
    "moe_intermediate_size": 1408,
    "n_routed_experts": 128,
    "n_shared_experts": 1,
    "num_attention_heads": 96,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 46,
    "num_key_value_heads": 8,
    "num_nextn_predict_layers": 1,
    "tie_word_embeddings": False,
    "use_qk_norm": False,
    "vocab_size": 151552,
}
MINIMAX_M2 = {
    "architectures": ["MiniMaxM2ForCausalLM"],
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 3072,
    "intermediate_size": 1536,
    "max_position_embeddings": 196608,
    "model_type": "minimax",
    "num_attention_heads": 48,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 62,
    "num_key_value_heads": 8,
    "num_local_experts": 256,
    "tie_word_embeddings": False,
    "use_qk_norm": True,
    "vocab_size": 200064,
}
LLAMA4_MAVERICK = {
    "architectures": ["Llama4ForConditionalGeneration"],
    "model_type": "llama4",
    "text_config": {
        "attention_chunk_size": 8192,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 5120,
        "interleave_moe_layer_step": 2,
        "intermediate_size": 8192,
        "intermediate_size_mlp": 16384,
        "max_position_embeddings": 1048576,
        "model_type": "llama4_text",
        "num_attention_heads": 40,
        "num_experts_per_tok": 1,
        "num_hidden_layers": 48,
        "num_key_value_heads": 8,
        "num_local_experts": 128,
        "tie_word_embeddings": False,
        "use_qk_norm": False,
        "vocab_size": 202048,
    },
}
COUNTED: tuple[tuple[str, dict[str, object], int], ...] = (
    ("Llama-3.1-8B", LLAMA31_8B, 8_030_261_248),
    ("DeepSeek-V3", DEEPSEEK_V3, 671_026_404_352),
    ("Kimi-K2", KIMI_K2, 1_026_408_209_408),
    ("DeepSeek-V2-Lite", DEEPSEEK_V2_LITE, 15_706_484_224),
    ("Mistral-7B", MISTRAL_7B, 7_241_732_096),
    ("Mixtral-8x7B", MIXTRAL_8X7B, 46_702_792_704),
    ("Mixtral-8x22B", MIXTRAL_8X22B, 140_620_634_112),
    ("Qwen2.5-7B", QWEN25_7B, 7_615_616_512),
    ("Qwen1.5-MoE-A2.7B", QWEN15_MOE, 14_315_784_192),
    ("Qwen3-32B", QWEN3_32B, 32_762_123_264),
    ("Qwen3-235B-A22B", QWEN3_235B, 235_093_634_560),
    ("gpt-oss-20b", GPT_OSS_20B, 20_914_757_184),
    ("Nemotron-4-340B", NEMOTRON4_340B, 341_029_195_776),
    ("grok-1", GROK_1, 315_684_820_992),
    ("mpt-7b", MPT_7B, 6_649_286_656),
    ("gpt2-xl", GPT2_XL, 1_557_611_200),
    ("starcoder", STARCODER, 15_517_456_384),
    ("gpt-neox-20b", GPT_NEOX_20B, 20_554_567_680),
    ("opt-66b", OPT_66B, 65_719_701_504),
    ("bloom", BLOOM, 176_247_271_424),
    ("falcon-7b", FALCON_7B, 6_921_720_704),
    ("falcon-40b", FALCON_40B, 41_303_293_952),
    ("starcoder2-15b", STARCODER2_15B, 15_655_899_136),
    ("gemma-7b", GEMMA_7B, 8_537_680_896),
    ("gemma-2-9b", GEMMA2_9B, 9_241_705_984),
    ("gemma-3-4b", GEMMA3_4B, 3_880_263_168),
    ("Phi-3-mini-4k", PHI3_MINI, 3_821_079_552),
    ("granite-3.1-8b", GRANITE_8B, 8_170_848_256),
    ("OLMo-2-7B", OLMO2_7B, 7_298_617_344),
    ("OLMoE-1B-7B", OLMOE, 6_919_161_856),
    ("GLM-4-9B", GLM4_9B, 9_400_279_040),
    ("GLM-4.5-Air", GLM45_AIR, 106_852_245_504),
    ("MiniMax-M2", MINIMAX_M2, 228_689_748_992),
    ("Llama-4-Maverick", LLAMA4_MAVERICK, 400_711_848_960),
)
IN_CATALOGUE = {
    "Llama-3.1-8B": "llama3-8b",
    "DeepSeek-V3": "deepseek-v3",
    "Kimi-K2": "kimi-k2",
    "DeepSeek-V2-Lite": "deepseek-v2-lite",
    "Mixtral-8x22B": "mixtral-8x22b",
    "gpt-oss-20b": "gpt-oss-20b",
    "Nemotron-4-340B": "nemotron4-340b",
    "grok-1": "grok1-314b",
    "bloom": "bloom-176b",
    "opt-66b": "opt-66b",
    "gemma-7b": "gemma-7b",
    "Phi-3-mini-4k": "phi-3-mini",
}


def written(folder: Path, config: dict[str, object], name: str = "config.json") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(config, indent=2))
    return path


@pytest.mark.parametrize(("name", "config", "count"), COUNTED, ids=[name for name, _, _ in COUNTED])
def test_parameters_are_those_of_the_checkpoint(
    tmp_path: Path, name: str, config: dict[str, object], count: int
) -> None:
    """To 0.005 %: norms after a block, sinks, norms of whole queries are left out, a bias of MPT's norm is too much."""
    model = models.load(written(tmp_path / name, config))
    assert models.num_parameters(model) == pytest.approx(count, rel=5e-5)
    assert model.name == name


@pytest.mark.parametrize(("name", "entry"), IN_CATALOGUE.items())
def test_the_file_is_the_catalogues_model(tmp_path: Path, name: str, entry: str) -> None:
    """All shapes, the length of pre-training too."""
    config = next(config for found, config, _ in COUNTED if found == name)
    assert models.load(written(tmp_path / entry, config)) == models.load(entry)


def test_every_family_is_tried() -> None:
    tried = {str(config.get("text_config", config)["model_type"]) for _, config, _ in COUNTED}  # type: ignore[index]
    assert set(FAMILIES) - tried == {"minimax_m2"}  # which is found by its architecture


@pytest.mark.parametrize(
    ("config", "window", "full_every"),
    [
        (MISTRAL_7B, 4096, 0),
        (MISTRAL_7B | {"sliding_window": None}, None, 0),
        (GEMMA2_9B, 4096, 2),
        (GEMMA3_4B, 1024, 6),
        (GPT_OSS_20B, 128, 2),
        (QWEN25_7B, None, 0),
        (QWEN25_7B | {"use_sliding_window": True}, None, 0),
        (QWEN25_7B | {"use_sliding_window": True, "max_window_layers": 0, "sliding_window": 4096}, 4096, 0),
        (LLAMA31_8B | {"sliding_window": 4096}, None, 0),
    ],
)
def test_windows_are_on_the_layers_that_have_them(
    tmp_path: Path, config: dict[str, object], window: int | None, full_every: int
) -> None:
    model = models.load(written(tmp_path, config))
    assert (model.window, model.full_every) == (window, full_every)


def test_what_is_left_out_has_the_default_of_its_class(tmp_path: Path) -> None:
    """Llama has as many key heads as query heads, Mistral eight; Gemma ties its head, Llama does not."""
    llama = {key: value for key, value in LLAMA31_8B.items() if key not in ("num_key_value_heads", "hidden_act")}
    mistral = {key: value for key, value in MISTRAL_7B.items() if key not in ("num_key_value_heads", "sliding_window")}
    model = models.load(written(tmp_path, llama))
    assert (model.num_kv_heads, model.tied_embedding, model.activation) == (32, False, "swiglu")
    assert models.load(written(tmp_path, mistral)) == models.load(written(tmp_path, MISTRAL_7B))
    assert models.load(written(tmp_path, GEMMA_7B)).tied_embedding


def test_biases_are_where_the_file_says(tmp_path: Path) -> None:
    for config, expected in (
        (LLAMA31_8B | {"attention_bias": True}, (False, True)),
        (LLAMA31_8B | {"mlp_bias": True}, (True, False)),
        (QWEN25_7B, (False, True)),
        (MPT_7B, (False, False)),
        (MPT_7B | {"no_bias": False}, (True, False)),
        (GPT2_XL, (True, False)),
    ):
        model = models.load(written(tmp_path, config))
        assert (model.bias, model.qkv_bias) == expected


def test_the_name_is_the_files_own_or_that_of_file_or_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my-llama"
    assert models.load(written(folder, LLAMA31_8B)).name == "my-llama"
    assert models.load(written(folder, LLAMA31_8B, "other.json")).name == "other"
    named = LLAMA31_8B | {"_name_or_path": "meta-llama/Llama-3.1-8B"}
    assert models.load(written(folder, named)).name == "Llama-3.1-8B"


def test_fields_are_laid_over_a_config_too(tmp_path: Path) -> None:
    path = written(tmp_path, DEEPSEEK_V3)
    model = models.load({"name": str(path), "num_layers": 8, "moe": {"num_experts": 64}})
    assert model.moe is not None
    assert (model.num_layers, model.moe.num_experts, model.moe.top_k) == (8, 64, 8)


def without(config: dict[str, object], key: str) -> dict[str, object]:
    return {name: value for name, value in config.items() if name != key}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (without(LLAMA31_8B, "hidden_size"), r"config\.json: hidden_size: this field is missing"),
        (without(DEEPSEEK_V3, "num_experts_per_tok"), r"config\.json: num_experts_per_tok: this field is missing"),
        (LLAMA31_8B | {"hidden_size": "big"}, r"config\.json:7: hidden_size: should be a whole number.*got 'big'"),
        (GPT2_XL | {"n_embd": -1}, r"config\.json:5: n_embd: should be a whole number from 0 to 10,000,000, got -1"),
        (
            MISTRAL_7B | {"num_hidden_layers": 10**30},
            "num_hidden_layers: should be a whole number from 0 to 10,000,000",
        ),
        (LLAMA31_8B | {"hidden_size": 0}, r"config\.json:7: hidden_size: should be a whole number from 1 to .*got 0"),
        (LLAMA31_8B | {"tie_word_embeddings": 1}, "tie_word_embeddings: should be true or false, got 1"),
        (LLAMA31_8B | {"hidden_act": "mish"}, "hidden_act: 'mish' is not known here; known: silu"),
        ({"model_type": "mamba2"}, "model_type: 'mamba2' is not a family that can be read; known: llama, mistral"),
        ({"model_type": "mamba2"}, "write a model file: name, num_layers, hidden"),
        ({"architectures": ["RwkvForCausalLM"]}, "'RwkvForCausalLM' is not a family that can be read"),
        (QWEN3_235B | {"mlp_only_layers": [3]}, "mlp_only_layers: dense layers other than the first"),
        (DEEPSEEK_V3 | {"moe_layer_freq": 2}, "moe_layer_freq: experts in only some of the layers"),
        (QWEN25_7B | {"use_sliding_window": True, "max_window_layers": 9}, "layer_types: windows on layers other than"),
        (GPT_OSS_20B | {"layer_types": ["linear_attention"] * 24}, "'linear_attention' is not supported yet"),
        (OPT_66B | {"word_embed_proj_dim": 512}, "another width is not supported yet"),
        (MPT_7B | {"ffn_config": {"ffn_type": "mptglu"}}, "a gated MLP in an MPT is not supported yet"),
    ],
)
def test_what_cannot_be_read_is_said_with_the_field(tmp_path: Path, config: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        models.load(written(tmp_path, config))


def test_a_number_in_a_section_is_named_with_it(tmp_path: Path) -> None:
    text: dict[str, Value] = {"model_type": "gemma3_text", "hidden_size": 2560}
    with pytest.raises(InputError, match=r"config\.json:3: text_config\.num_hidden_layers: this field is missing"):
        models.load(written(tmp_path, {"model_type": "gemma3", "text_config": text}))


def test_a_length_of_ten_million_tokens_is_read(tmp_path: Path) -> None:
    """Llama 4 Scout says 10,485,760; more than a hundred million is a slip."""
    scout = LLAMA31_8B | {"max_position_embeddings": 10_485_760}
    assert models.load(written(tmp_path, without(scout, "rope_scaling"))).max_seq_len == 10_485_760
    assert models.load({"name": "llama3-8b", "max_seq_len": 10_485_760}).max_seq_len == 10_485_760
    slip = without(scout, "rope_scaling") | {"max_position_embeddings": 100_000_001}
    with pytest.raises(InputError, match=r"max_position_embeddings: should be a whole number from 0 to 100,000,000"):
        models.load(written(tmp_path, slip))
    with pytest.raises(InputError, match="max_seq_len: must be 100,000,000 or less"):
        models.load({"name": "llama3-8b", "max_seq_len": 100_000_001})
