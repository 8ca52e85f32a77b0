"""What `calibrate verify --out` writes: the page, the same as JSON, and each block's traces for Perfetto."""

from collections.abc import Iterator
from pathlib import Path

from calibrate.verification.page import REAL, SIMULATED, key_of, real_timeline, render
from calibrate.verification.predicted import plan_of
from calibrate.verification.verified import Verification, Verified, record
from sim.reports.files import put
from sim.reports.tables import as_json
from sim.trace import perfetto

PAGE = "verify.html"


def write(verification: Verification, folder: Path) -> tuple[Path, ...]:
    """Write everything into a folder that is there; returns the files.

    Raises InputError where it cannot be written.
    """
    traces = {name: trace for one in verification.blocks for name, trace in _traces(one, verification.num_ranks)}
    contents = {
        PAGE: render(verification).encode(),
        "results.json": as_json(record(verification)).encode(),
        **traces,
    }
    return put(contents, folder)


def _traces(one: Verified, num_ranks: int) -> Iterator[tuple[str, bytes]]:
    """What the ranks did and what they were predicted to do, each with its file's name."""
    plan, key = plan_of(one.ran.name, one.ran.sizes, num_ranks), key_of(one.ran.name)
    yield f"traces/{key}.{REAL}.json.gz", perfetto(real_timeline(one), plan)
    yield f"traces/{key}.{SIMULATED}.json.gz", perfetto(one.played, plan)
