"""What `shardsim clusters, gpus, links` show has the figures of the parts, each with its source."""

from dataclasses import replace

import pytest

import topologies
from sim.reports import clusters, parts
from topologies import prices
from topologies.hardware import Cluster


@pytest.mark.parametrize("name", topologies.names())
def test_a_cluster_is_shown_with_every_rate_and_its_source(name: str) -> None:
    cluster = topologies.load(name)
    shown = clusters.cluster(name).words
    for pool in cluster.pools:
        for part in (pool.node.gpu, pool.node.scale_up, pool.node.nic):
            for parameter in part.fit.values if part else ():
                figures = [text for title, text in shown if title.strip() == parameter.replace("_", " ")]
                assert any(part.fit.sources[parameter] in text for text in figures), (part.name, parameter)


def test_every_cluster_has_a_row() -> None:
    rows = {row.cells[0]: row.cells for row in clusters.clusters()}
    assert list(rows) == topologies.names()
    assert rows["dgx-h100"][1:6] == ("h100-80gb-sxm", "8", "4096", "nvlink4", "8 x ib-ndr400")


def test_a_mixed_cluster_shows_all_its_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    a100, h100 = topologies.load("dgx-a100", 8), topologies.load("dgx-h100", 64)
    mixed: Cluster = replace(a100, name="mixed", pools=(*a100.pools, *h100.pools))
    monkeypatch.setattr("topologies.load", lambda *_: mixed)
    words, record = clusters.cluster("mixed").words, clusters.cluster("mixed").record
    assert [text for title, text in words if title == "nodes"] == [
        "1 node of 8 a100-80gb-sxm",
        "at most 8 nodes of 8 h100-80gb-sxm",
    ]
    assert [text for title, text in words if title == "GPU"] == ["a100-80gb-sxm", "h100-80gb-sxm"]
    pools = record["pools"]
    assert isinstance(pools, list)
    assert [pool["num_nodes"] for pool in pools] == [1, 8]


@pytest.mark.parametrize("name", topologies.names("gpus"))
def test_a_gpu_is_shown_with_its_price_or_that_none_is_known(name: str) -> None:
    shown, price = dict(parts.gpu(name).words)["  price"], prices.price(name)
    if price is None:
        assert shown == "none is known"
    else:
        assert f"({price.source}, {price.date})" in shown
        assert price.on_demand is None or f"${price.on_demand:,.2f} a GPU-hour on demand" in shown


def test_a_link_is_shown_in_the_units_of_its_sheet() -> None:
    shown = dict(parts.link("nvlink4").words)
    assert shown["  bandwidth"].startswith("450 GB/s each way")
    assert parts.link("nvlink4").record["bytes_per_s"] == 450e9
