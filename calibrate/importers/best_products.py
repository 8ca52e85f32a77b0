"""The fastest matrix product that a search found on each accelerator: its shape and rate (mamf-finder's tables)."""

import numpy as np

from calibrate.importers import gemm
from calibrate.importers.table import Table
from calibrate.samples import Samples
from topologies.catalogue import named
from topologies.document import InputError
from topologies.quantity import MICROSECOND, TERA

COLUMNS = frozenset({"accelerator", "dtype", "mamf_tflops", "best_m", "best_n", "best_k"})
LEFT_OUT = "an accelerator that is not in the catalogue, or a number format that no GEMM is fitted for"

_FORMATS = {"fp8_e4m3": "fp8", "fp8_e5m2": "fp8"}


def read(table: Table, gpu: str | None) -> list[Samples]:
    """One Samples for each number format on each accelerator that the catalogue has."""
    del gpu  # a row names its accelerator
    shape = {name: table.numbers(f"best_{name}", low=1.0) for name in ("m", "n", "k")}
    seconds = 2 * shape["m"] * shape["n"] * shape["k"] / (table.numbers("mamf_tflops") * TERA)
    columns = {name: table.texts(f"best_{name}") for name in shape}
    columns["dtype"] = np.array([_FORMATS.get(str(name), str(name)) for name in table.texts("dtype")], dtype=np.str_)
    columns["time_us"] = np.array([f"{time / MICROSECOND:.8g}" for time in seconds], dtype=np.str_)
    whole = Table(name=table.name, header=tuple(columns), rows=table.rows, columns=columns)
    names = table.texts("accelerator")
    return [
        samples
        for name in dict.fromkeys(map(str, names))
        if (part := _known(name)) is not None
        for samples in gemm.read(whole.where(names == name), part)
    ]


def _known(name: str) -> str | None:
    try:
        return named("gpus", name)
    except InputError:
        return None
