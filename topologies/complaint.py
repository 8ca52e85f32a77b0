"""What is wrong with a document, in one line: file, line, field, what was wrong, what to write instead.

A validator may find many errors; people can use one. An unknown field comes first, since it often explains a missing
one; of the branches of a union the one that got deepest is the one that was meant.
"""

from typing import TYPE_CHECKING, get_args

from topologies.document import Document, Location, Value, closest, shorten

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails


def describe(error: "ValidationError", document: Document, model: "type[BaseModel]") -> str:
    """The message about the one error that is most worth telling."""
    worst = _worst(error.errors(include_url=False))
    location = _in_data(worst["loc"], document.data, worst["type"] == "missing")
    line = _line(location, document)
    where = f"{document.name}:{line}" if line else document.name
    field = ".".join(str(part) for part in location)
    return f"{where}: {field + ': ' if field else ''}{_complaint(worst, location, model)}"


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
        known = _fields(model, location[:-1])
        fix = closest(str(location[-1]), known) or (f"; known here: {', '.join(known)}" if known else "; take it out")
        return f"unknown field{fix}"
    if kind == "missing":
        return "this field is missing; add it"
    if kind == "value_error":
        return error["msg"].removeprefix("Value error, ")
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"should be a mapping of fields, such as 'name: value', got {shorten(value)}"
    message = error["msg"][:1].lower() + error["msg"][1:]
    return f"{message}, got {shorten(value)}"


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


def _line(location: Location, document: Document) -> int | None:
    """The line of the value, or of the innermost thing around it that has one."""
    for end in range(len(location), 0, -1):
        if location[:end] in document.lines:
            return document.lines[location[:end]]
    return None


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
