"""What happens before a step is played: entries are read, files are refused, collectives are priced."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import pytest

import topologies
from benchmarks.conftest import Show
from sim import models
from sim.costs.collectives import all_reduce
from sim.models import entries
from tests.unit.test_document import HOSTILE
from topologies import catalogue, parts
from topologies.document import InputError, parse, read
from topologies.sheets import gpu

ROUNDS = 5
BAR = 0.05
PRICING_BAR = 0.01
REFUSAL_BAR = 10.0
MILLI = 1e-3


def best_of(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Best wall seconds."""
    best = math.inf
    for _ in range(rounds):
        start = perf_counter()
        work()
        best = min(best, perf_counter() - start)
    return best


def assert_within(show: Show, what: str, seconds: float, bar: float) -> None:
    verdict = "" if seconds < bar else "  MISSED"
    show(f"{what:<48} {seconds / MILLI:>8.1f} ms, bar {bar / MILLI:>6.0f} ms{verdict}")
    assert seconds < bar


def load_again() -> None:
    entries._family.cache_clear()
    models.load("llama3-70b")


def test_an_entry_loads_in_under_50_ms(show: Show) -> None:
    assert_within(show, "a model of the catalogue is loaded", best_of(load_again), BAR)


def load_cluster_again(name: str) -> None:
    for cached in (parts.gpu, parts.link, catalogue.aliases, catalogue._is_name, topologies._from_catalogue):
        cached.cache_clear()
    topologies.load(name)


def test_the_slowest_cluster_loads_in_under_50_ms(show: Show) -> None:
    slowest = max(best_of(lambda name=name: load_cluster_again(name)) for name in topologies.names())  # type: ignore[misc]
    assert_within(show, "the slowest cluster of the catalogue is loaded", slowest, BAR)


def test_a_cluster_loads_in_under_50_ms_in_a_fresh_process(show: Show) -> None:
    code = (
        "import topologies, time; t = time.perf_counter(); topologies.load('hgx-h100'); print(time.perf_counter() - t)"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True) for _ in range(ROUNDS)]
    assert_within(show, "a cluster is loaded by its alias, first of all", min(float(run.stdout) for run in runs), BAR)


def test_a_sheet_is_read_and_checked_in_under_50_ms(show: Show) -> None:
    path = Path(topologies.__file__).parent / "gpus" / "h100-80gb-sxm.yaml"
    assert_within(show, "a GPU's sheet is read and checked", best_of(lambda: gpu(read(path))), BAR)


def test_an_all_reduce_of_two_thousand_ranks_is_priced_in_under_10_ms(show: Show) -> None:
    cluster = topologies.load("dgx-h100", 2000)
    seconds = best_of(lambda: all_reduce(cluster, range(2000), 1e9))
    assert_within(show, "an all-reduce of 2,000 ranks is priced", seconds, PRICING_BAR)


def refuse(text: str) -> None:
    with pytest.raises(InputError):
        parse(text, "file.yaml")


def test_the_worst_of_the_hostile_files_is_refused_in_under_10_s(show: Show) -> None:
    slowest = max(best_of(lambda text=text: refuse(text), rounds=1) for text, _ in HOSTILE)  # type: ignore[misc]
    assert_within(show, f"the slowest of {len(HOSTILE)} hostile files is refused", slowest, REFUSAL_BAR)
