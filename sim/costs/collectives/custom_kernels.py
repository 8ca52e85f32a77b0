"""Which all-reduce kernel a framework takes for a message: by its size, the group, and the generation of the GPUs.

vLLM's kernel reads the peers' buffers in one shot or, above a size, in two; SGLang had the same before it wrote its
own; TensorRT-LLM looks the fastest up in a table. Over PCIe kernels serve two GPUs only [vLLM, custom_all_reduce.py].
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from sim.costs.collectives.group import Generation
from topologies.quantity import KIB, MIB

Algorithm = Literal["one_shot", "two_shot", "symmetric"]
Family = Literal["vllm", "sglang", "trtllm"]
"""Whose code runs; a family has one set of fitted parameters."""
Kernel = Literal["vllm", "vllm before 0.16", "sglang", "sglang before 0.5.12", "trtllm", "trtllm before 1.3"]
KERNELS: Final[tuple[Kernel, ...]] = (
    "vllm",
    "vllm before 0.16",
    "sglang",
    "sglang before 0.5.12",
    "trtllm",
    "trtllm before 1.3",
)
"""The column `kernel` of the points holds the place in this list."""
Sizes = Mapping[int, float]
"""For groups of so many GPUs, and smaller ones that are not named, the bytes from which on it is not taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How a framework chooses: by generation the limits of each algorithm, of which it takes the first that is above
    the message, or the fastest of those; else NCCL. `source` says where the limits are from."""

    family: Family
    takes_fastest: bool
    limits: Mapping[Generation, Mapping[Algorithm, Sizes]]
    source: str


def limit(choice: Choice, generation: Generation, algorithm: Algorithm, num_gpus: int) -> float:
    """Bytes from which on an algorithm is not taken by a group; 0 where it never is."""
    limits = choice.limits.get(generation) or choice.limits["ampere"]
    sizes = limits.get(algorithm, {})
    return next((sizes[size] for size in sorted(sizes) if size >= num_gpus), 0.0)


_SHOTS: Final[Mapping[Algorithm, Sizes]] = {
    "one_shot": {2: 8 * MIB, 4: 512 * KIB, 8: 256 * KIB},
    "two_shot": {8: 8 * MIB},
}
_INCLUDED: Final = 8 * MIB + 1
_MEASURED: Final = 2.0
"""Limits that nobody states lie between two sizes that were measured: twice the last that beat NCCL."""

CHOICES: Final[Mapping[Kernel, Choice]] = {
    "vllm": Choice(
        family="vllm",
        takes_fastest=False,
        limits={
            "ampere": _SHOTS,
            "hopper": {
                "one_shot": _SHOTS["one_shot"],
                "two_shot": {4: 8 * MIB},
                "symmetric": {2: 64 * MIB, 4: 32 * MIB, 8: 64 * MIB},
            },
            "blackwell": {
                "one_shot": {2: 2 * MIB, 4: 512 * KIB, 8: 256 * KIB},
                "two_shot": {4: 2 * MIB, 8: 1 * MIB},
                "symmetric": {2: 8 * MIB, 4: 32 * MIB, 8: 128 * MIB},
            },
        },
        source="vLLM, distributed/device_communicators/all_reduce_utils.py and csrc/custom_all_reduce.cuh",
    ),
    "vllm before 0.16": Choice(
        family="vllm", takes_fastest=False, limits={"ampere": _SHOTS}, source="vLLM, csrc/custom_all_reduce.cuh"
    ),
    "sglang": Choice(
        family="sglang",
        takes_fastest=True,
        limits={
            "ampere": {"one_shot": {8: _INCLUDED}, "two_shot": {8: _INCLUDED}},
            "hopper": {
                "one_shot": {4: _MEASURED * 8 * MIB, 8: _MEASURED * 2 * MIB},
                "two_shot": {4: _MEASURED * 8 * MIB, 8: _MEASURED * 2 * MIB},
            },
            "blackwell": {"one_shot": {8: _MEASURED * 8 * MIB}, "two_shot": {8: _MEASURED * 8 * MIB}},
        },
        source="as measured, SGLang 0.5.14",
    ),
    "sglang before 0.5.12": Choice(
        family="vllm",
        takes_fastest=False,
        limits={"ampere": {"one_shot": {**_SHOTS["one_shot"], 2: _INCLUDED}, "two_shot": {8: _INCLUDED}}},
        source="SGLang, custom_all_reduce.py: at most 8 MiB",
    ),
    "trtllm": Choice(
        family="trtllm",
        takes_fastest=True,
        limits={
            "ampere": {"one_shot": {8: _MEASURED * 512 * KIB}},
            "hopper": {"one_shot": {2: _MEASURED * 2 * MIB, 4: _MEASURED * 512 * KIB, 8: _MEASURED * 128 * KIB}},
            "blackwell": {
                "one_shot": {2: _MEASURED * 8 * MIB, 4: _MEASURED * 2 * MIB, 8: _MEASURED * 512 * KIB},
                "two_shot": {4: _MEASURED * 2 * MIB, 8: _MEASURED * 512 * KIB},
            },
        },
        source="as measured, TensorRT-LLM 1.3",
    ),
    "trtllm before 1.3": Choice(
        family="trtllm",
        takes_fastest=True,
        limits={
            "ampere": {"one_shot": {8: _MEASURED * 512 * KIB}},
            "hopper": {"one_shot": {2: _MEASURED * 2 * MIB, 4: _MEASURED * 32 * KIB, 8: _MEASURED * 128 * KIB}},
            "blackwell": {
                "one_shot": {2: _MEASURED * 8 * MIB, 4: _MEASURED * 2 * MIB, 8: _MEASURED * 2 * MIB},
                "two_shot": {4: _MEASURED * 2 * MIB, 8: _MEASURED * 2 * MIB},
            },
        },
        source="as measured, TensorRT-LLM 1.2",
    ),
}
