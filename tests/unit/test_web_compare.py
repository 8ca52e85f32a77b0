"""The page Compare: its numbers are the command line's, its basket keeps what is put in, uploads are only parsed."""

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from sim.comparison import CAUSES
from tests.command import Shardsim
from topologies.document import InputError, Value

pytest.importorskip("streamlit", reason="streamlit is not installed")

from streamlit.testing.v1 import AppTest

from web import scenarios
from web.answers import comparison
from web.answers.sensitivity_words import SLIDERS, command, reaction
from web.bundle import MOST, Kept, as_zip, called, file_names, in_file, packed, unpacked

PLANS: dict[str, Value] = {"one": {"tp": 4, "pp": 2}, "two": {"tp": 2}}
STEP: dict[str, Value] = {"model": "llama3-8b", "cluster": "dgx-h100", "gpus": 16, "batch": {"global": 16}}
BUNDLE = tuple(Kept(name=name, text=scenarios.text({**STEP, "plan": plan})) for name, plan in PLANS.items())


def test_the_comparison_is_that_of_the_command_line(shardsim: Shardsim, folder: Path) -> None:
    """The command that the page shows is run on what it lets download: JSON, CSV and page are the same bytes."""
    zipfile.ZipFile(io.BytesIO(as_zip(BUNDLE))).extractall(folder)
    found = comparison.beside(*(kept.text for kept in BUNDLE))
    answer = shardsim("compare", *file_names(BUNDLE), "--format", "json", "--out", "both", "--quiet")
    assert answer.code == 0
    assert json.loads(found.json) == json.loads(answer.out)
    assert found.page == (folder / "both/compare.html").read_bytes()
    assert found.csv.decode() == shardsim("compare", *file_names(BUNDLE), "--format", "csv").out


def test_the_figures_are_those_of_train(shardsim: Shardsim, folder: Path) -> None:
    (folder / "one.yaml").write_text(BUNDLE[0].text)
    said = json.loads(shardsim("train", "one.yaml", "--format", "json").out)
    row = comparison.key_figures(BUNDLE[0].text)
    assert (row.step_time, row.mfu, row.bubble) == (said["step_time_s"], said["mfu"], said["bubble_fraction"])
    assert (row.step_time_p10, row.step_time_p90) == (said["interval"]["p10_s"], said["interval"]["p90_s"])
    assert (row.run_cost, row.reserved) == (said["run"]["cost_usd"], max(said["peak_reserved_gib"]))
    assert row.breakdown == said["breakdown"]


def test_a_section_says_what_the_page_says() -> None:
    found = comparison.beside(*(kept.text for kept in BUNDLE))
    drawing = found.waterfall[found.waterfall.index("<svg") : found.waterfall.index("</svg>")]
    assert drawing in found.page.decode()
    assert len(json.loads(found.json)["waterfall"]) == len(CAUSES)


def test_the_best_is_the_best_of_those_that_fit() -> None:
    one = comparison.key_figures(BUNDLE[0].text)
    faster = replace(one, step_time=one.step_time / 2, tokens_per_s=2 * one.tokens_per_s, reserved=one.reserved + 1)
    assert comparison.best_in([one, faster]) == (("memory",), ("step time", "tokens/s"))
    assert comparison.best_in([one, replace(faster, fits=False)]) == ((), ())
    assert comparison.best_in([one, one]) == ((), ())
    longer = replace(one, step_time=2 * one.step_time)
    assert "step time" not in comparison.best_in([one, longer])[0], "a step of twice the tokens"


def test_a_bundle_comes_back_from_its_file_and_from_a_link() -> None:
    assert in_file("basket.zip", as_zip(BUNDLE)) == BUNDLE
    assert unpacked(packed(BUNDLE)) == BUNDLE
    assert as_zip(BUNDLE) == as_zip(BUNDLE)
    assert file_names([replace(BUNDLE[0], name="../../<b>Böse</b>")]) == ("1-b-b-se-b.yaml",)
    assert called(BUNDLE[0].text) == "llama3-8b, 16 x dgx-h100, tp 4 pp 2"


def test_a_scenario_file_is_called_by_its_first_comment_or_its_name() -> None:
    text = BUNDLE[0].text
    assert in_file("mine.yaml", f"# Mine \u202e own\n{text}".encode()) == (Kept(name="Mine own", text=text),)
    assert in_file("a/b/mine.yaml", text.encode())[0].name.endswith("mine")


def zipped(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(f"{name}.yaml", data)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped(bomb=bytes(50_000_000)), "larger than 1 MB"),
        (zipped(**{f"s{number}": BUNDLE[0].text.encode() for number in range(MOST + 1)}), "put 1 to 12 scenarios in"),
        (zipped(), "holds 0 YAML files"),
        (as_zip(BUNDLE)[:-40] + bytes(40), "not valid|UTF-8|control|cannot be read"),
        (b"\xff\xfe", "not UTF-8"),
        (b"gpus: [", "not valid YAML"),
        (b"model: !!python/object/apply:os.system [ls]", "tags"),
        (b"kind: training\nmodel: ../../etc/passwd.json\ncluster: dgx-h100\ngpus: 8\n", "is a file"),
    ],
    ids=["bomb", "many", "none", "broken", "binary", "no YAML", "tag", "path"],
)
def test_a_hostile_file_ends_in_a_message(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        in_file("upload", content)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_flipped_byte_ends_in_a_message_or_in_scenarios(method: int) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        archive.writestr("one.yaml", b"kind: nothing\n")
    for place in range(len(content.getvalue())):
        for flip in (0x01, 0x10, 0x80, 0xFF):
            broken = bytearray(content.getvalue())
            broken[place] ^= flip
            with pytest.raises(InputError):
                in_file("upload.zip", bytes(broken))


def compare_page() -> None:
    from web.views import compare

    compare.page()


def test_the_command_names_files_as_the_whole_basket_numbers_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of three cannot be played: the third is still 3-*.yaml in basket.zip."""
    bad = Kept(name="bad", text=scenarios.text({**STEP, "plan": {"tp": 3}}))
    kept, commands = (BUNDLE[0], bad, BUNDLE[1]), list[str]()
    monkeypatch.setattr("web.chrome.foot", lambda *, command, **_: commands.append(command))
    app = AppTest.from_function(compare_page, default_timeout=60)
    app.query_params["basket"] = packed(kept)
    app.run()
    assert not app.exception
    assert any("bad" in one.value for one in app.warning)
    zipfile.ZipFile(io.BytesIO(as_zip(kept))).extractall(folder)
    named = commands[-1].split("shardsim compare ")[1].split()
    assert [(folder / one).read_text().splitlines()[0] for one in named] == ["# one", "# two"]


@pytest.mark.parametrize("letters", ["", "####", "eJwDAAAAAAE", packed(BUNDLE)[:-9]])
def test_a_link_that_was_cut_off_is_told(letters: str) -> None:
    with pytest.raises(InputError, match="cut off"):
        unpacked(letters)


def test_a_replay_that_does_not_fit_is_no_gain() -> None:
    step = comparison.key_figures(BUNDLE[0].text).step
    assert reaction(0.5, step, None).said == "no plan fits"
    found = comparison.replayed(BUNDLE[0].text, step, (("compute", 2.0),))
    assert reaction(2.0, step, found).change == -found.gain < 0
    assert "fit" in reaction(2.0, step, replace(found, fits=False)).said


def test_the_command_of_other_hardware_is_explain() -> None:
    assert command("shardsim train x y", {"nic": 2.0}) == ("shardsim explain x y", "")
    assert command("shardsim train x y", {"nic": 0.5})[1]
    assert len({slider.key for slider in SLIDERS.values()}) == len(SLIDERS)


def basket_page() -> None:
    import streamlit as st

    from web import basket

    basket.from_address()
    basket.button(basket.EXAMPLES[0].text, key="first")
    basket.button(basket.EXAMPLES[1].text, key="second", name="Second")
    st.button("rename", on_click=basket.rename, args=(0, "Second"))
    st.button("remove", on_click=basket.remove, args=(0,))
    st.json([kept.name for kept in basket.shown()])
    basket.to_address()


def test_the_basket_keeps_what_is_put_in_for_the_session_and_in_the_address() -> None:
    def names(app: AppTest) -> list[str]:
        assert not app.exception
        return list(json.loads(app.json[0].value))

    app = AppTest.from_function(basket_page).run()
    examples = names(app)
    assert len(examples) == 2
    assert names(app.button(key="second").click().run()) == ["Second"]
    assert names(app.button(key="first").click().run()) == ["Second", "llama3-70b, 64 x dgx-h100, tp 8 pp 4 1f1b"]
    assert app.button(key="first").disabled
    other = AppTest.from_function(basket_page)
    other.query_params["basket"] = app.query_params["basket"]
    assert names(other.run()) == names(app)
    assert names(app.button[3].click().run()) == ["llama3-70b, 64 x dgx-h100, tp 8 pp 4 1f1b"]
    assert names(app.button[2].click().run()) == ["Second"]
    assert names(app.button[3].click().run()) == examples
    assert "basket" not in app.query_params
