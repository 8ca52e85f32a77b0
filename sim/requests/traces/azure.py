"""Azure's LLM inference traces of 2023 and 2024: dates, tokens of prompts and of answers [Azure/AzurePublicDataset,
AzureLLMInferenceDataset2023.md and 2024.md]."""

from pathlib import Path
from typing import Final

from sim.requests.traces.cells import dates, tokens
from sim.requests.traces.ordered import ordered
from sim.requests.traces.table import numbers
from sim.requests.traces.trace import Trace

COLUMNS: Final = frozenset({"TIMESTAMP", "ContextTokens", "GeneratedTokens"})


def load(path: Path) -> Trace:
    """TIMESTAMP is a date with fractions of seconds, in UTC."""
    found = numbers(path, {"TIMESTAMP": dates, "ContextTokens": tokens, "GeneratedTokens": tokens})
    return ordered(path.name, found["TIMESTAMP"], found["ContextTokens"], found["GeneratedTokens"])
