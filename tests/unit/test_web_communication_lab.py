"""What the Communication lab is told: figures that equal the command line's, tables that can be read again."""

import csv
import io
import sys

import numpy as np
import pytest

from calibrate import cli
from tests.unit.test_importers_nccl_tests import log
from topologies.document import InputError
from topologies.quantity import MICROSECOND
from web.answers.collective_tables import curves_csv, points_csv
from web.answers.collectives import SIZES, curves, described, fabric_of, points_of_log, runs
from web.answers.contention import Fabric, sharing, sharing_csv
from web.answers.tensor_layer import layers, layers_csv


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_downloaded_points_are_scored_by_the_command_as_the_page_scores_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    shown = curves("dgx-h100", 16, 1, "all_reduce", "2.26", 2.0**26)
    file = tmp_path / "points.csv"
    file.write_bytes(points_csv(shown.published))
    monkeypatch.setattr(sys, "argv", ["calibrate", "score", str(file), "--format", "csv"])
    assert cli.main() == 0
    said = [float(row["predicted_us"]) * MICROSECOND for row in rows(capsys.readouterr().out.encode())]
    assert said == pytest.approx([one.predicted for one in shown.published])
    assert len(said) == 16


def test_a_row_of_the_curves_for_each_way_and_size_and_one_of_them_taken():
    shown = curves("dgx-h100", 8, 1, "all_reduce", "2.27", 2.0**26)
    found = rows(curves_csv(shown))
    assert len(found) == len(shown.lines) * len(SIZES)
    taken = [row for row in found if row["taken"] == "true"]
    assert len(taken) == len(SIZES)
    for row in taken:
        assert float(row["low_us"]) < float(row["time_us"]) < float(row["high_us"])
        assert float(row["busbw_GBps"]) == pytest.approx(1.75 * float(row["algbw_GBps"]), rel=1e-5)
    assert {row["low_us"] for row in found if row["taken"] == "false"} == {""}


def test_every_published_run_leads_to_its_points():
    found = runs()
    assert {run.cluster for run in found} == {"dgx-h100", "dgx-a100", "aws-p4de", "gcp-a3-mega", "gb200-nvl72"}
    for run in found:
        assert curves(run.cluster, run.num_gpus, 1, run.operation, run.nccl_version, 64.0).published


def test_a_readers_own_log_shows_where_it_was_measured_and_nowhere_else():
    own = points_of_log(log(hosts=2).encode(), None, fabric_of("dgx-h100"))
    assert described(own) == ("all-reduce on 16 × h100-80gb-sxm, 2 nodes, ib-ndr400x8",)
    assert curves("dgx-h100", 16, 1, "all_reduce", "2.27", 64.0, own).own == own
    assert curves("dgx-h100", 8, 1, "all_reduce", "2.27", 64.0, own).own == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"hello", "one column only"), (b"\xff\xfe", "UTF-8"), (b"0" * 2_000_001, "one test at a time"), (b"", "empty")],
)
def test_what_is_no_log_is_refused_in_one_line(content, said):
    with pytest.raises(InputError, match=said) as error:
        points_of_log(content, None, None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("cluster", "operation", "version", "said"),
    [
        ("../x", "all_reduce", "2.27", "unknown cluster"),
        ("dgx-h100", "gossip", "2.27", "unknown operation"),
        ("dgx-h100", "all_reduce", "new", "no version of NCCL"),
    ],
)
def test_what_an_address_may_say_wrongly_is_told(cluster, operation, version, said):
    with pytest.raises(InputError, match=said):
        curves(cluster, 8, 1, operation, version, 64.0)


def test_a_layer_and_its_table_say_the_same():
    shown = layers("llama-65b", "dgx-h100", "2.27", 2048, 1)
    found = rows(layers_csv(shown))
    assert [float(row["layer_s"]) for row in found] == pytest.approx(
        [one.total for one in (*shown.packed, *shown.across)]
    )
    assert "With tp = 8 inside a node" in shown.sentence
    box = layers("llama-65b", "rtx-4090-workstation", "2.27", 2048, 1)
    assert box.across == ()
    assert "one box without a network" in box.no_network
    assert box.left_out.startswith("Not possible: tp = 8, 16, 32, 64.")


def test_groups_slow_down_by_how_many_share():
    """Four slots of 8 on 2 NICs: all on one. A leaf's way up is as wide as one of its 4 NICs, and others take
    half of it: four jobs want two NICs of each of 8 leaves, one job alone wants one, so they take twice as long."""
    asked = ("dgx-h100", "2.27", 4, "all_gather", 2.0**30, 4)
    slow = sharing("rails", *asked, Fabric(nics=2), 0.0)
    assert slow.slowdowns == pytest.approx([4.0] * 4, rel=0.05)
    assert slow.by_count == pytest.approx([1, 2, 3, 4, 4, 4, 4, 4], rel=0.05)
    assert np.array([float(row["slowdown"]) for row in rows(sharing_csv(slow))]) == pytest.approx(
        slow.slowdowns, rel=1e-5
    )
    wide = sharing("spine", *asked, Fabric(), 0.0)
    narrow = sharing("spine", *asked, Fabric(oversubscription=4.0, background=0.5), 0.0)
    assert max(wide.slowdowns) == pytest.approx(1.0)
    assert max(narrow.slowdowns) == pytest.approx(2.0, rel=0.05)
    assert "spine" in narrow.busiest
