"""The page Accuracy: its figures are the command line's, a run opens as what predicted it, no row reads a file."""

import pytest

from sim import run_scenario, validation
from sim.ledger import as_ledger, published
from tests.command import Shardsim
from topologies.document import InputError

pytest.importorskip("streamlit", reason="streamlit is not installed")

from streamlit.testing.v1 import AppTest

from web import scenarios
from web.answers import ledger
from web.answers.ledger import AT_ONCE, Filter
from web.links import unpack

HEADER = (
    "row,campaign,model,gpu,gpus,gpus_per_node,fabric,precision,tp,pp,dp,sharding,recompute,schedule,micro_batch,"
    "global_batch,seq_len,step_time_s,peak_memory_gib,complete\n"
)
RUN = "{row},{campaign},{model},a100-80gb-sxm,8,8,nvlink-only,bf16,8,1,1,none,selective,none,4,4,2048,{time},,yes\n"


def table(*rows: dict[str, str]) -> bytes:
    whole = {"row": "a-1", "campaign": "a", "model": "gpt-22b", "time": "1.10"}
    return (HEADER + "".join(RUN.format(**{**whole, **row}) for row in rows)).encode()


def played(content: bytes) -> ledger.Played:
    return ledger.joined([ledger.play(content, first) for first in range(0, ledger.count(content), AT_ONCE)])


def test_the_figures_are_those_of_the_ledger() -> None:
    """Means over campaigns, as README has them."""
    shown, told = ledger.shown("", Filter(), "campaign"), validation.summary(as_ledger(published()))
    figures = {figure.name: figure.value for figure in shown.figures}
    assert figures["mean error"] == f"{told['mape']:.1%}".replace("%", " %")
    assert figures["bias"] == f"{told['bias']:+.1%}".replace("%", " %")
    assert figures["within the interval"] == f"{told['coverage_80']:.0%}".replace("%", " %")
    assert sum(group.rows for group in shown.groups) == shown.total == told["rows"]
    worst = told["worst"]
    assert isinstance(worst, dict)
    assert (shown.columns["row"][0], shown.columns["error"][0]) == (worst["row"], worst["error"])


def test_filters_let_through_what_has_all_that_is_asked_for() -> None:
    wanted = Filter(gpu=("h100-80gb-sxm", "b200-sxm"), precision=("fp8",), gpus=(8, 512), beyond=0.1)
    shown = ledger.shown("", wanted, "gpu")
    assert set(shown.columns["gpu"]) == {group.name for group in shown.groups} <= {"h100-80gb-sxm", "b200-sxm"}
    assert set(shown.columns["precision"]) == {"fp8"}
    assert min(shown.columns["gpus"]) >= 8
    assert max(shown.columns["gpus"]) <= 512
    assert min(abs(shown.columns["error"])) >= 0.1
    assert ledger.shown("", Filter(gpu=("nobody's",)), "gpu").figures == ()


def test_a_run_opens_on_the_train_page_as_what_predicted_it() -> None:
    found = ledger.run("", "korthikanti22-002")
    (packed,) = found.address.split("scenario=")[1:]
    opened = scenarios.parsed(unpack(packed))
    (one,) = (one.result for one in published() if one.result.row == "korthikanti22-002")
    assert run_scenario(opened).result["step_time_s"] == pytest.approx(one.predicted_s, rel=1e-3)
    with pytest.raises(InputError, match="no run 'nobody'"):
        ledger.run("", "nobody")


def test_a_table_of_ones_own_is_validated_as_by_the_command_line(shardsim: Shardsim, folder) -> None:
    """Five runs, of which one cannot be played, more than are played at once."""
    content = table(
        {}, {"row": "a-2", "time": "1.2"}, {"row": "b-1", "campaign": "b"}, {"row": "b-2", "model": ""}, {"row": "b-3"}
    )
    (folder / "runs.csv").write_bytes(content)
    found = played(content)
    assert [row for row, _ in found.skipped] == ["b-2"]
    assert (
        ledger.summary(found.text, found.skipped).decode() == shardsim("validate", "runs.csv", "--format", "json").out
    )
    assert ledger.shown(found.text, Filter(campaign=("b",)), "campaign").groups[0].rows == 1


def test_a_row_that_names_a_file_of_the_server_is_left_out(tmp_path) -> None:
    secret = tmp_path / "secret.yaml"
    secret.write_text("password: 1234")
    for row in ({"model": str(secret)}, {"model": "../x.json"}):
        with pytest.raises(InputError, match="is a file; write a name") as refused:
            played(table(row))
        assert "1234" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a,b\n1,2\n", "no column row"),
        (table(), "no run with complete"),
        (table(*[{}] * 501), "501 runs, more than 500"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a" * 1_100_000, "larger than 1 MB"),
    ],
)
def test_what_is_no_table_of_runs_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        ledger.count(content)


def accuracy_page() -> None:
    from web.views import accuracy

    accuracy.page()


def test_an_address_with_a_run_that_there_is_not_shows_the_worst() -> None:
    app = AppTest.from_function(accuracy_page, default_timeout=60)
    app.query_params["run"] = "nonsense"
    app.run()
    assert not app.exception
    assert not app.error
    worst = str(ledger.shown("", Filter(), "campaign").columns["row"][0])
    assert app.selectbox(key="run").value == worst
    assert app.code[0].value == ledger.run("", worst).scenario.rstrip()
