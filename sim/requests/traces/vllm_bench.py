"""The result of `vllm bench serve --save-result --save-detailed`: lists of input_lens, output_lens (0: it failed) and
start_times in seconds of a clock of its own, which older versions leave out [vllm/benchmarks/serve.py, 0.19]."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sim.requests.traces.cells import Cells, answers, times
from sim.requests.traces.ordered import answered
from sim.requests.traces.table import Item
from sim.requests.traces.trace import Trace
from topologies.document import InputError

FIELDS: Final = frozenset({"input_lens", "output_lens"})


def load(path: Path, result: Item) -> Trace:
    """Requests that failed are left out, with a note. A request came when its client sent it."""
    prompt = answers(_cells(path, result, "input_lens"))
    output = answers(_cells(path, result, "output_lens"))
    time = times(_cells(path, result, "start_times")) if "start_times" in result else None
    if len({len(column) for column in (prompt, output, time) if column is not None}) > 1:
        raise InputError(f"{path.name}: input_lens, output_lens and start_times are not of one length")
    return answered(path.name, time, prompt, output)


def _cells(path: Path, result: Item, name: str) -> Cells:
    values = result[name]
    if not isinstance(values, list) or not values:
        raise InputError(f"{path.name}: {name} is not a list of numbers; write the file with --save-detailed")
    return Cells(path.name, name, _places(values), values)


def _places(values: Sequence[object]) -> range:
    return range(1, len(values) + 1)
