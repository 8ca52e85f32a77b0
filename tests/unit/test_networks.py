"""Laws of networks.py: a fabric in a few letters becomes a link and a count, or one line that helps."""

from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

import topologies
from topologies.document import InputError


@pytest.mark.parametrize(
    ("fabric", "link", "num_nics"),
    [
        ("ib-hdr200x8", "ib-hdr200", 8),
        ("ib-ndr400x8", "ib-ndr400", 8),
        ("ib-xdr800x8", "ib-xdr800", 8),
        ("roce-200x8", "roce-200", 8),
        ("roce-400x8", "roce-400", 8),
        ("unknown-400x8", "unknown-400", 8),
        ("unknown-200x4", "unknown-200", 4),
        ("efa-100x4", "efa-100", 4),
        ("efa-400x8", "efa-400", 8),
        ("tcpxo-200x8", "tcpxo-200", 8),
        ("omni-path-100x1", "omni-path-100", 1),
        ("ethernet-100x2", "ethernet-100", 2),
        ("ib-ndr200x4", "ib-ndr200", 4),
        ("ib-edr100x8", "ib-edr100", 8),
        ("ib-100x8", "ib-edr100", 8),
        ("ib-200x8", "ib-hdr200", 8),
        ("ib-400x8", "ib-ndr400", 8),
        ("InfiniBand-800x8", "ib-xdr800", 8),
        ("nvl72-ib400x4", "ib-ndr400", 4),
        ("nvl72-ib800x4", "ib-xdr800", 4),
        ("nvl72-roce-400x4", "roce-400", 4),
    ],
)
def test_a_fabric_names_its_link_and_the_nics_of_a_node(fabric: str, link: str, num_nics: int) -> None:
    found, count = topologies.network(fabric)
    assert found == topologies.link(link)
    assert count == num_nics


@pytest.mark.parametrize("fabric", ["nvlink-only", "pcie-only", "nvl72", "NVL72", "nvl36"])
def test_one_domain_has_no_network(fabric: str) -> None:
    assert topologies.network(fabric) == (None, 0)


@pytest.mark.parametrize(
    ("fabric", "donor", "gbits"),
    [("roce-50x2", "roce-100", 50), ("efa-300x8", "efa-400", 300), ("slingshot-200x4", "roce-200", 200)],
)
def test_a_rate_that_the_catalogue_lacks_borrows_from_the_nearest_of_its_kind(
    fabric: str, donor: str, gbits: float
) -> None:
    found, _ = topologies.network(fabric)
    assert found is not None
    assert found.name == fabric.split("x")[0]
    assert found.bandwidth * 8 == pytest.approx(gbits * 1e9)
    assert found.fit.values == topologies.link(donor).fit.values
    assert all(source.startswith(f"as of {donor}: ") for source in found.fit.sources.values())


@pytest.mark.parametrize(
    ("fabric", "message"),
    [
        ("wifi-6x8", "unknown fabric 'wifi-6x8'; write <type>-<Gb/s per NIC>x<NICs per node>, such as ib-ndr400x8"),
        ("ib-ndr400", "unknown fabric 'ib-ndr400'; write <type>-<Gb/s per NIC>x<NICs per node>, such as"),
        ("ib-ndr400x0", "unknown fabric 'ib-ndr400x0'; write <type>"),
        ("ib-hdr400x8", "unknown fabric 'ib-hdr400x8': HDR has 200 Gb/s a port; write"),
        ("ib-abc400x8", "unknown fabric 'ib-abc400x8'; write"),
        ("roce-ndr400x8", "unknown fabric 'roce-ndr400x8'; write"),
        ("roce-99999x8", "unknown fabric 'roce-99999x8': 99999 Gb/s a NIC; write 10 to 3200"),
        ("nvlink4x8", "unknown fabric 'nvlink4x8'; write"),
        ("nvl1", "unknown fabric 'nvl1'; write for example nvl72"),
        ("nvl72-", "unknown fabric 'nvl72-'; write"),
        ("", "unknown fabric ''; write"),
    ],
)
def test_what_is_no_fabric_is_refused_with_an_example(fabric: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        topologies.network(fabric)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@given(st.text(st.sampled_from("ib-roceundrhx0482 nvl\n"), max_size=20))
def test_any_text_is_a_fabric_or_one_line(fabric: str) -> None:
    said = ""
    try:
        _, count = topologies.network(fabric)
        assert 0 <= count < 1000
    except InputError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 300


@pytest.mark.parametrize("fabric", ["a" * 100_000, "a-" * 50_000, "a" * 50_000 + "-" + "b" * 50_000 + "1"])
def test_a_very_long_fabric_is_refused_at_once(fabric: str) -> None:
    start = perf_counter()
    with pytest.raises(InputError):
        topologies.network(fabric)
    assert perf_counter() - start < 0.2


def test_a_cluster_is_built_from_a_gpu_and_a_fabric() -> None:
    built = topologies.build(gpu="h100-80gb-sxm", fabric="ib-ndr400x8", nodes=16)
    assert (built.name, built.num_nodes, built.num_gpus) == ("h100-80gb-sxm-ib-ndr400x8", 16, 128)
    assert built.node == topologies.load("dgx-h100").node
    assert built.network == topologies.load("dgx-h100").network
    assert topologies.build(gpu="h100", nodes=1, name="mine").name == "mine"


def test_a_rack_is_a_domain_of_which_sixteen_trays_are_used() -> None:
    """16 trays of 4 GPUs and 4 NICs are 64 of each."""
    racks = topologies.build(gpu="gb200", fabric="nvl72-ib400x4", nodes=2)
    assert (racks.num_gpus, racks.node.num_nics, racks.node.layout) == (128, 64, "nvswitch")
    whole = topologies.build(gpu="gb300", fabric="nvl72-ib800x4", nodes=1, gpus_per_node=72)
    assert (whole.num_gpus, whole.node.num_nics) == (72, 72)


def test_cards_without_nvlink_stand_in_a_pcie_tree() -> None:
    large, small = (topologies.build(gpu="l40s", nodes=1, gpus_per_node=count).node for count in (8, 4))
    assert (large.layout, large.num_sockets, large.socket_link) == ("pcie", 2, topologies.link("upi"))
    assert (small.layout, small.num_sockets, small.socket_link) == ("pcie", 1, None)
    assert topologies.build(gpu="h100", fabric="pcie-only", nodes=1).node.layout == "pcie"
    assert topologies.build(gpu="v100-32gb-sxm", fabric="nvlink-only", gpus_per_node=16, nodes=1).num_gpus == 16


@pytest.mark.parametrize(
    ("gpu", "gpus_per_node", "fabric", "nodes", "message"),
    [
        ("h10", 8, None, 1, "unknown GPU 'h10'; did you mean h100"),
        ("h100", 8, None, 2, "h100-80gb-sxm: 2 nodes need a network; write a fabric such as ib-ndr400x8"),
        ("h100", 8, "nvlink-only", 2, "h100-80gb-sxm-nvlink-only: 2 nodes need a network; write a fabric such as"),
        ("h100", 8, "ib", 2, "unknown fabric 'ib'; write"),
        ("h100", 0, "ib-ndr400x8", 2, "2 nodes of 0 GPUs: both must be at least 1"),
        ("h100", 8, "ib-ndr400x8", 0, "0 nodes of 8 GPUs: both must be at least 1"),
        ("gb200", 80, "nvl72", 1, "gpus_per_node=80: an NVLink domain of nvl72 holds 72; use at most that"),
    ],
)
def test_a_cluster_that_cannot_be_built_is_refused(
    gpu: str, gpus_per_node: int, fabric: str | None, nodes: int, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        topologies.build(gpu=gpu, gpus_per_node=gpus_per_node, fabric=fabric, nodes=nodes)
    assert str(caught.value).startswith(message)
