"""The kinds of field that a scenario file has: counts, names that must be known, tokens, prices."""

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema

from sim import frameworks, models
from sim.frameworks import Framework
from sim.plan import RecomputeModule, ScheduleName, is_schedule_file
from sim.workload import Price
from topologies import quantity
from topologies.document import InputError, closest, shorten

_LATER = {
    "precision": ("fp32", "tf32", "int8"),
}
_COMMANDS = {"training": "train", "serving": "serve"}
_MOST_TOKENS = 10**18
_MOST_DIGITS = 9
_HIGHEST_PRICE = quantity.MEGA
_BILLINGS = ("on-demand", "reserved")
SCHEDULES: tuple[str, ...] = ("none", *get_args(ScheduleName))

_Value = TypeVar("_Value")
Text = Annotated[str, Field(min_length=1)]
Reference = Text | dict[str, JsonValue]


def not_yet(field: str) -> BeforeValidator:
    """Refuses by name the values that a later version brings."""

    def refuse(value: _Value) -> _Value:
        if isinstance(value, (str, int)) and value in _LATER[field]:
            raise ValueError(f"{value} is not supported yet")
        return value

    return BeforeValidator(refuse)


def of_kind(kind: str) -> BeforeValidator:
    """Refuses scenarios of the other kind, naming the command that takes them."""

    def refuse(value: _Value) -> _Value:
        if isinstance(value, str) and value != kind and value in _COMMANDS:
            raise ValueError(f"{value} is for `shardsim {_COMMANDS[value]}`; `shardsim {_COMMANDS[kind]}` takes {kind}")
        return value

    return BeforeValidator(refuse)


def known(look_up: Callable[[_Value], object]) -> AfterValidator:
    """Checks a name where it stands, so that the message can say on which line."""

    def check(name: _Value) -> _Value:
        look_up(name)
        return name

    return AfterValidator(check)


def _known_model(reference: Reference) -> Reference:
    """As `known`; what is wrong in a mapping is told by its field."""
    try:
        models.load(reference)
    except InputError as error:
        raise ValueError(str(error).removeprefix("model: ")) from None
    return reference


def framework_of(reference: Reference) -> Framework:
    """A framework by its name, or with other facts laid over it.

    Raises InputError for an unknown name or fact.
    """
    if isinstance(reference, str):
        return frameworks.load(reference)
    facts = {field: value for field, value in reference.items() if field != "name"}
    return frameworks.laid_over(str(reference.get("name", frameworks.DEFAULT)), facts)


def _known_framework(reference: Reference) -> Reference:
    """As `known`; what is wrong in a mapping is told by its field."""
    try:
        framework_of(reference)
    except InputError as error:
        raise ValueError(str(error).removeprefix("framework: ").removeprefix("framework.")) from None
    return reference


def _known_schedule(name: str) -> str:
    if name not in SCHEDULES and not is_schedule_file(name):
        fix = closest(name, SCHEDULES) or f"; use {', '.join(SCHEDULES[:-1])}, {SCHEDULES[-1]}, or a .csv file"
        raise ValueError(f"unknown schedule, got {shorten(name)}{fix}")
    return name


def _layers(value: object) -> object:
    """4,5,5,4 as on the command line."""
    if not isinstance(value, str) or value == "balanced":
        return value
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < _MOST_DIGITS for part in parts):
        raise ValueError(f"{shorten(value)}: write the layers of each stage, such as 4,5,5,4, or balanced")
    return [int(part) for part in parts]


def _modules(value: object) -> object:
    """mla_up_proj,mlp as on the command line."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _tokens(value: object) -> object:
    """15T, 300B or a plain number of tokens."""
    if value is None:
        return None
    tokens = quantity.count(value)
    if not 1 <= tokens <= _MOST_TOKENS:
        raise ValueError(f"{shorten(value)} tokens are not possible; write for example 15T")
    return tokens


def _price(value: object) -> object:
    """Dollars, as a number or as the text of one (a flag); or the name of a list price."""
    fix = "write dollars per GPU-hour, for example 2.50, or on-demand or reserved"
    if value is None or value in _BILLINGS:
        return value
    try:
        dollars = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else -1.0
    except ValueError:
        dollars = -1.0
    if not 0 <= dollars <= _HIGHEST_PRICE:
        raise ValueError(f"{shorten(value)} is not a price; {fix}")
    return abs(dollars)  # -0.0 is 0


Count = Annotated[int, Field(ge=1, le=10_000_000)]
Length = Annotated[int, Field(ge=1, le=100_000_000)]
Layers = Annotated[
    Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | Literal["balanced"] | None,
    BeforeValidator(_layers),
]
Modules = Annotated[list[RecomputeModule] | None, Field(min_length=1), BeforeValidator(_modules)]
Schedule = Annotated[
    Text,
    AfterValidator(_known_schedule),
    WithJsonSchema({"anyOf": [{"enum": list(SCHEDULES)}, {"type": "string", "pattern": r"\.[cC][sS][vV]$"}]}),
]
FrameworkReference = Annotated[Reference, AfterValidator(_known_framework)]
ModelReference = Annotated[Reference, AfterValidator(_known_model)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Tokens = Annotated[int | None, BeforeValidator(_tokens, json_schema_input_type=str | int | float | None)]
Dollars = Annotated[Price | None, BeforeValidator(_price, json_schema_input_type=Price | None)]


class Section(BaseModel):
    """A part of a scenario: only known fields, each with the type that it has."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)
