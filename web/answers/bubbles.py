"""Bare pipelines as the Bubble lab and the lessons show them: schedules played side by side with the same times."""

import csv
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from io import StringIO
from typing import Final

import orjson

from sim import models
from sim.pipelines import Played, Published, chunks_of, measured, pipeline, published
from sim.reports.panels import panels_data
from sim.schedules.closed_forms import CLOSED_FORMS, PassTimes
from sim.schedules.exchange import written
from topologies.document import InputError, Value
from web import scenarios

WORDS: Final = {
    "an even pp, not pp=": "an even number of stages, not ",
    r"pp=(\d+)": r"\1 stages",
    "change the global batch to make them": "make them",
    "change the global batch": "change the microbatches",
}
"""Of the page, by those of plans."""
DECIMALS: Final = 12
"""Of seconds: what is beyond is rounding."""
MODELS: Final = ("llama3-8b", "llama3-70b", "gpt-1t")
"""On which a schedule may be tried: the first with a layer for each stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One schedule as it was played, times in seconds, and what is published of it; see sim.pipelines."""

    name: str
    idea: str
    step_time_s: float
    bubble_fraction: float
    exposed_pp_fraction: float
    held: tuple[float, ...]
    held_most: float
    idle_s: float
    formula: str
    formula_in_numbers: str
    formula_idle_s: float
    held_formula: str
    held_formula_most: float
    why: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bubbles:
    """What is drawn, the figures of those that could be played, and of the others why not."""

    canvas: Mapping[str, object]
    figures: tuple[Figures, ...]
    refused: Mapping[str, str]


def bubbles(
    names: tuple[str, ...], num_stages: int, num_microbatches: int, num_chunks: int, times: PassTimes
) -> Bubbles:
    """Schedules of these names side by side, each rank's share of the model taking these times.

    Raises InputError where none of them can be made of these numbers.
    """
    played, refused = list[Played](), dict[str, str]()
    for name in names:
        try:
            schedule = pipeline(name, num_stages, num_chunks, num_microbatches)
            played.append(measured(name, schedule, times))
        except InputError as error:
            refused[name] = _of_the_page(str(error))
    if refused and not played:
        raise InputError(next(iter(refused.values())))
    found = tuple(_figures(one, published(one, times)) for one in played)
    return Bubbles(canvas=panels_data(played, refused), figures=found, refused=refused)


def _of_the_page(refusal: str) -> str:
    """A refusal in the words of the page, which has stages and microbatches where plans have pp and a batch."""
    for pattern, words in WORDS.items():
        refusal = re.sub(pattern, words, refusal)
    return refusal


def schedule_file(name: str, num_stages: int, num_microbatches: int, num_chunks: int) -> bytes:
    """The schedule as a CSV that `--schedule FILE.csv` reads, and torch.distributed.pipelining too."""
    return written(pipeline(name, num_stages, num_chunks, num_microbatches))


def trial(name: str, num_stages: int, num_microbatches: int, num_chunks: int) -> tuple[str, str]:
    """The schedule with a real model on a real cluster: the command for it, and the scenario's text.

    Raises InputError where no model of the catalogue that is offered for it has a layer for each stage.
    """
    chunks = chunks_of(name, num_chunks)
    plan: dict[str, Value] = {"pp": num_stages, "schedule": name}
    if chunks > 1:
        plan["vpp"] = chunks
    batch: dict[str, Value] = {"global": num_microbatches, "micro": 1, "seq_len": 2048}
    model = _model_of(num_stages * chunks)
    text = scenarios.text({"model": model, "cluster": "dgx-h100", "gpus": num_stages, "plan": plan, "batch": batch})
    flags = [f"--{key} {value}" for key, value in plan.items()]
    size = f"--global-batch {num_microbatches} --micro-batch 1 --seq-len 2048"
    return f"shardsim train {model} dgx-h100 --gpus {num_stages} {' '.join(flags)} {size}", text


def as_json(shown: Bubbles) -> bytes:
    """The figures, keys with their units, and why others were refused."""
    content = {"schedules": list(map(asdict, shown.figures)), "refused": shown.refused}
    return orjson.dumps(content, option=orjson.OPT_INDENT_2)


def as_csv(shown: Bubbles) -> bytes:
    """The figures, a row for each schedule; what each rank holds with spaces between."""
    text = StringIO()
    rows = csv.DictWriter(text, [field.name for field in fields(Figures)])
    rows.writeheader()
    for one in shown.figures:
        rows.writerow(asdict(one) | {"held": " ".join(f"{count:g}" for count in one.held)})
    return text.getvalue().encode()


def _figures(one: Played, form: Published) -> Figures:
    return Figures(
        name=one.name,
        idea=CLOSED_FORMS[one.name].idea,
        step_time_s=one.seconds,
        bubble_fraction=one.bubble,
        exposed_pp_fraction=one.exposed,
        held=one.held,
        held_most=max(one.held),
        idle_s=round(one.idle, DECIMALS),
        formula=CLOSED_FORMS[one.name].bubble,
        formula_in_numbers=form.bubble,
        formula_idle_s=form.idle,
        held_formula=CLOSED_FORMS[one.name].held,
        held_formula_most=form.most_held,
        why=form.why,
        source=form.source,
    )


def _model_of(num_stages: int) -> str:
    for name in MODELS:
        if models.load(name).num_layers >= num_stages:
            return name
    raise InputError(f"no model here has {num_stages} layers, one for each stage; use fewer stages or chunks")
