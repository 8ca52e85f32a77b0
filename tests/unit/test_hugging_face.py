"""Released config.json files become the models that they describe.

Counts are those of the checkpoints, or of transformers' own classes built from the same values.
"""

import json
from pathlib import Path

import pytest

from sim import models
from sim.models.hugging_face.families import FAMILIES
from tests.hugging_face_configs import (
    BLOOM,
    DEEPSEEK_V2_LITE,
    DEEPSEEK_V3,
    FALCON_7B,
    FALCON_40B,
    GEMMA2_9B,
    GEMMA3_4B,
    GEMMA_7B,
    GLM4_9B,
    GLM45_AIR,
    GPT2_XL,
    GPT_NEOX_20B,
    GPT_OSS_20B,
    GRANITE_8B,
    GROK_1,
    KIMI_K2,
    LLAMA4_MAVERICK,
    LLAMA31_8B,
    MINIMAX_M2,
    MISTRAL_7B,
    MIXTRAL_8X7B,
    MIXTRAL_8X22B,
    MPT_7B,
    NEMOTRON4_340B,
    OLMO2_7B,
    OLMOE,
    OPT_66B,
    PHI3_MINI,
    QWEN3_32B,
    QWEN3_235B,
    QWEN15_MOE,
    QWEN25_7B,
    STARCODER,
    STARCODER2_15B,
)
from topologies.document import InputError, Value

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


def test_groups_of_experts_and_predictions_are_read(tmp_path: Path) -> None:
    """Where the file says nothing DeepSeek-V3 has the groups of its configuration class; Kimi's has one group."""
    config = DEEPSEEK_V3 | {"n_group": 4, "topk_group": 2, "num_nextn_predict_layers": 3}
    model = models.load(written(tmp_path, config))
    assert model.moe is not None
    assert (model.moe.num_groups, model.moe.top_groups, model.mtp_layers) == (4, 2, 3)
    one_group = models.load(written(tmp_path, DEEPSEEK_V3 | {"n_group": None, "topk_group": None}))
    assert one_group.moe is not None
    assert one_group.moe.num_groups == 1


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
