"""All-reduces of serving frameworks become samples of the kernel that ran: by framework, version and link."""

from dataclasses import replace

import numpy as np

from calibrate.importers.custom_all_reduce import COLUMNS, read
from calibrate.importers.table import table_of
from sim.costs.collectives.custom_kernels import KERNELS

HEAD = "gpu,num_gpus,framework,version,kernel,backend,dtype,message_elements,size_bytes,time_us\n"


def rows(*cells: str) -> str:
    return HEAD + "".join(f"{row}\n" for row in cells)


def row(gpu: str, num_gpus: int, framework: str, version: str, backend: str, time: float = 5.0) -> str:
    return f"{gpu},{num_gpus},{framework},{version},any,{backend},bfloat16,256,512,{time}"


def test_the_version_decides_which_kernel_ran() -> None:
    """Old SGLang had vLLM's; TensorRT-LLM's is also called from within SGLang."""
    table = table_of(
        rows(
            row("H100-SXM5-80GB", 8, "vllm", "0.14.0", "vllm_graph"),
            row("H100-SXM5-80GB", 8, "vllm", "0.24.0", "vllm_eager"),
            row("H100-SXM5-80GB", 8, "sglang", "0.5.10", "sglang_graph"),
            row("H100-SXM5-80GB", 8, "sglang", "0.5.14", "sglang_graph"),
            row("H100-SXM5-80GB", 8, "sglang", "0.5.6.post2", "trtllm"),
            row("H100-SXM5-80GB", 8, "trtllm", "1.3.0rc20", "trtllm"),
        ),
        "custom.csv",
    )
    assert set(table.header) >= COLUMNS
    found = {samples.operation.removeprefix("custom all-reduce "): samples for samples in read(table, None)}
    kernels = {name: [KERNELS[int(k)] for k in samples.points["kernel"]] for name, samples in found.items()}
    assert kernels == {
        "vllm": ["vllm before 0.16", "vllm", "sglang before 0.5.12"],
        "sglang": ["sglang"],
        "trtllm": ["trtllm before 1.3", "trtllm"],
    }
    assert found["vllm"].points["graph"].tolist() == [1, 0, 1]
    assert found["vllm"].part == "nvlink4"


def test_over_pcie_more_than_two_gpus_measure_nccl() -> None:
    """And only in a graph: outside of it the host is measured too."""
    table = table_of(
        rows(
            row("L40S", 2, "vllm", "0.14.0", "vllm_graph"),
            row("L40S", 4, "vllm", "0.14.0", "vllm_graph"),
            row("L40S", 4, "vllm", "0.14.0", "vllm_eager"),
        ),
        "custom.csv",
    )
    found = {samples.operation: samples.rows.tolist() for samples in read(table, None)}
    assert found == {"nccl node": [3], "custom all-reduce vllm": [2]}


def test_over_pcie_large_sums_of_two_gpus_measure_nccl() -> None:
    """The last size is above all that a framework sums itself."""
    table = table_of(rows(row("L40S", 2, "vllm", "0.14.0", "vllm_graph")), "custom.csv")
    sizes = np.full(len(table), str(2**25))
    large = replace(table, columns={**table.columns, "size_bytes": sizes})
    assert {samples.operation for samples in read(large, None)} == {"nccl node"}


def test_several_trays_and_unknown_frameworks_are_left_out() -> None:
    table = table_of(
        rows(
            row("GB300", 4, "vllm", "0.27.0", "vllm_graph"),
            row("GB300", 8, "vllm", "0.27.0", "vllm_graph"),
            row("H100-SXM5-80GB", 4, "other", "1.0", "other_graph"),
        ),
        "custom.csv",
    )
    assert [samples.rows.tolist() for samples in read(table, None)] == [[2]]
