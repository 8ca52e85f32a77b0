"""Where one step was measured with several plans: is the plan that is ranked first the one that was fastest?

Rows of one campaign that share model, GPUs, batch and sequence length; a ranking's error is what was measured of the
plan ranked first, against the best. Where the release of the software varies with the plan, it may be what made the
difference, and no ranking of plans can tell: those groups have a bar of their own.
"""

import functools
from collections import defaultdict
from pathlib import Path

import pytest

from sim.measured_runs import Row, read
from sim.validation import ALIKE, Result, play

PLAN = ("tp", "pp", "vpp", "cp", "ep", "dp", "sharding", "recompute", "micro_batch", "schedule")
RUNS = Path(__file__).with_name("training_runs.csv")
BAR = 0.03
RANKED_OF_SEVERAL_RELEASES = 0.8
"""The share of groups of several releases in which the plan ranked first is within the bar."""

Group = tuple[str, ...]


def groups() -> dict[Group, list[Row]]:
    """Rows by what they share, where plans differ."""
    found: dict[Group, list[Row]] = defaultdict(list)
    for row in read(RUNS):
        if row["complete"] == "yes":
            found[row["campaign"], row["framework"], *(row[column] for column in ALIKE)].append(row)
    return {key: rows for key, rows in found.items() if len({tuple(row[name] for name in PLAN) for row in rows}) > 1}


GROUPS = groups()
OF_ONE_RELEASE = [key for key, rows in GROUPS.items() if len({row["framework_version"] for row in rows}) == 1]
OF_SEVERAL = [key for key in GROUPS if key not in OF_ONE_RELEASE]


@functools.cache
def ranking_error(key: Group) -> float:
    """How much slower than the best measured plan the one is that is ranked first, as a share."""
    played = [play(row) for row in GROUPS[key]]
    results = [one for one in played if isinstance(one, Result)]
    assert len(results) == len(played) > 1
    measured = {one.row: one.measured_s for one in results if one.measured_s is not None}
    first = min(results, key=lambda one: one.predicted_s)
    return measured[first.row] / min(measured.values()) - 1


@pytest.mark.parametrize("key", OF_ONE_RELEASE, ids="-".join)
def test_the_plan_ranked_first_was_the_fastest(key: Group) -> None:
    assert ranking_error(key) <= BAR


def test_most_plans_ranked_first_were_the_fastest_where_releases_differ() -> None:
    """Of 10 groups 8: it misses DeepSeek-V3 on GB300 by 26 %, Qwen3-235B on B300 by 125 %."""
    hits = [ranking_error(key) <= BAR for key in OF_SEVERAL]
    assert len(hits) == 10
    assert sum(hits) / len(hits) >= RANKED_OF_SEVERAL_RELEASES
