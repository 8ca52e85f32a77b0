"""The catalogue against what was printed about each model, and models that come as files."""

import json
from pathlib import Path

import pytest

from sim import models
from topologies.document import InputError

# Printed to one decimal of a billion (Narayanan et al. 2021) or counted in the checkpoint (Llama).
PRINTED_DIGIT = 0.05e9
LIKE_LLAMA = {
    "name": "mine",
    "num_layers": 2,
    "hidden": 64,
    "num_heads": 4,
    "ffn": 128,
    "vocab": 100,
    "max_seq_len": 32,
}


@pytest.mark.parametrize("name", models.names())
def test_parameters_agree_with_the_published_count(name: str) -> None:
    entry = models.entry(name)
    counted, published = models.num_parameters(entry.model), entry.published_parameters
    if name.startswith("gpt"):
        assert abs(counted - published) <= max(0.005 * published, PRINTED_DIGIT)
    else:
        assert counted == published


@pytest.mark.parametrize("name", [name for name in models.names() if name.startswith("gpt")])
def test_gpt_parameters_are_the_formula_of_narayanan_and_one_final_norm(name: str) -> None:
    """P = 12 l h^2 (1 + 13/12h + (V + s)/12lh), which leaves out the 2h of the last layer norm."""
    model = models.load(name)
    layers, h = model.num_layers, model.hidden
    formula = 12 * layers * h**2 + 13 * layers * h + (model.vocab + model.max_seq_len) * h
    assert models.num_parameters(model) == formula + 2 * h


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
        ({"hidden": -1}, "hidden: input should be greater than 0"),
        ({"hidden": 10**12}, "hidden: input should be less than or equal to 1000000"),
        ({"hiden": 64}, "hiden: unknown field; did you mean hidden"),
        ({"num_heads": 3}, "num_heads=3 does not divide hidden=64"),
        ({"num_kv_heads": 3}, "num_kv_heads=3 does not divide num_heads=4"),
        ({"num_experts": 8}, "num_experts: mixture of experts is not supported yet"),
        ({"kv_lora_rank": 512}, "latent attention is not supported yet"),
        ({"hidden_size": 64}, "Hugging Face config.json is not supported yet"),
    ],
)
def test_a_bad_file_is_refused_with_the_field(tmp_path: Path, change: dict[str, int], message: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(LIKE_LLAMA | change))
    with pytest.raises(InputError, match=message):
        models.load(path)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(InputError, match="no such file"):
        models.load("nowhere/mine.yaml")
