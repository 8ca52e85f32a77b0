"""The JSON Schemas of the files that people write; an editor checks and completes by them while they type."""

from collections.abc import Mapping
from typing import Literal

import orjson

import sim.models.schema
import sim.scenario.schema
import sim.scenario.serving.schema
from topologies import sheets

Kind = Literal["scenario", "serving", "model", "gpu", "link", "cluster"]


def schema_json(kind: Kind) -> str:
    """The schema of one kind of file as text."""
    made: Mapping[str, object]
    if kind == "scenario":
        made = sim.scenario.schema.schema()
    elif kind == "serving":
        made = sim.scenario.serving.schema.schema()
    elif kind == "model":
        made = sim.models.schema.schema()
    else:
        made = sheets.schema(kind)
    return orjson.dumps(made, option=orjson.OPT_INDENT_2).decode() + "\n"
