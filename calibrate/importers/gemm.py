"""Linear layers timed one by one: dtype, m tokens, n outputs, k inputs, microseconds. The table names no GPU."""

from typing import Final

import numpy as np

from calibrate.importers.table import Table
from calibrate.samples import Samples
from topologies.document import InputError
from topologies.quantity import MICROSECOND

COLUMNS: Final = frozenset({"dtype", "m", "n", "k", "time_us"})
LEFT_OUT: Final = "a number format that no GEMM is fitted for; bf16, fp16, fp8, fp8_block, mxfp8 and nvfp4 are"

PRECISIONS: Final = {
    "bfloat16": "bf16",
    "float16": "bf16",
    **{name: name for name in ("bf16", "fp8", "fp8_block", "mxfp8", "nvfp4", "int8_weight", "int4_weight")},
    "fp16": "bf16",
}
"""What tables call a precision, and whose fit it is."""


def read(table: Table, gpu: str | None) -> list[Samples]:
    """One Samples for each precision in the table. Raises InputError where the caller does not say on which GPU."""
    if gpu is None:
        raise InputError(f"{table.name}: the table does not name the GPU that was measured; say --gpu NAME")
    names = np.char.lower(table.texts("dtype"))
    points = {name: table.numbers(name, low=1.0) for name in ("m", "n", "k")}
    seconds = table.numbers("time_us") * MICROSECOND
    operations = np.array([PRECISIONS.get(str(name), "") for name in names])
    return [
        Samples(
            operation=f"gemm {precision}",
            part=gpu,
            points={name: column[operations == precision] for name, column in points.items()},
            seconds=seconds[operations == precision],
            rows=table.rows[operations == precision],
            source=f"linear layers under CUDA graphs ({table.name})",
        )
        for precision in sorted(set(operations) - {""})
    ]
