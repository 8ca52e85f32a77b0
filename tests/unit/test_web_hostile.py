"""What a stranger may send to the app, by file or by address, ends in words: nothing is executed, read or filled up."""

import base64
import io
import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("streamlit", reason="streamlit is not installed")

from topologies.document import Infeasible, InputError
from web import bundle, links, scenarios
from web.answers import collectives, ledger, opened, step

SCENARIO = "kind: training\nmodel: llama3-8b\ncluster: dgx-h100\ngpus: 8\n"
CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 100,
    "max_position_embeddings": 32,
}
SCRIPT = "<script>alert(1)</script>"
IMAGE = "<img src=x onerror=alert(1)>"
MODEL = {"num_layers": 2, "hidden": 1024, "num_heads": 8, "ffn": 2048, "vocab": 1000, "max_seq_len": 512}


def config(**fields: object) -> bytes:
    return json.dumps({**CONFIG, **fields}).encode()


def bomb() -> bytes:
    """100 MB of zeros, as a ZIP file of 100 kB."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.yaml", bytes(100_000_000))
    return content.getvalue()


def broken_zip() -> bytes:
    """A ZIP file with noise in place of what is compressed."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.yaml", SCENARIO * 100)
    data = bytearray(content.getvalue())
    data[40:60] = bytes(range(200, 220))
    return bytes(data)


FILES = {
    "tag": b"model: !!python/object/apply:os.system ['touch executed']\n",
    "tag of a class": b"!!python/object:os.Path {}\n",
    "billion laughs": b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nmodel: *c\n",
    "merge key": b"a: &a {x: 1}\nmodel: {<<: *a}\n",
    "deep": b"model: " + b"[" * 500 + b"]" * 500,
    "deep json": b'{"model": ' + b"[" * 500 + b"]" * 500 + b"}",
    "deep indent": b"".join(b" " * level + b"a:\n" for level in range(400)),
    "many values": b"model: [" + b"1," * 100_000 + b"]",
    "NUL": SCENARIO.encode() + b"\0",
    "control": b"model: \x1b[31mred\n",
    "not UTF-8": b"model: \xff\xfe\n",
    "UTF-16": "model: llama3-8b\n".encode("utf-16"),
    "two megabytes": b"# " + b"a" * 2_000_000,
    "empty": b"",
    "a number": b"7",
    "a list": b"- 1\n- 2\n",
    "two documents": SCENARIO.encode() + b"---\n" + SCENARIO.encode(),
    "nan": b"model: {name: a, num_layers: .nan}\n",
    "trillion layers": config(num_hidden_layers=10**12),
    "trillion hidden": config(hidden_size=10**12),
    "negative heads": config(num_attention_heads=-4),
    "zero heads": config(num_attention_heads=0),
    "text for a number": config(hidden_size="64; rm -rf /"),
    "huge number": config(vocab_size=10**39),
    "no architecture": config(model_type="../../etc/passwd", architectures=["../x"]),
    "ZIP bomb": bomb(),
    "broken ZIP": broken_zip(),
    "script": f"model: {SCRIPT}\n".encode(),
    "path": b"model: ../../../../etc/passwd\ncluster: dgx-h100\ngpus: 8\n",
}
DOORS: dict[str, Callable[[bytes], object]] = {
    "train": lambda content: opened.file(content, "upload.json", SCENARIO),
    "train as YAML": lambda content: opened.file(content, "../../upload.yaml", SCENARIO),
    "basket": lambda content: bundle.in_file("../../upload.zip", content),
    "runs": ledger.count,
    "log": lambda content: collectives.points_of_log(content, None, None),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_ends_in_words(name: str, door: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In at most two lines that are not long; nothing is left in the working directory."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises((InputError, Infeasible)) as error:
        DOORS[door](FILES[name])
    assert len(str(error.value)) < 600
    assert str(error.value).count("\n") <= 1
    assert "\x1b" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "place",
    [
        "../../../../etc/passwd",
        "/etc/passwd",
        "file:///etc/passwd",
        "./x.yaml",
        "~/.ssh/id_rsa",
        "C:\\windows\\x.yaml",
        "\\\\server\\share\\x.yaml",
        "x.csv",
        "a\0b",
        "x" * 100_000,
        SCRIPT,
    ],
)
@pytest.mark.parametrize("field", ["model", "cluster", "framework", "schedule"])
def test_no_field_of_a_scenario_leads_to_a_file(field: str, place: str) -> None:
    fields = {"model": "llama3-8b", "cluster": "dgx-h100", "gpus": 8, "plan": {"pp": 2}}
    if field == "schedule":
        fields["plan"] = {"pp": 2, "schedule": place}
    else:
        fields[field] = place
    with pytest.raises(InputError) as error:
        step.step(scenarios.text(fields), None)
    assert len(str(error.value)) < 400
    assert "root:" not in str(error.value)


@pytest.mark.parametrize("field", ["gpus", "plan: {tp", "plan: {pp", "plan: {vpp", "batch: {global", "batch: {seq_len"])
@pytest.mark.parametrize("number", [-1, 10**12])
def test_a_scenario_that_is_too_large_is_refused_before_it_starts(field: str, number: int) -> None:
    text = SCENARIO.replace("gpus: 8\n", "") if field == "gpus" else SCENARIO
    with pytest.raises((InputError, Infeasible)) as error:
        step.step(f"{text}{field}: {number}{'}' if '{' in field else ''}\n", None)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    "packed",
    ["", "=", "a", "?" * 10, "a" * 100_000, "\0", "ü", "%00", SCRIPT, links.pack(SCENARIO)[:-8], links.pack("- 1\n")],
)
def test_a_hostile_link_ends_in_words(packed: str) -> None:
    with pytest.raises(InputError) as error:
        opened.link(packed)
    assert len(str(error.value)) < 400


def test_a_link_unpacks_to_no_more_than_a_scenario_may_have() -> None:
    """100 MB of zeros take 100 kB."""
    packed = base64.urlsafe_b64encode(zlib.compress(bytes(100_000_000), 9)).decode()
    with pytest.raises(InputError, match="too long"):
        links.unpack(packed)


def test_a_link_restores_what_was_packed() -> None:
    assert links.unpack(links.pack(SCENARIO)) == SCENARIO


def test_names_reach_the_page_as_text() -> None:
    """A model's name is the reader's own; in HTML it is escaped."""
    text = scenarios.text({"model": {**MODEL, "name": IMAGE}, "cluster": "dgx-h100", "gpus": 8})
    sections = step.step(text, None).sections.values()
    assert not any("<img" in section for section in sections)
    assert any("&lt;img" in section for section in sections)
