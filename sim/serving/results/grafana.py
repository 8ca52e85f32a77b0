"""A Grafana dashboard for a served load: promises kept, cost per query, latencies, queue, tokens, and the KV cache.

`dashboard.json` reads vLLM's own metric names, so that it also shows a live server beside the simulation; its panels of
cost and of promises need `shardsim:cost_usd` and `shardsim:good_requests`, which prometheus.py writes.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.resources import files

import orjson

from sim.objectives import Objective
from sim.serving.results.prometheus import BEGAN


def dashboard(*, duration: float, objectives: Iterable[Objective] = (), began: float = BEGAN) -> bytes:
    """The dashboard as JSON to import, opened at the time of the load (`duration` seconds from `began`, since 1970).

    Objectives are named in its description; the least of a metric is a red line in that metric's panel.
    """
    board = orjson.loads((files(__package__) / "dashboard.json").read_bytes())
    objectives = tuple(objectives)
    board["time"] = {"from": _instant(began), "to": _instant(began + duration)}
    if objectives:
        board["description"] += " Objectives: " + "; ".join(map(str, objectives)) + "."
    for panel in board["panels"]:
        lines = [each.seconds for each in objectives if each.metric == panel["title"].split()[0].lower()]
        if lines:
            steps = [{"color": "green", "value": None}, {"color": "red", "value": min(lines)}]
            panel["fieldConfig"]["defaults"]["thresholds"]["steps"] = steps
    return orjson.dumps(board, option=orjson.OPT_INDENT_2)


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
