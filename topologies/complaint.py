"""What is wrong with a document, in one line: file, line, field, what was wrong, what to write instead.

A validator may find many errors; people can use one. An unknown field comes first, since it often explains a missing
one; of the branches of a union the one that got deepest is the one that was meant.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, get_args

from topologies.document import Document, InputError, Location, Value, closest, error_at, shorten

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

# What the validator's kinds of error are called here; the names in braces are those of its bounds.
_IN_WORDS = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "list_type": "must be a list, such as [4, 4]",
    "greater_than_equal": "must be {ge} or more",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be {le} or less",
    "less_than": "must be less than {lt}",
    "literal_error": "must be {expected}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have {max_length} letters or fewer",
    "too_short": "must have {min_length} or more entries",
    "too_long": "must have {max_length} or fewer entries",
}


def describe(error: "ValidationError", document: Document, model: "type[BaseModel]") -> InputError:
    """The one error that is most worth telling."""
    worst = _worst(error.errors(include_url=False))
    location = _in_data(worst["loc"], document.data, worst["type"] == "missing")
    return error_at(document, location, _complaint(worst, location, model))


def _worst(errors: "list[ErrorDetails]") -> "ErrorDetails":
    """The error to tell: an unknown field explains others; of the branches of a union the deepest came closest."""
    for error in errors:
        if error["type"] == "extra_forbidden":
            return error
    field = errors[0]["loc"][:1]
    return max((error for error in errors if error["loc"][:1] == field), key=lambda error: len(error["loc"]))


def _complaint(error: "ErrorDetails", location: Location, model: "type[BaseModel]") -> str:
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        name, known = str(error["loc"][-1]), _fields(model, error["loc"][:-1])
        fix = closest(name, known) or (f"; known here: {', '.join(known)}" if known else "; take it out")
        return f"unknown field{'' if location[-1:] == (name,) else f' {shorten(name)}'}{fix}"
    if kind == "missing":
        return "this field is missing; add it"
    if kind == "value_error":
        return error["msg"].removeprefix("Value error, ")
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"should be a mapping of fields, such as 'name: value', got {shorten(value)}"
    if kind in _IN_WORDS:
        return f"{_IN_WORDS[kind].format(**_numbers(error.get('ctx', {})))}, got {_shown(value)}"
    message = error["msg"][:1].lower() + error["msg"][1:]
    return f"{message}, got {_shown(value)}"


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else shorten(value)


def _numbers(context: Mapping[str, object]) -> dict[str, object]:
    """The bounds in an error, with the commas that make 10,000,000 readable."""
    numbers = {name: bound for name, bound in context.items() if isinstance(bound, (int, float))}
    return {**context, **{name: f"{bound:,}".removesuffix(".0") for name, bound in numbers.items()}}


def _in_data(location: Location, data: Value, is_missing: bool) -> Location:
    """The location without the names that pydantic adds for the branches of a union; a missing field stays."""
    kept: list[str | int] = []
    for index, part in enumerate(location):
        if isinstance(data, dict) and part in data:
            data = data[str(part)]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif not (is_missing and index == len(location) - 1):
            continue
        kept.append(part)
    return tuple(kept)


def _fields(model: "type[BaseModel]", location: Location) -> list[str]:
    """The names that the models at this location know, in the order in which they are declared."""
    models = [model]
    for part in location:
        annotations = [inner.model_fields[part].annotation for inner in models if part in inner.model_fields]
        if annotations:
            models = [found for annotation in annotations for found in _models_in(annotation)]
    return [field.alias or name for inner in models for name, field in inner.model_fields.items()]


def _models_in(annotation: object) -> "list[type[BaseModel]]":
    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]
