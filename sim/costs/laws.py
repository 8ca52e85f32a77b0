"""All laws by operation: what `calibrate` can fit, and what the simulator takes its times from."""

from collections.abc import Mapping
from typing import Final

from sim.costs import attention, gemm, grouped_gemm, memory_bound, power, processor, sharing
from sim.costs.collectives.all_to_all import LAWS as ALL_TO_ALL
from sim.costs.collectives.custom_all_reduce import LAWS as CUSTOM_ALL_REDUCE
from sim.costs.collectives.deepep import LAWS as DEEPEP
from sim.costs.collectives.gloo import LAWS as GLOO
from sim.costs.collectives.nccl import LAWS as NCCL
from sim.costs.collectives.point_to_point import LAWS as POINT_TO_POINT
from sim.costs.law import Law, Parameter
from topologies.document import InputError, closest
from topologies.fits import Fits
from topologies.hardware import PROCESSOR, Cluster, Fit, Gpu

ROUNDING: Final = 1e-3
"""A value at its limit may be written a little beyond it, in four digits."""

_KERNELS: Final[tuple[Law[Gpu], ...]] = (
    *gemm.LAWS,
    processor.PRODUCT,
    gemm.GRADIENTS,
    *grouped_gemm.LAWS,
    *attention.LAWS,
    attention.FORWARD,
    attention.BACKWARD,
    *memory_bound.LAWS,
    *power.LAWS,
    *sharing.LAWS,
)
_COLLECTIVES: Final[tuple[Law[Cluster], ...]] = (
    *NCCL,
    *ALL_TO_ALL,
    *CUSTOM_ALL_REDUCE,
    *DEEPEP,
    *POINT_TO_POINT,
    *GLOO,
)

KERNEL_LAWS: Final[Mapping[str, Law[Gpu]]] = {law.operation: law for law in _KERNELS}
"""What runs on one GPU, or where a processor stands for it: products in fp32 are its own."""

COLLECTIVE_LAWS: Final[Mapping[str, Law[Cluster]]] = {law.operation: law for law in _COLLECTIVES}
"""What runs on the links of a cluster."""


def check_fits(file: str, fits_by_part: Mapping[str, Fits]) -> None:
    """Raises InputError where a file of fits has an operation or a parameter that no law has, or lacks one, or where a
    value lies beyond what its law allows."""
    for part, fits in fits_by_part.items():
        for operation, fit in fits.items():
            _check_fit(f"{file}: {part}: {operation}", part, operation, fit)


def parameters_of(part: str, operation: str) -> Mapping[str, Parameter]:
    """The parameters of an operation's law on the part of that name; none where there is no law."""
    kernel = KERNEL_LAWS.get(operation)
    if kernel is not None and kernel.on_processor is not None and part.startswith(PROCESSOR):
        return kernel.on_processor.parameters
    law = kernel or COLLECTIVE_LAWS.get(operation)
    return law.parameters if law else {}


def _check_fit(at: str, part: str, operation: str, fit: Fit) -> None:
    parameters = parameters_of(part, operation)
    if not parameters:
        guess = closest(operation, [*KERNEL_LAWS, *COLLECTIVE_LAWS]) or "; leave it out"
        raise InputError(f"{at}: no cost is known for it{guess}")
    for name in parameters.keys() - fit.values.keys():
        raise InputError(f"{at}: values: {name} is missing; `calibrate fit` again")
    for name, value in fit.values.items():
        if name not in parameters:
            raise InputError(f"{at}: values.{name}: no such parameter{closest(name, [*parameters])}")
        low, high = parameters[name].low, parameters[name].high
        if not low - ROUNDING * abs(low) <= value <= high + ROUNDING * abs(high):
            raise InputError(f"{at}: values.{name}: {value:g} is beyond {low:g} to {high:g}; `calibrate fit` again")
