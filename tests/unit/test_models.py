"""The catalogue against what was printed about each model, and models that come as files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sim import models
from sim.models import entries
from sim.models.schema import ModelFile, schema
from topologies.document import InputError, Value

# Sizes that only the model's name tells, in billions; what the name rounds is not 0.5 % but up to a tenth.
NAMED_ONLY = {
    "gpt-1b": 1,
    "gpt-2b": 2,
    "gpt-4b": 4,
    "gpt-8b": 8,
    "gpt3-5b": 5,
    "gpt3-20b": 20,
    "nemotron3-8b": 8,
    "nemotron3-22b": 22,
}
PRINTED_DIGIT = 0.05e9
LIKE_LLAMA: dict[str, Value] = {
    "name": "mine",
    "num_layers": 2,
    "hidden": 64,
    "num_heads": 4,
    "ffn": 128,
    "vocab": 100,
    "max_seq_len": 32,
}
MLA: dict[str, Value] = {"kv_lora_rank": 16, "nope_head_dim": 8, "rope_head_dim": 4, "v_head_dim": 8}


@pytest.mark.parametrize("name", [name for name in models.names() if name not in NAMED_ONLY])
def test_parameters_agree_with_the_published_count(name: str) -> None:
    """To 0.5 %; figures of Narayanan et al. 2021 are printed in billions with one decimal."""
    entry = models.entry(name)
    published = entry.published_parameters
    assert published is not None
    assert abs(models.num_parameters(entry.model) - published) <= max(0.005 * published, PRINTED_DIGIT)


@pytest.mark.parametrize("name", models.names())
def test_a_count_of_a_checkpoint_is_met_to_one_part_in_a_million(name: str) -> None:
    """Left out are sinks, a router's biases, a norm of the embedding, two positions of OPT."""
    entry = models.entry(name)
    published = entry.published_parameters
    if published is not None and "checkpoint" in entry.source and name != "grok1-314b":
        assert models.num_parameters(entry.model) == pytest.approx(published, rel=1e-6)


@pytest.mark.parametrize("name", NAMED_ONLY)
def test_a_size_that_only_the_name_tells_is_met_to_a_tenth(name: str) -> None:
    entry = models.entry(name)
    assert entry.published_parameters is None
    assert models.num_parameters(entry.model) == pytest.approx(
        NAMED_ONLY[name] * 1e9, rel=0.17 if name == "gpt-1b" else 0.1
    )


@pytest.mark.parametrize("name", [name for name in models.names() if models.load(name).moe])
def test_active_parameters_agree_with_the_published_count(name: str) -> None:
    """To the printed digit; makers differ in whether they count neither vocabulary matrix, the head, or both."""
    entry = models.entry(name)
    published, model = entry.published_active_parameters, entry.model
    if published is None:
        assert name == "grok1-314b"
        return
    active, vocabulary = models.active_parameters(model), model.vocab * model.hidden
    assert active - vocabulary - PRINTED_DIGIT <= published <= active + vocabulary + PRINTED_DIGIT


@pytest.mark.parametrize(("name", "printed"), [("gpt-oss-20b", 3.61), ("gpt-oss-120b", 5.13), ("deepseek-v3", 36.6)])
def test_active_parameters_count_the_head_and_not_the_embedding(name: str, printed: float) -> None:
    """So do OpenAI [arXiv 2508.10925, Table 1] and DeepSeek [README_WEIGHTS of V3]."""
    digits = len(str(printed).split(".")[1])
    assert round(models.active_parameters(models.load(name)) / 1e9, digits) == printed


@pytest.mark.parametrize("name", [name for name in models.names() if models.load(name).position == "learned"])
def test_gpt_parameters_are_the_formula_of_narayanan_and_one_final_norm(name: str) -> None:
    """P = 12 l h^2 (1 + 13/12h + (V + s)/12lh), which leaves out the 2h of the last layer norm."""
    model = models.load(name)
    layers, h = model.num_layers, model.hidden
    formula = 12 * layers * h**2 + 13 * layers * h + (model.vocab + model.max_seq_len) * h
    assert models.num_parameters(model) == formula + 2 * h


def test_parameters_of_deepseek_v3_by_hand() -> None:
    """Latent attention: 7168 x 1536 + 1536 + 1536 x 128 x 192 for queries; 7168 x (512 + 64) + 512 + 512 x 128 x 256
    for keys and values; 128 x 128 x 7168 out: 187,107,328. An expert is 3 x 7168 x 2048 = 44,040,192; a layer with
    experts has 256, one shared, a router of 7168 x 256 and two norms. Three layers have an MLP of 3 x 7168 x 18432."""
    model = models.load("deepseek-v3")
    expert, dense, experts = models.LayerKind(has_experts=True), models.layer_parameters(model, 0), 256 * 44_040_192
    assert models.attention_parameters(model) == 187_107_328
    assert models.layer_parameters(model, 2) == dense == 187_107_328 + 3 * 7168 * 18432 + 2 * 7168
    assert models.layer_parameters(model, 3) == models.layer_parameters(model, expert)
    assert models.layer_parameters(model, 3) == 187_107_328 + experts + 44_040_192 + 7168 * 256 + 2 * 7168
    total = 3 * dense + 58 * models.layer_parameters(model, 3) + 2 * 129_280 * 7168 + 7168
    assert models.num_parameters(model) == total == 671_026_404_352


def test_multi_token_prediction_is_not_counted_in_a_model_s_size() -> None:
    """671 B are the main model's; what predicts a token more comes on top [DeepSeek-V3, README_WEIGHTS]."""
    model = models.load("deepseek-v3")
    without = models.load({"name": "deepseek-v3", "mtp_layers": 0})
    assert (model.mtp_layers, without.mtp_layers) == (1, 0)
    assert models.num_parameters(model) == models.num_parameters(without)
    assert models.load("kimi-k2").mtp_layers == 0


def test_deepseek_keeps_a_token_to_some_groups_of_experts() -> None:
    """8 groups; V3 chooses from 4 [arXiv 2412.19437, 4.2: each token is ensured to be sent to at most 4 nodes], V2 from
    3 [arXiv 2405.04434, 3.1.2: D = 8, M = 3]."""
    for name, groups in (("deepseek-v3", (8, 4)), ("deepseek-v2", (8, 3)), ("qwen3-30b-a3b", (1, 1))):
        moe = models.load(name).moe
        assert moe is not None
        assert (moe.num_groups, moe.top_groups) == groups


@pytest.mark.parametrize(
    ("moe", "message"),
    [
        ({"num_groups": 7}, "num_groups=7 does not divide num_experts=256"),
        ({"top_groups": 9}, "top_groups=9 is more than num_groups=8"),
        ({"num_groups": 256, "top_groups": 4}, "top_k=8 is more than the 4 experts of top_groups=4"),
    ],
)
def test_groups_that_do_not_fit_are_refused(moe: dict[str, Value], message: str) -> None:
    with pytest.raises(InputError, match=message):
        models.load({"name": "deepseek-v3", "moe": moe})


def test_parameters_of_a_layer_of_gpt_oss_by_hand() -> None:
    """gpt-oss-20b: biases everywhere but in the router; 64 heads of 64, 8 of them for keys and values."""
    model = models.load("gpt-oss-20b")
    attention = 2880 * (2 * 4096 + 2 * 512) + (4096 + 2 * 512 + 2880)
    expert = 3 * 2880 * 2880 + 2 * 2880 + 2880
    assert models.attention_parameters(model) == attention
    assert models.expert_parameters(model) == expert
    assert models.layer_parameters(model, 0) == attention + 32 * expert + 2880 * 32 + 2 * 2880


def test_norms_and_biases_of_queries_and_keys_are_counted() -> None:
    """Qwen3 norms each head (128 wide) of queries and keys; Qwen2.5-7B has biases there, 3584 + 2 x 512 wide."""
    for name, field, extra in (("qwen3-8b", "qk_norm", 2 * 128), ("qwen2.5-7b", "qkv_bias", 3584 + 2 * 512)):
        plain = models.load({"name": name, field: False})
        assert models.attention_parameters(models.load(name)) - models.attention_parameters(plain) == extra


def test_every_second_layer_has_experts() -> None:
    model = models.load({"name": "mixtral-8x7b", "moe": {"num_dense_layers": 2, "every": 2}})
    assert [kind.has_experts for kind in models.layer_kinds(model)[:6]] == [False, False, False, True, False, True]
    dense, experts = models.layer_parameters(model, 0), models.layer_parameters(model, 3)
    outside = models.embedding_parameters(model) + models.head_parameters(model) + models.norm_parameters(model)
    assert models.num_parameters(model) == 17 * dense + 15 * experts + outside


def test_parameters_of_llama_by_hand() -> None:
    """Llama-3-8B, layer: 2 x 4096 x 4096 + 2 x 4096 x 1024 + 3 x 4096 x 14336 + 2 x 4096 = 218,112,000."""
    model = models.load("llama3-8b")
    assert models.layer_parameters(model) == 218_112_000
    assert models.embedding_parameters(model) == models.head_parameters(model) == 128_256 * 4096


def test_a_tied_head_has_no_parameters_of_its_own() -> None:
    assert models.head_parameters(models.load("gpt-175b")) == 0


@pytest.mark.parametrize(
    ("alias", "name"),
    [("gpt3-1t", "gpt-1t"), ("gpt3-175b", "gpt-175b"), ("Llama-3.1-405B", "llama3-405b"), ("gpt-18.4b", "gpt-18b")],
)
def test_an_alias_is_the_same_model(alias: str, name: str) -> None:
    assert models.load(alias) == models.load(name)


def test_no_name_or_alias_is_given_twice() -> None:
    spellings = [spelling for name in models.names() for spelling in (name, *models.entry(name).aliases)]
    assert len(spellings) == len(set(spellings))


def test_every_entry_has_a_source() -> None:
    assert all(models.entry(name).source for name in models.names())


def test_every_entry_is_what_a_user_file_with_its_fields_is() -> None:
    """The catalogue is read without a validator; here each entry goes through the one for files."""
    for name in models.names():
        fields = entries.find(name)
        assert ModelFile.model_validate(fields).transformer() == models.load(name)


def test_every_file_of_the_catalogue_is_read() -> None:
    folder = Path(entries.__file__).parent / "catalogue"
    assert {path.stem for path in folder.glob("*")} == set(entries._FAMILIES)


def test_every_name_begins_like_its_file() -> None:
    """So one small file is read for a name."""
    for family in entries._FAMILIES:
        assert all(name.startswith(family) for name in entries._family(family))


def test_a_mapping_lays_fields_over_an_entry() -> None:
    proxy = models.load({"name": "Grok1-314B", "num_layers": 16, "vocab": 128_256})
    assert proxy == replace(models.load("grok1-314b"), num_layers=16, vocab=128_256)


def test_a_section_keeps_what_is_not_changed() -> None:
    model, other = models.load("deepseek-v3"), models.load({"name": "deepseek-v3", "moe": {"top_k": 4}})
    assert model.moe is not None
    assert other == replace(model, moe=replace(model.moe, top_k=4))
    assert models.load({"name": "deepseek-v3", "moe": None, "mla": {"kv_lora_rank": 256}}).moe is None


def test_a_mapping_of_an_unknown_name_is_a_whole_model() -> None:
    assert models.load(LIKE_LLAMA).name == "mine"
    with pytest.raises(InputError, match=r"unknown model 'mine'.*; a model of your own needs num_layers, hidden"):
        models.load({"name": "mine", "num_layers": 2})


def test_a_mapping_lays_fields_over_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(LIKE_LLAMA))
    assert models.load({"name": str(path), "num_layers": 5}) == replace(models.load(path), num_layers=5)


def test_every_field_of_a_file_is_described_for_editors() -> None:
    found = schema()
    properties, sections = found["properties"], found["$defs"]
    assert isinstance(properties, dict)
    assert isinstance(sections, dict)
    for section in (found, *sections.values()):
        assert all("description" in field for field in section["properties"].values())


def test_an_unknown_name_gets_the_closest_one() -> None:
    with pytest.raises(InputError, match="unknown model 'llama3-7b'; did you mean llama3-70b"):
        models.load("llama3-7b")


def test_a_file_works_like_the_catalogue(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(LIKE_LLAMA))
    model = models.load(path)
    assert model == models.load(str(path))
    assert (model.num_kv_heads, model.head_dim, model.gated_mlp) == (4, 16, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": -1}, "hidden: must be more than 0, got -1"),
        ({"hidden": 10**12}, "hidden: must be 1,000,000 or less"),
        ({"hiden": 64}, "hiden: unknown field; did you mean hidden"),
        ({"num_heads": 3}, "num_heads=3 does not divide hidden=64"),
        ({"num_kv_heads": 3}, "num_kv_heads=3 does not divide num_heads=4"),
        ({"num_experts": 8}, "num_experts: unknown field"),
        ({"moe": {"num_experts": 8, "top_k": 9, "ffn": 32}}, "moe: top_k=9 is more than num_experts=8"),
        ({"moe": {"num_experts": 8, "top_k": 2}}, "moe.ffn: this field is missing"),
        ({"moe": {"num_experts": 8, "top_k": 2, "ffn": 32, "num_dense_layers": 2}}, "none of num_layers=2 has experts"),
        ({"mla": MLA, "num_kv_heads": 2}, "num_kv_heads=2: with mla every head has its own keys; take it out"),
        ({"mla": MLA, "head_dim": 12}, "head_dim=12: with mla heads are as wide as mla says; take it out"),
        ({"mla": MLA, "qk_norm": True}, "qk_norm: mla has norms of its own"),
        ({"full_every": 2}, "full_every is for models with a window; add window"),
        ({"ffn": None}, "ffn is missing, the width of the dense MLP; add it"),
        ({"hidden_size": 64}, "hidden_size: unknown field; did you mean hidden"),
    ],
)
def test_a_bad_file_is_refused_with_the_field(tmp_path: Path, change: dict[str, Value], message: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(LIKE_LLAMA | change))
    with pytest.raises(InputError, match=message):
        models.load(path)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(InputError, match="no such file"):
        models.load("nowhere/mine.yaml")
