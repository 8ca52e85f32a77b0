"""The shipped fits, made again from the measured tables: `calibrate fit`, once for each source of measurements."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.measured.kernels import FOLDER, GPUS

TARGET = Path(__file__).parents[2] / "topologies" / "fits"
AICONFIGURATOR = "aiconfigurator-core 0.12.0 (Apache-2.0)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """Tables of one source, and the GPU of rows that do not name theirs."""

    paths: Sequence[str]
    source: str
    gpu: str | None = None


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
    Lot(paths=("memory_bound/elementwise_ops.csv",), source="Vidur's profiles of kernels (MIT)"),
    Lot(paths=[f"collectives/nccl_{name}_1node.csv" for name in GPUS], source=f"{AICONFIGURATOR}, nccl-tests"),
    Lot(paths=("collectives/nccl_tests_published.csv",), source="published logs of nccl-tests, 16 to 72 GPUs"),
    Lot(paths=("collectives/custom_allreduce_1node.csv",), source=f"{AICONFIGURATOR}, custom all-reduce"),
    Lot(paths=("collectives/deepep_low_latency.csv", "collectives/deepep_normal.csv"),
        source=f"{AICONFIGURATOR}, DeepEP"),
)  # fmt: skip


def main() -> int:
    """Fit lot after lot into the package; returns the exit code of the first that fails."""
    if not FOLDER.is_dir():
        sys.exit("make fits: the measured tables are not beside the repository (../shared/measured); the fits stay")
    for lot in LOTS:
        files = [str(FOLDER / path) for path in lot.paths]
        told = ["--source", lot.source, "--out", str(TARGET), *(["--gpu", lot.gpu] if lot.gpu else [])]
        done = subprocess.run([sys.executable, "-m", "calibrate.cli", "fit", *files, *told], check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
