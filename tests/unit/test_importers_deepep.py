"""DeepEP's benchmarks become samples of NVLink in a node and of the NIC between nodes."""

import pytest

from calibrate.importers.deepep import COLUMNS, read
from calibrate.importers.table import table_of
from topologies.document import InputError

NORMAL = """\
gpu,node_num,hidden_size,num_token,num_topk,num_experts,dispatch_sms,dispatch_transmit_us,dispatch_notify_us,\
combine_sms,combine_transmit_us,combine_notify_us
H100-SXM5-80GB,1,7168,4096,8,256,20,491.7,0.0,20,977.6,0.0
H100-SXM5-80GB,2,7168,4096,8,256,24,749.0,56.0,24,1777.0,50.1
"""
LOW_LATENCY = """\
gpu,node_num,hidden_size,num_token,num_topk,num_experts,combine_avg_t_us,dispatch_avg_t_us
H100-SXM5-80GB,1,7168,128,8,256,69.7,38.3
"""


def test_normal_kernels_are_read_with_their_notification() -> None:
    """Two phases, one node and two: of two nodes 749 + 56 us on the NIC."""
    table = table_of(NORMAL, "normal.csv")
    assert set(table.header) >= COLUMNS
    found = {(samples.operation, samples.part): samples for samples in read(table, None)}
    assert set(found) == {
        ("deepep normal dispatch node", "nvlink4"),
        ("deepep normal combine node", "nvlink4"),
        ("deepep normal dispatch network", "ib-ndr400"),
        ("deepep normal combine network", "ib-ndr400"),
    }
    network = found["deepep normal dispatch network", "ib-ndr400"]
    assert network.seconds.tolist() == pytest.approx([805e-6])
    assert {name: column[0] for name, column in network.points.items()} == {
        "num_tokens": 4096,
        "hidden": 7168,
        "topk": 8,
        "num_experts": 256,
        "num_gpus": 16,
        "num_nodes": 2,
        "gpus_per_node": 8,
        "num_sms": 24,
    }
    assert (network.gpu, network.fabric, network.rows.tolist()) == ("h100-80gb-sxm", "ib-ndr400x8", [3])


def test_low_latency_kernels_are_told_by_their_columns() -> None:
    found = read(table_of(LOW_LATENCY, "low.csv"), None)
    assert [samples.operation for samples in found] == [
        "deepep low-latency dispatch node",
        "deepep low-latency combine node",
    ]
    assert found[0].seconds.tolist() == pytest.approx([38.3e-6])


def test_a_cell_that_cannot_be_is_told_with_its_place() -> None:
    with pytest.raises(InputError, match=r"normal\.csv:2: num_token"):
        read(table_of(NORMAL.replace(",4096,", ",-1,", 1), "normal.csv"), None)
