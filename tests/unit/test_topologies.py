"""Laws of the hardware catalogue and of users' cluster files."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import topologies
from topologies.document import InputError, read
from topologies.quantity import GIB

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
    ],
)
def test_a_dgx_has_eight_gpus_and_a_nic_for_each(cluster: str, gpu: str, nvlink: float, nic: float) -> None:
    node = topologies.load(cluster).node
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


@pytest.mark.parametrize("name", topologies.names("gpus"))
def test_usable_memory_is_a_little_less_than_the_package_holds(name: str) -> None:
    package = 40 if "40gb" in name else 80
    assert package * 0.98 < topologies.gpu(name).memory_nbytes / GIB < package


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


@pytest.mark.parametrize(("fabric", "name"), [("ib-hdr200x8", "ib-hdr200"), ("ib-ndr400x8", "ib-ndr400")])
def test_fabrics_of_measured_tables_find_their_link(fabric: str, name: str) -> None:
    assert topologies.link(fabric).name == name


@pytest.mark.parametrize("family", ["clusters", "gpus", "links"])
def test_a_sheet_is_named_as_its_file_and_every_spelling_means_one_part(family: topologies.Family) -> None:
    folder = Path(topologies.__file__).parent / family
    spellings: list[str] = []
    for name in topologies.names(family):
        data = read(folder / f"{name}.yaml").data
        assert isinstance(data, dict)
        assert data["name"] == name
        listed = data["aliases"]
        assert isinstance(listed, list)
        spellings += [name, *(str(alias).lower() for alias in listed)]
    assert len(spellings) == len(set(spellings))
    assert set(topologies.aliases(family).values()) <= set(topologies.names(family))


@pytest.mark.parametrize("family", ["clusters", "gpus", "links"])
def test_every_figure_of_the_catalogue_has_its_source(family: topologies.Family) -> None:
    for name in topologies.names(family):
        data = read(Path(topologies.__file__).parent / family / f"{name}.yaml").data
        assert isinstance(data, dict)
        achievable, sources = data.pop("achievable", {}), data.pop("sources")
        assert isinstance(achievable, dict)
        assert isinstance(sources, dict)
        assert {*data, *achievable} - {"name", "aliases"} == set(sources), name
        assert all(isinstance(source, str) and len(source) > 20 for source in sources.values())


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
        (lambda: topologies.gpu("h1000"), "unknown GPU 'h1000'; did you mean h100? known are a100-40gb-sxm"),
        (lambda: topologies.link("ib-ndr40"), "unknown link 'ib-ndr40'; did you mean ib-ndr400? known are ib-hdr200"),
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
            "mine.yaml:4: nvlink.achievable.bandwidth_efficiency: input should be less than or equal to 1",
        ),
        ("gpu: h100", "gpu: h10", "mine.yaml:2: gpu: unknown GPU 'h10'; did you mean h100?"),
        ("gpu: h100", "gpu: 100", "mine.yaml:2: gpu: "),
        ("nic: ib-ndr400", "nic: [fast]", "mine.yaml:5: nic: "),
        ("nodes: 3", "nodes: 0", "mine.yaml:7: nodes: input should be greater than or equal to 1, got 0"),
        ("nodes: 3", "nodes: 1e40", "mine.yaml:7: nodes: input should be a valid integer"),
        ("nodes: 3", "nodes: 999999999", "mine.yaml:7: nodes: input should be less than or equal to 100000"),
        ("nodes: 3", "node: 3", "mine.yaml:7: node: unknown field; did you mean nodes?"),
        ("nodes: 3\n", "", "mine.yaml: nodes: this field is missing; add it"),
        (
            "rail-optimised",
            "star",
            "mine.yaml:8: wiring: input should be 'rail-optimised', 'fat-tree' or 'torus', got 'star'",
        ),
        ("gpus_per_node: 4", "gpus_per_node: -4", "mine.yaml:3: gpus_per_node: input should be greater than or"),
        ("gpus_per_node: 4", "gpus_per_node: true", "mine.yaml:3: gpus_per_node: input should be a valid integer"),
        (CLUSTER, "[]", "mine.yaml: should be a mapping of fields"),
    ],
)
def test_a_wrong_cluster_file_is_refused_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    said = refusal(tmp_path / "mine.yaml", old, new)
    assert said.startswith(message)
    assert len(said.splitlines()) == 1


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
