"""The shipped fits, made again from the measured tables: `calibrate fit`, once for each source of measurements."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.measured.kernels import FOLDER, GPUS, SERVED

TARGET = Path(__file__).parents[2] / "topologies" / "fits"
AICONFIGURATOR = "aiconfigurator-core 0.12.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """Tables that are fitted together, the GPU of rows that do not name theirs, and which operations are fitted."""

    paths: Sequence[str]
    source: str
    gpu: str | None = None
    only: str | None = None


LOTS = (
    *(
        Lot(paths=(f"gemm/gemm_{name}.csv", f"attention/prefill_{name}.csv", f"attention/decode_{name}.csv"),
            source=f"{AICONFIGURATOR}, {name.upper()} tables", gpu=gpu)
        for name, gpu in GPUS.items()
    ),
    *(
        Lot(paths=(f"gemm/moe_{name}.csv",), source=f"{AICONFIGURATOR}, {name.upper()} tables", gpu=GPUS[name])
        for name in ("h100", "h200")
    ),
    Lot(paths=SERVED, source="LLMServingSim 2.0, operators of vLLM 0.19 (casys-kaist/LLMServingSim 5daddb2)"),
    Lot(paths=("memory_bound/elementwise_ops.csv",), source="Vidur's profiles of kernels (MIT)"),
    Lot(paths=(*(f"collectives/nccl_{name}_1node.csv" for name in GPUS), "collectives/nccl_tests_published.csv"),
        source=f"{AICONFIGURATOR}, and published logs of nccl-tests"),
    Lot(paths=("collectives/custom_allreduce_1node.csv",), source=f"{AICONFIGURATOR}, custom all-reduce",
        only="custom all-reduce"),
    Lot(paths=("collectives/deepep_low_latency.csv", "collectives/deepep_normal.csv"),
        source=f"{AICONFIGURATOR}, DeepEP"),
)  # fmt: skip
"""A file of fits holds the last fit of an operation: all tables of one operation on one part are in one lot. NCCL over
PCIe is not fitted: the boxes in the table differ tenfold, and nothing in it says which has peer-to-peer copies."""


def _optional(lot: Lot) -> list[str]:
    given = {"--gpu": lot.gpu, "--only": lot.only}
    return [word for option, value in given.items() if value for word in (option, value)]


def main() -> int:
    """Fit lot after lot into the package; returns the exit code of the first that fails."""
    if not FOLDER.is_dir():
        sys.exit("make fits: the measured tables are not beside the repository (../shared/measured); the fits stay")
    for lot in LOTS:
        files = [str(FOLDER / path) for path in lot.paths]
        told = ["--source", lot.source, "--out", str(TARGET), *_optional(lot)]
        done = subprocess.run([sys.executable, "-m", "calibrate.cli", "fit", *files, *told], check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
