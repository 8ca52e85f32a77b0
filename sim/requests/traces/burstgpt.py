"""BurstGPT: requests to ChatGPT and GPT-4 of a university, in seconds; those without response tokens failed
[HPMLL/BurstGPT, README.md; releases v1.1 and v2.0, whose files have further columns]."""

from pathlib import Path
from typing import Final

from sim.requests.traces.cells import answers, times
from sim.requests.traces.ordered import answered
from sim.requests.traces.table import numbers
from sim.requests.traces.trace import Trace

COLUMNS: Final = frozenset({"Timestamp", "Request tokens", "Response tokens"})


def load(path: Path) -> Trace:
    """Requests that failed are left out, with a note."""
    found = numbers(path, {"Timestamp": times, "Request tokens": answers, "Response tokens": answers})
    return answered(path.name, found["Timestamp"], found["Request tokens"], found["Response tokens"])
