"""What a serving scenario's file may say of the load: how requests come, how long they are, which begin alike."""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from sim.requests import Bursts, Distribution, Diurnal, Load, Prefix, Requests, Sessions
from sim.requests.checks import check
from sim.requests.making import made
from sim.scenario.fields import Count, Section, Text
from topologies import quantity
from topologies.document import Document, InputError, Value, error_at, parse, shorten
from topologies.quantity import DAY

_MOST_TOKENS = 100_000_000
_FIELDS = {"prompt": "input_len", "output": "output_len"}


def _seconds(value: object) -> object:
    """Seconds as a number, or a text such as '10 s'."""
    if isinstance(value, str) and not value.strip().endswith("s"):
        value = _number(value)
    if isinstance(value, str):
        return quantity.parse(value, "s")
    return value


def _rate(value: object) -> object:
    """A number, the text of one, or inf."""
    if isinstance(value, str):
        return math.inf if value.strip().lower() in ("inf", "infinity") else _number(value)
    return value


def _number(text: str) -> object:
    """The number in a text, which a flag is; any other text as it is."""
    try:
        return float(text)
    except ValueError:
        return text


def _length(value: object) -> object:
    """1024 as {mean: 1024}; a flag may hold either as text."""
    if isinstance(value, str):
        try:
            value = parse(value, "length").data
        except InputError as error:
            raise ValueError(str(error)) from None
    if isinstance(value, str):
        raise ValueError(f"{shorten(value)} is no number of tokens; write 1024, or {{mean: 1024, range_ratio: 0.5}}")
    return {"mean": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class LengthSection(Section):
    """Whole numbers, 1 or more."""

    mean: Annotated[float, Field(ge=1, le=_MOST_TOKENS)]
    """On average."""
    kind: Literal["fixed", "uniform", "normal", "lognormal"] | None = None
    """How they spread; fixed where neither range_ratio nor deviation is said."""
    range_ratio: Annotated[float | None, Field(ge=0, le=1)] = None
    """uniform: so much below and above the mean, as `vllm bench serve --random-range-ratio`."""
    deviation: Annotated[float | None, Field(ge=0, le=_MOST_TOKENS)] = None
    """normal and lognormal: the standard deviation."""

    @model_validator(mode="after")
    def _makes_sense(self) -> "LengthSection":
        kind = self._kind()
        if self.range_ratio is not None and kind != "uniform":
            raise ValueError(f"range_ratio is for kind: uniform, not {kind}")
        if self.deviation is not None and kind not in ("normal", "lognormal"):
            raise ValueError(f"deviation is for kind: normal or lognormal, not {kind}")
        if kind != "fixed" and self.range_ratio is None and self.deviation is None:
            field = "range_ratio: 0.5" if kind == "uniform" else "deviation: 100"
            raise ValueError(f"kind: {kind} needs its width; write for example {field}")
        return self

    def _kind(self) -> Literal["fixed", "uniform", "normal", "lognormal"]:
        if self.kind is not None:
            return self.kind
        return "uniform" if self.range_ratio is not None else "fixed" if self.deviation is None else "lognormal"

    def distribution(self) -> Distribution:
        return Distribution(
            mean=float(self.mean),
            kind=self._kind(),
            range_ratio=self.range_ratio or 0.0,
            deviation=self.deviation or 0.0,
        )


Length = Annotated[
    LengthSection | None, BeforeValidator(_length, json_schema_input_type=int | float | LengthSection | None)
]
Seconds = Annotated[float, Field(gt=0, le=1000 * DAY), BeforeValidator(_seconds, json_schema_input_type=float | str)]
Pause = Annotated[float, Field(ge=0, le=DAY), BeforeValidator(_seconds, json_schema_input_type=float | str)]


class BurstsSection(Section):
    """Requests come in bursts; the rate is the mean over them and the pauses."""

    on: Seconds
    """Seconds in which requests come,"""
    off: Pause
    """and in which none does, in turn."""


class DiurnalSection(Section):
    """The rate goes up and down as a sine."""

    peak: Annotated[float, Field(ge=1, le=2)]
    """The highest rate over the mean."""
    period: Seconds = DAY
    """Seconds of a day."""


class PrefixSection(Section):
    """Tokens before each prompt that are common to many."""

    tokens: Count
    """So many."""
    groups: Count = 1
    """So many different ones, dealt at random."""


class SessionsSection(Section):
    """Conversations, whose turns begin with all that was said before."""

    turns: Annotated[LengthSection, BeforeValidator(_length, json_schema_input_type=int | float | LengthSection)]
    """Turns of one."""
    think_time: Pause = 0.0
    """Mean seconds from an answer to the next turn."""


class LoadSection(Section):
    """How requests come, and how long they are; what a trace says is taken from it."""

    rate: Annotated[float | None, Field(gt=0), BeforeValidator(_rate, json_schema_input_type=float | str | None)] = None
    """Requests (or sessions) that begin in a second; where it is not said all at once, or as the trace says."""
    burstiness: Annotated[float, Field(gt=0, le=quantity.MEGA)] = 1.0
    """Shape of the gamma distribution of their distances: 1 is a Poisson process, below 1 they come in bunches."""
    bursts: BurstsSection | None = None
    diurnal: DiurnalSection | None = None
    num_requests: Count | None = None
    """How many; the whole trace, or 1000."""
    duration: Seconds | None = None
    """So long they come, such as 10 s."""
    concurrency: Count | None = None
    """At most so many are under way; the others wait outside."""
    input_len: Length = None
    """Tokens of a prompt; the trace's, or 1024."""
    output_len: Length = None
    """Tokens of an answer; the trace's, or 128."""
    prefix: PrefixSection | None = None
    sessions: SessionsSection | None = None
    trace: Text | None = None
    """A file of arrivals and lengths: CSV or JSONL; docs/traces.md lists the kinds."""
    rate_scale: Annotated[float, Field(gt=0, le=quantity.MEGA)] = 1.0
    """The trace's requests come so many times as fast."""
    window: Annotated[list[Pause], Field(min_length=2, max_length=2)] | None = None
    """Only the trace's requests from so many seconds to so many after its first."""

    def load(self) -> Load:
        return Load(
            rate=self.rate,
            burstiness=self.burstiness,
            bursts=None if self.bursts is None else Bursts(on=self.bursts.on, off=self.bursts.off),
            diurnal=None if self.diurnal is None else Diurnal(peak=self.diurnal.peak, period=self.diurnal.period),
            num_requests=self.num_requests,
            duration=self.duration,
            concurrency=self.concurrency,
            prompt=None if self.input_len is None else self.input_len.distribution(),
            output=None if self.output_len is None else self.output_len.distribution(),
            prefix=None if self.prefix is None else Prefix(tokens=self.prefix.tokens, groups=self.prefix.groups),
            sessions=self._sessions(),
            trace=None if self.trace is None else Path(self.trace),
            rate_scale=self.rate_scale,
            window=None if self.window is None else (self.window[0], self.window[1]),
        )

    def _sessions(self) -> Sessions | None:
        said = self.sessions
        return None if said is None else Sessions(turns=said.turns.distribution(), think_time=said.think_time)


def checked(document: Document, section: LoadSection) -> Load:
    """The load that a section says. Raises InputError, by its field, for one that no requests can be made of."""
    load = section.load()
    try:
        check(load)
    except InputError as error:
        field, _, message = str(error).partition(": ")
        raise error_at(document, ("load", *_path(field)), message) from None
    return load


def requests(load: Load, *, seed: int) -> Requests:
    """The requests of a load. Raises InputError, by its field, as sim.requests.making.made."""
    try:
        return made(load, seed=seed)
    except InputError as error:
        field, _, message = str(error).partition(": ")
        path = _path(field)
        if path[0] not in LoadSection.model_fields:
            raise
        for name in _FIELDS:
            message = message.replace(f"leave {name} out", f"leave {_FIELDS[name]} out")
        raise InputError(f"{'.'.join(('load', *path))}: {message}") from None


def _path(field: str) -> tuple[str, ...]:
    """A field of a load as a scenario calls it."""
    first, *rest = field.split(".")
    return _FIELDS.get(first, first), *rest


def written(load: Load) -> dict[str, Value]:
    """The section that says it, without what is as it is anyway."""
    said: dict[str, Value] = {
        "rate": "inf" if load.rate == math.inf else load.rate,
        "burstiness": load.burstiness if load.burstiness != 1 else None,
        "bursts": None if load.bursts is None else dataclasses.asdict(load.bursts),
        "diurnal": None if load.diurnal is None else dataclasses.asdict(load.diurnal),
        "num_requests": load.num_requests,
        "duration": load.duration,
        "concurrency": load.concurrency,
        "input_len": _written_length(load.prompt),
        "output_len": _written_length(load.output),
        "prefix": None if load.prefix is None else dataclasses.asdict(load.prefix),
        "sessions": None if load.sessions is None else _written_sessions(load.sessions),
        "trace": None if load.trace is None else str(load.trace),
        "rate_scale": load.rate_scale if load.rate_scale != 1 else None,
        "window": None if load.window is None else list(load.window),
    }
    return {name: value for name, value in said.items() if value is not None}


def _written_sessions(sessions: Sessions) -> Value:
    return {"turns": _written_length(sessions.turns), "think_time": sessions.think_time}


def _written_length(length: Distribution | None) -> Value:
    if length is None:
        return None
    mean: float = int(length.mean) if length.mean == int(length.mean) else length.mean
    if length.kind == "fixed":
        return mean
    width = "range_ratio" if length.kind == "uniform" else "deviation"
    return {"mean": mean, "kind": length.kind, width: getattr(length, width)}


def with_trace(load: Load, path: str) -> Load:
    """The load with the copy of its trace."""
    return dataclasses.replace(load, trace=Path(path))
