"""Laws of document.py and complaint.py: any file ends in plain data or in one line that helps."""

import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from topologies import document
from topologies.document import Document, InputError, parse, read, validate

if TYPE_CHECKING:
    from ruamel.yaml.events import Event

ALIAS_BOMB = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

HOSTILE = [
    ("a: [1, 2", "file.yaml:1: not valid YAML: expected ',' or ']', but got '<stream end>'"),
    ("a: 1\nb: c: d", "file.yaml:2: not valid YAML: mapping values are not allowed here"),
    ("", "file.yaml: the file is empty; it must hold fields such as 'name: value'"),
    ("# nothing\n", "file.yaml: the file is empty; it must hold fields such as 'name: value'"),
    ("a: 1\n---\nb: 2\n", "file.yaml:2: a second document begins; write one document per file, without '---'"),
    ("a: 1\na: 2\n", "file.yaml:2: 'a' is given twice; keep one of them"),
    ("a: &x [1]\nb: *x\n", "file.yaml:2: aliases (*x) are not read; write the value out again"),
    (ALIAS_BOMB, "file.yaml:2: aliases (*a) are not read; write the value out again"),
    ("a: .nan", "file.yaml:1: .nan is not a finite number"),
    ("a: -.inf", "file.yaml:1: -.inf is not a finite number"),
    ("a: 1e999", "file.yaml:1: 1e999 is too large for a number"),
    ("a: " + "9" * 5000, "file.yaml:1: a number of 5000 characters; write it as 1.5e12"),
    ("!" * 999_999, "file.yaml: a line of more than 100000 characters; break it up"),
    ("a: " + "!" * 99_000, "file.yaml:1: "),
    ("[\n" * 300_000, "file.yaml:101: nested more than 100 levels deep"),
    ("[" * 100_000, "file.yaml:1: nested more than 100 levels deep"),
    ("- " * 50_000, "file.yaml:1: nested more than 100 levels deep"),
    ("{a: " * 25_000, "file.yaml:1: nested more than 100 levels deep"),
    ("? [1]\n: 2\n", "file.yaml:1: a key must be plain text, not a mapping or a list"),
    ('a: "\\ud83d"', "file.yaml:1: half a character: an escape such as \\ud83d stands alone"),
    ('a: "\\e[31mred"', "file.yaml:1: '\\x1b[31mred' holds a control character; write plain text"),
    ("\n".join(f"k{i}: 1" for i in range(30_000)), "file.yaml:20000: more than 20000 values"),
]


class Plan(BaseModel):
    model_config = ConfigDict(extra="forbid")
    tp: int = Field(default=1, ge=1)
    schedule: str = "1f1b"


class Scenario(BaseModel):
    model_config = ConfigDict(extra="forbid")
    model: str
    plan: Plan | str = Plan()
    layers: list[int] = []


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse(text, "file.yaml")
    return str(caught.value)


def complaint(text: str) -> str:
    with pytest.raises(InputError) as caught:
        validate(parse(text, "file.yaml"), Scenario)
    return str(caught.value)


def test_values_follow_the_core_schema_of_yaml_1_2() -> None:
    """In YAML 1.1 `no` would be false, `010` eight, `1:30` ninety and `1_000` a thousand."""
    text = (
        "{a: 1, b: -2.5, c: 1e9, d: true, e: null, f: ~, g: no, h: 010, i: 0x10, j: 1:30, k: 1_000, l: '7', m: , n: .5}"
    )
    assert parse(text, "x").data == {
        "a": 1, "b": -2.5, "c": 1e9, "d": True, "e": None, "f": None, "g": "no", "h": 10, "i": 16, "j": "1:30",
        "k": "1_000", "l": "7", "m": None, "n": 0.5,
    }  # fmt: skip


def test_every_value_knows_its_line() -> None:
    document = parse("a:\n  b: 1\n  c:\n    - x\n    - d: 2\n    - [3,\n       4]\ne: 5\n", "x")
    assert document.data == {"a": {"b": 1, "c": ["x", {"d": 2}, [3, 4]]}, "e": 5}
    assert dict(document.lines) == {
        ("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "c", 0): 4, ("a", "c", 1): 5, ("a", "c", 1, "d"): 5,
        ("a", "c", 2): 6, ("a", "c", 2, 0): 6, ("a", "c", 2, 1): 7, ("e",): 8,
    }  # fmt: skip


plain = st.characters(exclude_categories=("Cc", "Cs"))
keys = st.text(plain, min_size=1, max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(-1e9, 1e9) | st.text(plain, max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(keys, json_values, min_size=1, max_size=4))
def test_json_comes_through_the_same_door(data: dict[str, object]) -> None:
    assert parse(json.dumps(data), "config.json").data == data


def test_json_may_be_indented_with_tabs(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{\n\t"a": [1,\n\t\t2]\n}')
    assert read(path).data == {"a": [1, 2]}


@pytest.mark.parametrize(("text", "message"), HOSTILE)
def test_hostile_text_is_refused_in_one_line_after_few_events(
    text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a mapping, keys and values are events: 2 x 20,000, and a handful around them. A file of 1 MB could hold ten
    times as many."""
    seen = 0

    def take(event: "Event", builder: document._Builder) -> None:
        nonlocal seen
        seen += 1
        original(event, builder)

    original = document._take
    monkeypatch.setattr(document, "_take", take)
    said = refusal(text)
    assert said.startswith(message)
    assert "\n" not in said
    assert seen <= 2 * document.MAX_VALUES + 5


@pytest.mark.parametrize(
    "tagged", ["!!python/object/apply:os.mkdir [{path}]", "!!python/name:os.system", "!!str 1", "!own {{a: 1}}", "! x"]
)
def test_tags_are_refused_and_never_executed(tagged: str, tmp_path: Path) -> None:
    target = tmp_path / "made"
    assert "file.yaml:1: YAML tags such as !name are not read" in refusal("a: " + tagged.format(path=target))
    assert not target.exists()


@given(st.text(st.sampled_from("[]{}:,-?&*!|>'\"%@`#\n ab\\u0x1.e"), max_size=60))
def test_any_text_is_data_or_one_line(text: str) -> None:
    said = ""
    try:
        parse(text, "file.yaml")
    except InputError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 300


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x7fELF\x02\x01\x01\x00\xff\xfe", "x.yaml: not UTF-8 text; write YAML or JSON"),
        (b"a: 1\x00", "x.yaml: binary data, not text; write YAML or JSON"),
        ("a: 1".encode("utf-16"), "x.yaml: not UTF-8 text; write YAML or JSON"),
        (b"a: 1\n" * 400_000, "x.yaml: larger than 1 MB; a file of this kind holds a few kB"),
        (b"a: \x01", "x.yaml: not valid YAML: unacceptable character #x0001: special characters are not allowed"),
    ],
)
def test_a_file_that_is_not_text_or_too_large_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value) == message


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1")
    assert read(path).data == {"a": 1}


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "missing.yaml", "there is no such file"),
        (tmp_path, "this is a directory; name a YAML or JSON file"),
        (Path("x" * 5000), "cannot be read: file name too long"),
        (Path("a\0b"), "cannot be read: "),
    ):
        with pytest.raises(InputError, match=reason) as caught:
            read(path)
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: x\nplan:\n  tp: -3", "file.yaml:3: plan.tp: must be 1 or more, got -3"),
        ("model: x\nplan:\n  tp: 2.5", "file.yaml:3: plan.tp: must be a whole number, got 2.5"),
        ("model: x\nplan:\n  tpp: 3", "file.yaml:3: plan.tpp: unknown field; did you mean tp?"),
        ("model: x\nplan:\n  zzz: 3", "file.yaml:3: plan.zzz: unknown field; known here: tp, schedule"),
        ("modl: x", "file.yaml:1: modl: unknown field; did you mean model?"),
        ("plan: {tp: 2}", "file.yaml: model: this field is missing; add it"),
        ("model: [a]", "file.yaml:1: model: must be text, got a list"),
        ("model: x\nlayers:\n- 1\n- two", "file.yaml:4: layers.1: must be a whole number, got 'two'"),
        ("- model", "file.yaml: should be a mapping of fields, such as 'name: value', got a list"),
        ("42", "file.yaml: should be a mapping of fields, such as 'name: value', got 42"),
        ("model: x\nplan: 7", "file.yaml:2: plan: "),
    ],
)
def test_a_complaint_names_line_field_and_fix(text: str, message: str) -> None:
    said = complaint(text)
    assert said.startswith(message)
    assert "\n" not in said


def test_what_is_well_formed_becomes_the_model() -> None:
    scenario = validate(parse("model: x\nplan: {tp: 4}\nlayers: [1, 2]", "file.yaml"), Scenario)
    assert scenario == Scenario(model="x", plan=Plan(tp=4), layers=[1, 2])


def test_a_document_crosses_to_another_process() -> None:
    document = parse("a: 1", "file.yaml")
    copy = pickle.loads(pickle.dumps(document))
    assert isinstance(copy, Document)
    assert copy == document
