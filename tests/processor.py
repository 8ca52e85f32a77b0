"""Processes on a processor, with sheets of round figures."""

from calibrate.machines.machine import CPU_PREFIX, LOOPBACK, Machine
from topologies.document import Value

PART = f"{CPU_PREFIX}amd-epyc"
SHEET: dict[str, Value] = {
    "name": PART,
    "peak_flops": {"bf16": "10 GFLOP/s", "fp32": "80 GFLOP/s"},
    "memory": "8 GiB",
    "memory_bandwidth": "10 GB/s",
    "num_sms": 1,
    "l2_cache": "32 MiB",
    "power_limit": "100 W",
    "achievable": {
        "gemm_efficiency": 0.95,
        "memory_efficiency": 0.9,
        "kernel_latency": "5 us",
        "flash_forward_efficiency": 0.5,
        "flash_backward_efficiency": 0.4,
    },
}
LINK: dict[str, Value] = {
    "name": LOOPBACK,
    "bandwidth": "2 GB/s",
    "latency": "100 us",
    "achievable": {"bandwidth_efficiency": 0.8, "launch_latency": "200 us"},
}
HARDWARE: dict[str, Value] = {"gpu": SHEET, "link": LINK}
CPU = Machine(backend="gloo", part=PART, link=LOOPBACK, device="AMD EPYC", num_gpus=2, num_nodes=1, hardware=HARDWARE)
