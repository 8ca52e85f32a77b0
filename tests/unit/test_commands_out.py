"""The folder of `--out`: there before the run, gone with one that failed, and never with anything of the reader's."""

from pathlib import Path

import pytest

from sim.commands.out import note_written, prepared, with_profile
from topologies.document import InputError


def test_a_run_that_fails_leaves_no_new_folder_and_every_old_one(tmp_path: Path) -> None:
    new, old, begun = tmp_path / "new", tmp_path / "old", tmp_path / "begun"
    old.mkdir()
    for folder in (new, old, begun):
        with pytest.raises(ZeroDivisionError):
            failed(folder, ("result.json",) if folder == begun else ())
    assert sorted(tmp_path.iterdir()) == [begun, old]


def test_a_name_that_no_folder_can_have_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="use another --out"), prepared(tmp_path / ("x" * 300), ()):
        pass


def failed(folder: Path, written: tuple[str, ...]) -> float:
    """A run that ends early."""
    with prepared(folder, ()):
        for name in written:
            (folder / name).write_text("{}")
        return 1 / len(list(folder.glob("missing")))


def test_inputs_are_those_from_before_the_run(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("before")
    with prepared(tmp_path / "out", (file,)) as inputs:
        file.write_text("after")
    assert inputs == {str(file): b"before"}
    with prepared(None, (file,)) as inputs:
        assert inputs == {}
    with pytest.raises(InputError, match="cannot be read again"), prepared(tmp_path / "lost", (tmp_path / "gone",)):
        pass
    assert not (tmp_path / "lost").exists()


def test_the_command_and_the_note_say_what_a_shell_and_a_reader_need(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert with_profile("shardsim train x", None) == "shardsim train x"
    assert with_profile("shardsim train x", Path("my fits.yaml")) == "shardsim train x --profile 'my fits.yaml'"
    written = tuple(tmp_path / name for name in ("result.json", "hta/rank-0.json.gz", "hta/rank-1.json.gz"))
    note_written(written, tmp_path, quiet=True)
    note_written((), None, quiet=False)
    assert capsys.readouterr().err == ""
    note_written(written, tmp_path, quiet=False)
    assert capsys.readouterr().err == f"wrote result.json, hta to {tmp_path}\n"
