"""Laws of the hardware catalogue and of users' cluster files."""

import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import topologies
from topologies import catalogue, sheets
from topologies.document import InputError, read
from topologies.quantity import GIB
from topologies.wiring import problems

FAMILIES: tuple[topologies.Family, ...] = ("clusters", "gpus", "links")
SHEETS = [(family, name) for family in FAMILIES for name in topologies.names(family)]
HOUSE = Path(topologies.__file__).parent.parent
PACKAGED = [*HOUSE.glob("topologies/**/*.yaml"), *HOUSE.glob("sim/**/*.yaml")]

CLUSTER = """\
name: mine
gpu: h100
gpus_per_node: 4
nvlink: {name: fast, bandwidth: 900 GB/s, latency: 3 us, achievable: {bandwidth_efficiency: 0.8, launch_latency: 8 us}}
nic: ib-ndr400
nics_per_node: 2
nodes: 3
wiring: rail-optimised
"""


def refusal(path: Path, old: str = "", new: str = "") -> str:
    """The message about the cluster file above with one thing in it replaced."""
    assert old in CLUSTER
    path.write_text(CLUSTER.replace(old, new))
    with pytest.raises(InputError) as caught:
        topologies.load(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("cluster", "gpu", "nvlink", "nic"),
    [
        ("dgx-a100", "a100-80gb-sxm", 300e9, 25e9),
        ("dgx-a100-40gb", "a100-40gb-sxm", 300e9, 25e9),
        ("dgx-h100", "h100-80gb-sxm", 450e9, 50e9),
        ("dgx-h200", "h200-sxm", 450e9, 50e9),
        ("dgx-b200", "b200-sxm", 900e9, 50e9),
        ("dgx-b300", "b300-sxm", 900e9, 100e9),
        ("h800-node", "h800", 200e9, 50e9),
        ("gcp-a3-mega", "h100-80gb-sxm", 450e9, 25e9),
    ],
)
def test_a_dgx_has_eight_gpus_and_a_nic_for_each(cluster: str, gpu: str, nvlink: float, nic: float) -> None:
    node = topologies.load(cluster).node
    assert node.nic is not None
    assert (node.gpu.name, node.num_gpus, node.num_nics) == (gpu, 8, 8)
    assert (node.scale_up.bandwidth, node.nic.bandwidth) == (nvlink, nic)


def test_the_figures_are_those_of_the_data_sheets() -> None:
    a100, h100 = topologies.gpu("a100-80gb-sxm"), topologies.gpu("h100-80gb-sxm")
    assert (a100.peak_flops["fp16"], a100.memory_bandwidth, a100.num_sms, a100.power_limit) == (
        312e12,
        2039e9,
        108,
        400,
    )
    assert (h100.peak_flops["bf16"], h100.memory_bandwidth, h100.num_sms, h100.power_limit) == (
        989.4e12,
        3350e9,
        132,
        700,
    )
    assert topologies.gpu("a100-40gb-sxm").memory_bandwidth == 1555e9
    assert h100.l2_nbytes == 50 * 2**20


@pytest.mark.parametrize(
    ("cluster", "gbits_per_node"),
    [
        ("dgx-1", 400),
        ("dgx-2", 800),
        ("aws-p4d", 400),
        ("aws-p4de", 400),
        ("aws-p5", 3200),
        ("aws-p5en", 3200),
        ("aws-p6-b200", 3200),
        ("azure-ndv4", 1600),
        ("azure-ndv5", 3200),
        ("gcp-a3-mega", 1600),
        ("gb200-nvl72", 72 * 400),
        ("gb300-nvl72", 72 * 800),
        ("mi300x-node", 3200),
    ],
)
def test_a_node_has_the_bandwidth_that_its_maker_sells(cluster: str, gbits_per_node: float) -> None:
    node = topologies.load(cluster).node
    assert node.nic is not None
    assert node.nic.bandwidth * 8 * node.num_nics == pytest.approx(gbits_per_node * 1e9)


def test_a_rack_is_one_domain_and_a_workstation_has_no_network() -> None:
    rack, box, dgx2 = (topologies.load(name).node for name in ("gb200-nvl72", "rtx-4090-workstation", "dgx-2"))
    assert (rack.num_gpus, rack.layout) == (72, "nvswitch")
    assert (box.layout, box.nic, box.num_nics) == ("pcie", None, 0)
    assert (dgx2.num_gpus, dgx2.gpu.name) == (16, "v100-32gb-sxm")


@pytest.mark.parametrize("name", [name for name in topologies.names("gpus") if re.search(r"\d+gb", name)])
def test_usable_memory_is_a_little_less_than_the_package_holds(name: str) -> None:
    package = int(name.split("gb")[0].rpartition("-")[2])
    assert package * 0.9 < topologies.gpu(name).memory_nbytes / GIB < package


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("a100", "a100-80gb-sxm"),
        ("a100-sxm", "a100-80gb-sxm"),
        ("A100-SXM4-80GB", "a100-80gb-sxm"),
        ("NVIDIA A100 SXM", "a100-80gb-sxm"),
        ("h100", "h100-80gb-sxm"),
        ("h100-sxm", "h100-80gb-sxm"),
        ("h100_sxm", "h100-80gb-sxm"),
        ("H100-SXM", "h100-80gb-sxm"),
        ("H100-SXM5-80GB", "h100-80gb-sxm"),
        ("H100 80GB SXM5", "h100-80gb-sxm"),
        ("NVIDIA H100 SXM", "h100-80gb-sxm"),
    ],
)
def test_every_common_spelling_finds_its_gpu(spelling: str, name: str) -> None:
    assert topologies.gpu(spelling).name == name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sheet_is_named_as_its_file_and_every_spelling_means_one_part(family: topologies.Family) -> None:
    spellings: list[str] = []
    for name in topologies.names(family):
        data = catalogue.sheet(family, name).data
        assert isinstance(data, dict)
        assert data["name"] == name
        listed = data.get("aliases", [])
        assert isinstance(listed, list)
        aliases = [str(alias).lower() for alias in listed]
        assert all(topologies.aliases(family)[alias] == name for alias in aliases)
        spellings += [name, *aliases]
    assert len(spellings) == len(set(spellings))
    assert set(topologies.aliases(family)) | set(topologies.names(family)) == set(spellings)


@pytest.mark.parametrize(("family", "name"), SHEETS)
def test_every_figure_of_the_catalogue_has_its_source(family: topologies.Family, name: str) -> None:
    data = catalogue.sheet(family, name).data
    assert isinstance(data, dict)
    achievable, sources = data.get("achievable", {}), data["sources"]
    assert isinstance(achievable, dict)
    assert isinstance(sources, dict)
    assert {*data, *achievable} - {"name", "aliases", "achievable", "sources"} == set(sources), name
    assert all(isinstance(source, str) and len(source) > 20 for source in sources.values())


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_file_of_the_package_reads_quickly_and_as_any_file_does(path: Path) -> None:
    assert catalogue.quick(path).data == read(path).data


@pytest.mark.parametrize(("family", "name"), SHEETS)
def test_a_sheet_of_the_catalogue_passes_the_checks_of_a_users_file(family: topologies.Family, name: str) -> None:
    document = read(Path(topologies.__file__).parent / family / f"{name}.yaml")
    if family == "clusters":
        assert sheets.cluster(document) == topologies.load(name)
        assert not list(problems(topologies.load(name)))
    elif family == "gpus":
        assert sheets.gpu(document) == topologies.gpu(name)
    else:
        assert sheets.link(document) == topologies.link(name)


def test_a_catalogue_entry_is_read_without_pydantic_and_numpy() -> None:
    """They would take longer to import than all sheets take to read."""
    code = (
        "import sys, topologies\n"
        "for name in topologies.names(): topologies.load(name)\n"
        "print([module for module in ('pydantic', 'numpy') if module in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_parameters_start_as_data_sheet_values_and_know_their_source() -> None:
    fit = topologies.gpu("h100").fit
    assert fit.origin == "datasheet"
    assert fit["gemm_efficiency"] == 0.8033
    assert "mamf-finder" in fit.sources["gemm_efficiency"]


def test_links_achieve_less_than_they_signal() -> None:
    """8 A100 reduce at a bus bandwidth of 235 GB/s of 300, 8 H100 (ring) at 365 of 450."""
    assert topologies.link("nvlink3").achievable_bandwidth == pytest.approx(235e9, rel=0.005)
    assert topologies.link("nvlink4").achievable_bandwidth == pytest.approx(365.4e9, rel=0.005)


@pytest.mark.parametrize(("asked", "nodes"), [(1, 1), (8, 1), (9, 2), (64, 8), (32768, 4096)])
def test_gpus_come_in_whole_nodes(asked: int, nodes: int) -> None:
    assert topologies.load("dgx-h100", asked).num_nodes == nodes


def test_more_gpus_than_there_are_are_refused() -> None:
    with pytest.raises(InputError, match=r"gpus=40000: dgx-h100 has 32768 .* use at most 32768"):
        topologies.load("dgx-h100", 40_000)
    with pytest.raises(InputError, match="gpus=0: ask for at least 1 GPU"):
        topologies.load("dgx-h100", 0)


def test_an_unknown_name_is_answered_with_the_closest() -> None:
    for ask, message in (
        (
            lambda: topologies.load("dgx-h10"),
            "unknown cluster 'dgx-h10'; did you mean dgx-h100? `shardsim clusters` lists them",
        ),
        (lambda: topologies.load("zzz"), "unknown cluster 'zzz'; `shardsim clusters` lists them"),
        (lambda: topologies.gpu("h1000"), "unknown GPU 'h1000'; did you mean h100"),
        (lambda: topologies.link("ib-ndr40"), "unknown link 'ib-ndr40'; did you mean ib-ndr400?"),
        (lambda: topologies.gpu("zzz"), "unknown GPU 'zzz'; known are a10, "),
    ):
        with pytest.raises(InputError) as caught:
            ask()
        assert str(caught.value).startswith(message)


def test_a_users_file_works_as_a_sheet_does(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(CLUSTER)
    cluster = topologies.load(str(path), num_gpus=5)
    assert (cluster.name, cluster.num_nodes, cluster.num_gpus) == ("mine", 2, 8)
    assert cluster.gpu == topologies.gpu("h100")
    assert cluster.node.scale_up.achievable_bandwidth == pytest.approx(720e9)
    assert cluster.node.scale_up.fit.sources["launch_latency"] == "mine.yaml"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("900 GB/s", "-900 GB/s", "mine.yaml:4: nvlink.bandwidth: '-900 GB/s': a bandwidth must be positive"),
        ("900 GB/s", "0 GB/s", "mine.yaml:4: nvlink.bandwidth: '0 GB/s': a bandwidth must be positive"),
        ("900 GB/s", "1e99 GB/s", "mine.yaml:4: nvlink.bandwidth: '1e99 GB/s': absurdly large for a bandwidth"),
        ("900 GB/s", "900", "mine.yaml:4: nvlink.bandwidth: 900 has no unit; write for example '450 GB/s'"),
        ("900 GB/s", "900 GHz", "mine.yaml:4: nvlink.bandwidth: '900 GHz' is not a bandwidth; write for example"),
        (
            "0.8,",
            "1.8,",
            "mine.yaml:4: nvlink.achievable.bandwidth_efficiency: must be 1",
        ),
        ("gpu: h100", "gpu: h10", "mine.yaml:2: gpu: unknown GPU 'h10'; did you mean h100?"),
        ("gpu: h100", "gpu: 100", "mine.yaml:2: gpu: "),
        ("nic: ib-ndr400", "nic: [fast]", "mine.yaml:5: nic: "),
        ("nodes: 3", "nodes: 0", "mine.yaml:7: nodes: must be 1 or more, got 0"),
        ("nodes: 3", "nodes: 1e40", "mine.yaml:7: nodes: must be a whole number"),
        ("nodes: 3", "nodes: 999999999", "mine.yaml:7: nodes: must be 100,000 or less"),
        ("nodes: 3", "node: 3", "mine.yaml:7: node: unknown field; did you mean nodes?"),
        ("nodes: 3\n", "", "mine.yaml: nodes: this field is missing; add it"),
        (
            "rail-optimised",
            "star",
            "mine.yaml:8: wiring: must be 'rail-optimised', 'fat-tree' or 'torus', got 'star'",
        ),
        ("gpus_per_node: 4", "gpus_per_node: -4", "mine.yaml:3: gpus_per_node: must be 1 or more, got -4"),
        ("gpus_per_node: 4", "gpus_per_node: true", "mine.yaml:3: gpus_per_node: must be a whole number, got true"),
        (CLUSTER, "[]", "mine.yaml: should be a mapping of fields"),
        (
            "nic: ib-ndr400\nnics_per_node: 2\nnodes: 3",
            "nics_per_node: 2\nnodes: 1",
            "mine.yaml:5: nics_per_node: of which kind is not said; write for example nic: ib-ndr400",
        ),
        ("nics_per_node: 2\n", "", "mine.yaml: nics_per_node: this field is missing: how many NICs a node has"),
        ("nic: ib-ndr400\nnics_per_node: 2\n", "", "mine.yaml: nic: 3 nodes need a network; write for example"),
        ("nic: ib-ndr400", "pcie: nvlink4", "mine.yaml:5: pcie: nvlink is given too; the GPUs of a node are joined"),
        ("nodes: 3", "nodes: 3\nsockets: 2", "mine.yaml:8: sockets: only a PCIe tree has it; take it out, or write"),
        ("rail-optimised", "torus", "mine.yaml: torus: nothing is not 3 nodes; write sizes that multiply to it"),
        ("rail-optimised", "torus\ntorus: [2, 2]", "mine.yaml:9: torus: 2 x 2 is not 3 nodes; write sizes that"),
        ("rail-optimised", "torus\ntorus: [1,1,1,1,1,1,3]", "mine.yaml:9: torus: must have 6 or fewer entries"),
        (
            "nodes: 3\nwiring: rail-optimised",
            "nodes: 65\nwiring: torus\ntorus: [65]",
            "mine.yaml:9: torus: a ring of 65 nodes is too long; write sizes up to 64",
        ),
        ("rail-optimised", "torus\ntorus: [3]\nnodes_per_leaf: 4", "mine.yaml:10: nodes_per_leaf: a torus has no leaf"),
        ("rail-optimised", "fat-tree\ntorus: [3]", "mine.yaml:9: torus: wiring is fat-tree; write wiring: torus"),
        ("rail-optimised", "fat-tree\noversubscription: 2", "mine.yaml:9: oversubscription: one leaf for all nodes"),
        ("nodes: 3", "nodes: 3\npools: []", "mine.yaml:2: gpu: beside pools nothing is said of nodes; move it into"),
    ],
)
def test_a_wrong_cluster_file_is_refused_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    said = refusal(tmp_path / "mine.yaml", old, new)
    assert said.startswith(message)
    assert len(said.splitlines()) == 1


TREE = """\
name: tree
gpu: h100-80gb-sxm
gpus_per_node: 8
pcie: {name: slot, bandwidth: 64 GB/s, latency: 3 us, achievable: {bandwidth_efficiency: 0.8, launch_latency: 8 us}}
gpus_per_switch: 4
sockets: 2
socket_link: nvlink3
nodes: 1
"""


def test_a_pcie_tree_is_described_by_its_parameters(tmp_path: Path) -> None:
    path = tmp_path / "tree.yaml"
    path.write_text(TREE)
    node = topologies.load(path).node
    assert (node.layout, node.num_sockets, node.gpus_per_switch, node.nic) == ("pcie", 2, 4, None)
    assert node.socket_link == topologies.link("nvlink3")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("gpus_per_switch: 4", "gpus_per_switch: 3", "tree.yaml:5: gpus_per_switch: 3 does not divide the 4 GPUs of a"),
        ("sockets: 2", "sockets: 3", "tree.yaml:6: sockets: 3 does not divide the 8 GPUs of a node"),
        ("socket_link: nvlink3\n", "", "tree.yaml: socket_link: this field is missing: what joins the sockets"),
        ("sockets: 2\n", "", "tree.yaml:6: socket_link: there is one socket; write sockets: 2, or take this out"),
        ("node: 8\n", "node: 1\nbridge: nvlink3\n", "tree.yaml:7: sockets: 2 does not divide the 1 GPUs of a node"),
    ],
)
def test_a_pcie_tree_that_cannot_be_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "tree.yaml"
    path.write_text(TREE.replace(old, new))
    with pytest.raises(InputError) as caught:
        topologies.load(path)
    assert str(caught.value).startswith(message)


def test_a_mapping_lays_fields_over_a_name_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(CLUSTER)
    whole = topologies.load(path)
    changed = topologies.load({"name": str(path), "nics_per_node": 2, "wiring": "fat-tree"})
    node = replace(whole.node, num_nics=2)
    network = replace(whole.network, wiring="fat-tree")
    assert changed == replace(whole, pools=(replace(whole.pools[0], node=node),), network=network)
    assert topologies.load({"name": "hgx-h100"}, 16) == topologies.load("dgx-h100", 16)
    with pytest.raises(InputError, match="name is missing"):
        topologies.load({"nics_per_node": 2})


def test_what_a_change_leaves_without_meaning_goes(tmp_path: Path) -> None:
    path = tmp_path / "tree.yaml"
    path.write_text(TREE)
    switched = topologies.load({"name": str(path), "nvlink": "nvlink4"}).node
    assert (switched.layout, switched.num_sockets, switched.socket_link) == ("nvswitch", 1, None)
    assert topologies.load({"name": str(path), "sockets": 1}).node.socket_link is None
    torus = topologies.load({"name": "dgx-h100", "wiring": "torus", "torus": [4, 4, 2]})
    assert (torus.num_nodes, torus.network.torus) == (32, (4, 4, 2))


@pytest.mark.parametrize("wiring", ["rail-optimized", "rail_optimised", "rail_optimized", "fat_tree", "fattree"])
def test_a_wiring_has_other_spellings(tmp_path: Path, wiring: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(CLUSTER.replace("rail-optimised", wiring))
    assert topologies.load(path).network.wiring == ("fat-tree" if wiring.startswith("fat") else "rail-optimised")


def test_a_gpu_in_place_of_a_cluster_is_told_with_the_clusters_that_hold_it() -> None:
    for name, message in (
        ("H100", "H100 is a GPU, not a cluster; clusters with it: aws-p5, azure-ndv5, dgx-h100, gcp-a3-mega; or --set"),
        ("a10", "a10 is a GPU, not a cluster; write --set 'cluster={gpu: a10, fabric: ib-ndr400x8, nodes: 2}'"),
    ):
        with pytest.raises(InputError) as caught:
            topologies.load(name)
        assert str(caught.value).startswith(message)


@pytest.mark.parametrize("card", ["3090", "4090", "5090"])
def test_a_card_is_known_by_the_name_on_its_box(card: str) -> None:
    for spelling in (f"rtx {card}", f"GeForce RTX {card}", f"NVIDIA GeForce RTX {card}", f"rtx{card}"):
        assert topologies.gpu(spelling).name == f"rtx-{card}"


def test_without_a_word_on_it_gpus_are_joined_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "plain.yaml"
    for gpu, layout, link in (("h100", "nvswitch", "nvlink4"), ("l40s", "pcie", "pcie4"), ("mi300x", "mesh", None)):
        path.write_text(f"name: plain\ngpu: {gpu}\ngpus_per_node: 2\nnodes: 1\n")
        node = topologies.load(path).node
        assert node.layout == layout
        assert node.scale_up.name == link or link is None


MIXED = """\
name: mixed
pools:
- {gpu: h100, gpus_per_node: 8, nic: ib-ndr400, nics_per_node: 8, nodes: 2}
- {gpu: a100, gpus_per_node: 4, nic: ib-hdr200, nics_per_node: 4, nodes: 3}
wiring: fat-tree
"""


@pytest.mark.parametrize(
    ("asked", "nodes"), [(None, (2, 3)), (8, (1,)), (16, (2,)), (17, (2, 1)), (24, (2, 2)), (28, (2, 3))]
)
def test_mixed_nodes_are_taken_pool_after_pool(tmp_path: Path, asked: int | None, nodes: tuple[int, ...]) -> None:
    path = tmp_path / "mixed.yaml"
    path.write_text(MIXED)
    cluster = topologies.load(path, asked)
    assert tuple(pool.num_nodes for pool in cluster.pools) == nodes
    assert cluster.is_mixed == (len(nodes) == 2)
    assert cluster.gpu_at(0).name == "h100-80gb-sxm"


def test_a_mixed_cluster_names_the_pool_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "mixed.yaml"
    for old, new, message in (
        ("gpu: a100", "gpu: a10000", "mixed.yaml:4: pools.1.gpu: unknown GPU 'a10000'"),
        ("ib-hdr200, nics_per_node: 4,", "ib-hdr200,", "mixed.yaml:4: pools.1.nics_per_node: this field is missing"),
        ("nodes: 3", "nodes: 0", "mixed.yaml:4: pools.1.nodes: must be 1 or more"),
        ("nodes: 3", "node: 3", "mixed.yaml:4: pools.1.node: unknown field; did you mean nodes?"),
        (MIXED, "name: none\npools: []\n", "mixed.yaml:2: pools: must have 1 or more entries"),
        (
            MIXED,
            "name: many\npools:\n"
            + 65 * "  - {gpu: h100, gpus_per_node: 8, nic: ib-ndr400, nics_per_node: 8, nodes: 1}\n",
            "mixed.yaml:2: pools: must have 64 or fewer entries",
        ),
    ):
        path.write_text(MIXED.replace(old, new))
        with pytest.raises(InputError) as caught:
            topologies.load(path)
        assert str(caught.value).startswith(message)
    path.write_text(MIXED)
    with pytest.raises(InputError, match=r"gpus=29: mixed has 28 \(2 nodes of 8 and 3 nodes of 4\); use at most 28"):
        topologies.load(path, 29)


def test_a_job_on_part_of_a_torus_keeps_the_torus(tmp_path: Path) -> None:
    path = tmp_path / "torus.yaml"
    path.write_text(CLUSTER.replace("nodes: 3", "nodes: 12").replace("rail-optimised", "torus\ntorus: [3, 4]"))
    part = topologies.load(path, 20)
    assert (part.num_nodes, part.network.torus) == (5, (3, 4))


@pytest.mark.parametrize("kind", ["gpu", "link", "cluster"])
def test_the_schema_explains_every_field_to_an_editor(kind: sheets.Kind) -> None:
    made = sheets.schema(kind)
    definitions = made.get("$defs", {})
    assert isinstance(definitions, dict)
    objects = [part for part in (made, *definitions.values()) if "properties" in part]
    assert objects
    for part in objects:
        assert part["additionalProperties"] is False
        assert all("description" in field for field in part["properties"].values()), part["title"]


def test_the_schema_knows_units_and_the_names_of_parts() -> None:
    cluster = sheets.schema("cluster")["$defs"]
    assert isinstance(cluster, dict)
    assert "h100-80gb-sxm" in cluster["ClusterSheet"]["properties"]["gpu"]["examples"]
    assert "ib-ndr400" in cluster["NodeSheet"]["properties"]["nic"]["examples"]
    assert cluster["LinkSheet"]["properties"]["bandwidth"]["examples"] == ["450 GB/s"]
    assert cluster["LinkSheet"]["properties"]["bandwidth"]["type"] == "string"


def test_hardware_can_key_a_cache_and_cross_to_another_process() -> None:
    cluster = topologies.load("dgx-a100", 16)
    assert hash(cluster) == hash(topologies.load("dgx-a100", 16))
    assert pickle.loads(pickle.dumps(cluster)) == cluster


def test_importing_topologies_loads_nothing_heavy() -> None:
    code = (
        "import sys, topologies; print([m for m in ('pydantic', 'ruamel.yaml', 'numpy', 'simpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
