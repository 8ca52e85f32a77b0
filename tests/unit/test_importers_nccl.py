"""Tables of nccl-tests become samples of the link that was measured."""

import pytest

from calibrate.importers import nccl
from calibrate.importers.table import table_of
from topologies.document import InputError

ONE_NODE = """gpu,num_gpus,nccl_version,collective,dtype,size_bytes,time_us
h100-80gb-sxm,2,2.27.3,all_reduce,half,512,6.2
h100-80gb-sxm,8,2.27.3,all_gather,int8,2048,10.5
h100-80gb-sxm,8,2.27.3,alltoall,half,2048,20.5
h100-80gb-sxm,1,2.27.3,all_reduce,half,512,3.0
"""
PUBLISHED = """gpu,num_gpus,nodes,nccl_version,collective,dtype,size_bytes,time_us_oop,time_us_ip,fabric,source
h100-80gb-sxm,16,2,2.26.2,all_reduce,float,8,68.52,24.7,ib-ndr400x8,an issue
h100-80gb-sxm,16,2,,all_reduce,float,1024,29.7,,ib-ndr400x8,an issue
gb200,72,18,2.26.2,all_reduce,float,536870912,1806.7,1835.9,nvl72,a page
"""


def test_inside_a_node_the_link_between_the_gpus_was_measured() -> None:
    kernels, exchange = nccl.read(table_of(ONE_NODE, "one.csv"), None)
    assert (kernels.operation, kernels.part, kernels.gpu) == ("nccl node", "nvlink4", "h100-80gb-sxm")
    assert list(kernels.points["num_gpus"]) == [2, 8]
    assert list(kernels.points["gpus_per_node"]) == [8, 8]
    assert list(kernels.points["operation"]) == [0, 1]
    assert list(kernels.points["is_integer"]) == [0, 1]
    assert list(kernels.points["nccl_version"]) == [2027, 2027]
    assert list(kernels.seconds) == pytest.approx([6.2e-6, 10.5e-6])
    assert list(kernels.rows) == [2, 3]
    assert exchange.operation == "nccl all-to-all node"
    assert list(exchange.rows) == [4]


def test_over_nodes_the_nic_was_measured_and_the_smaller_time_counts() -> None:
    between, domain = nccl.read(table_of(PUBLISHED, "logs.csv"), None)
    assert (between.operation, between.part, between.fabric) == ("nccl network", "ib-ndr400", "ib-ndr400x8")
    assert list(between.seconds) == pytest.approx([24.7e-6, 29.7e-6])
    assert list(between.points["nccl_version"]) == [2026, 2027]
    assert between.source == "an issue"
    assert domain.part == "nvlink5"


def test_the_trays_of_a_rack_are_one_node() -> None:
    _, domain = nccl.read(table_of(PUBLISHED, "logs.csv"), None)
    assert list(domain.points["num_nodes"]) == [1]
    assert list(domain.points["gpus_per_node"]) == [72]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "2.27.3,all_reduce,half,512,6.2",
            "latest,all_reduce,half,512,6.2",
            "one.csv:2: nccl_version: latest is not a",
        ),
        ("half,512,6.2", "half,0,6.2", "one.csv:2: size_bytes: 0 is not possible"),
        ("half,512,6.2", "half,512,nan", "one.csv:2: time_us"),
        ("half,512,6.2", "half,512,6.2 us", "one.csv:2: time_us: .* is not a number"),
    ],
)
def test_what_cannot_be_is_told_with_its_line(old: str, new: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        nccl.read(table_of(ONE_NODE.replace(old, new, 1), "one.csv"), None)


def test_a_row_without_a_time_is_told() -> None:
    with pytest.raises(InputError, match=r"logs.csv:3: time_us_oop: empty"):
        nccl.read(table_of(PUBLISHED.replace("29.7,,", ",,"), "logs.csv"), None)


def test_an_unknown_fabric_is_told() -> None:
    with pytest.raises(InputError, match=r"logs.csv:2: fabric: "):
        nccl.read(table_of(PUBLISHED.replace("ib-ndr400x8", "carrier-pigeon"), "logs.csv"), None)
