"""What the Serve page is told, as a serving scenario: its controls as YAML, and a reader's own trace of requests.

A trace is read from a temporary folder that is gone afterwards; no file of the server is.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from sim.requests.traces import loaded, within
from sim.scenario import serving
from sim.scenario.serving import ServingScenario
from topologies.document import InputError, Value, parse
from web import scenarios

MOST_REQUESTS: Final = 5_000
"""That the app plays: more take longer than a reader waits at a page."""
MOST_NAME: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A file of requests as a reader opened it."""

    name: str
    content: bytes


def text(fields: Mapping[str, Value], more: str) -> str:
    """A serving scenario's fields as YAML, always in the same form, with `more` of them, in YAML, laid over.

    Raises InputError where `more` holds no fields.
    """
    above = scenarios.fields(more) if more.strip() else {}
    return scenarios.text(scenarios.laid_over({"kind": "serving", **fields}, above))


@contextmanager
def opened(text: str, trace: Trace | None) -> Iterator[ServingScenario]:
    """The scenario in a text, its requests those of the trace where there is one, which lies on the disk meanwhile.

    Raises InputError that names the field, also for a reference to a file of the server, and for a load that is too
    long for a page.
    """
    document = parse(text, scenarios.TITLE)
    scenarios.check_references(document)
    data = document.data if isinstance(document.data, dict) else {}
    load = data.get("load")
    said = load if isinstance(load, dict) else {}
    if "trace" in said:
        raise InputError("load.trace: the app reads no files of the server; open the trace on the page")
    if trace is None:
        yield _bounded(serving.of(document))
        return
    with TemporaryDirectory() as folder:
        path = Path(folder, plain(trace.name))
        path.write_bytes(trace.content)
        moved = {**data, "load": {**said, "trace": str(path)}}
        yield _as_long(_bounded(serving.of(replace(document, data=moved))), path)


def renamed(scenario: ServingScenario, trace: Trace | None) -> ServingScenario:
    """The scenario as the reader has it: its trace lies beside it."""
    if trace is None:
        return scenario
    return replace(scenario, load=replace(scenario.load, trace=Path(plain(trace.name))))


def plain(name: str) -> str:
    """The name of a file without folders, and without what a shell might take for something else."""
    return re.sub(r"[^\w.-]+", "-", re.split(r"[/\\]", name)[-1]).strip("-.")[-MOST_NAME:] or "trace"


def _bounded(scenario: ServingScenario) -> ServingScenario:
    asked = scenario.load.num_requests
    if asked is None or asked > MOST_REQUESTS:
        fix = f"write at most {MOST_REQUESTS:,}, or use shardsim serve"
        raise InputError(f"load.num_requests: {'no end' if asked is None else f'{asked:,}'} is too many here; {fix}")
    return scenario


def _as_long(scenario: ServingScenario, path: Path) -> ServingScenario:
    """With no more requests than the trace holds, where they come when it says."""
    load = scenario.load
    if not load.is_replay or load.num_requests is None:
        return scenario
    held = len(within(loaded(path), load.window))
    return replace(scenario, load=replace(load, num_requests=min(load.num_requests, held)))
