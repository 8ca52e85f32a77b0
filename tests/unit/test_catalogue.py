"""What `shardsim models` and `shardsim clusters` print can be read by people and by awk."""

import re

import topologies
from sim import models
from sim.reports.catalogue import cluster_details, cluster_list, model_details, model_list


def cells(text: str) -> list[list[str]]:
    return [re.split(r" {2,}", line) for line in text.splitlines()]


def test_every_model_has_a_row_with_its_shapes() -> None:
    head, *rows = cells(model_list())
    assert [row[0] for row in rows] == models.names()
    assert {len(row) for row in (head, *rows)} == {9}
    llama = next(row for row in rows if row[0] == "llama3-70b")
    assert llama == ["llama3-70b", "70.6 B", "80", "8192", "64", "8", "28672", "128256", "8192"]


def test_every_cluster_has_a_row_with_its_parts() -> None:
    head, *rows = cells(cluster_list())
    assert [row[0] for row in rows] == topologies.names()
    assert {len(row) for row in (head, *rows)} == {7}
    dgx = next(row for row in rows if row[0] == "dgx-h100")
    assert dgx[1:6] == ["h100-80gb-sxm", "8", "nvlink4", "8 x ib-ndr400", "4096"]


def test_columns_stand_under_their_heads() -> None:
    for text in (model_list(), cluster_list()):
        head, *lines = text.splitlines()
        starts = [found.start() for found in re.finditer(r"(?<![^ ] )(?<![^ ])[^ ]", head)]
        assert all(line == line.rstrip() for line in lines)
        for start in starts[1:]:
            assert all(line[start - 2 : start] == "  " and line[start] != " " for line in lines)


def test_a_model_is_shown_with_everything_that_is_known() -> None:
    model = models.load("gpt-22b")
    shown = dict(line.split(maxsplit=1) for line in model_details(model).splitlines())
    assert shown.keys() == {"parameters", *model.__dataclass_fields__}
    assert (shown["num_layers"], shown["hidden"], shown["tied_embedding"]) == ("48", "6144", "True")


def test_a_cluster_is_shown_with_each_achievable_rate_and_its_source() -> None:
    cluster = topologies.load("dgx-a100")
    shown = cluster_details(cluster)
    for fit in (cluster.gpu.fit, cluster.node.scale_up.fit, cluster.node.nic.fit):
        for name, value in fit.values.items():
            assert f"{value:g} ({fit.sources[name]})" in shown
    assert "bf16 312 TFLOP/s" in shown
    assert "nvlink3, 300 GB/s each way" in shown
