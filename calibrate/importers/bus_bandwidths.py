"""Bus bandwidths of nccl-tests at one large size, as guides print them: with NCCL's own choice, and without NVLS.

The time follows from the definition: bus bandwidth is size/time, times 2(n-1)/n for an all-reduce and (n-1)/n for the
other collectives [nccl-tests, doc/PERFORMANCE.md].
"""

import re

import numpy as np

from calibrate.importers import nccl
from calibrate.importers.nccl_runs import COLUMNS as PUBLISHED
from calibrate.importers.table import Table
from calibrate.samples import Samples
from topologies.quantity import GIB, GIGA, MICROSECOND

COLUMNS = frozenset({"setup", "num_gpus", "algo", "busbw_default_GBps", "collective"})
LEFT_OUT = "the row names no GPU and size, or forces an algorithm that NCCL would not choose"

_SETUP = re.compile(r"(\w+) x\d+\b.*?(\d+) GiB")
_VERSION = re.compile(r"nccl (\d+\.\d+\.\d+)")


def read(table: Table, gpu: str | None) -> list[Samples]:
    """The rows where NCCL chose by itself."""
    found = [_SETUP.search(str(setup)) for setup in table.texts("setup")]
    forced = np.array(["NVLS=" in str(collective) for collective in table.texts("collective")])
    usable = np.array([match is not None for match in found]) & ~forced
    kept, setups = table.where(usable), [match for match, use in zip(found, usable, strict=True) if match and use]
    if not len(kept):
        return []
    nbytes = np.array([float(match[2]) * GIB for match in setups])
    num_gpus = kept.numbers("num_gpus", low=2)
    factor = np.where(kept.texts("collective") == "all_reduce", 2.0, 1.0) * (num_gpus - 1) / num_gpus
    seconds = nbytes * factor / (kept.numbers("busbw_default_GBps") * GIGA)
    versions = [_VERSION.search(str(setup)) for setup in kept.texts("setup")]
    cells = {
        "gpu": [match[1] for match in setups],
        "num_gpus": list(map(str, kept.texts("num_gpus"))),
        "nodes": ["1"] * len(kept),
        "nccl_version": [version[1] if version else "" for version in versions],
        "collective": list(map(str, kept.texts("collective"))),
        "dtype": ["half"] * len(kept),
        "size_bytes": [f"{size:.0f}" for size in nbytes],
        "time_us_oop": [f"{time / MICROSECOND:.6g}" for time in seconds],
        "fabric": ["nvlink-only"] * len(kept),
        "source": [table.name] * len(kept),
    }
    columns = {name: np.array(cells.get(name, [""] * len(kept)), dtype=np.str_) for name in PUBLISHED}
    return nccl.read(Table(name=table.name, header=PUBLISHED, rows=kept.rows, columns=columns), gpu)
