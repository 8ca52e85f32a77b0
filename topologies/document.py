"""The one door for files: a bounded, safe reader of YAML 1.2 and JSON, and errors that name file, line and field.

Files come from strangers, so the parser's events are counted as they come: size, depth and number of values are bounded
before anything is built, aliases and tags are refused, and nothing recurses. JSON is read as the subset of YAML it is.
"""

import difflib
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel
    from ruamel.yaml.events import Event

    Model = TypeVar("Model", bound=BaseModel)

Value = str | int | float | bool | None | list["Value"] | dict[str, "Value"]
Location = tuple[str | int, ...]

MAX_NBYTES = 1_000_000
MAX_DEPTH = 100
MAX_VALUES = 20_000
MAX_LINE = 100_000  # the parser takes quadratic time over some very long tokens
_MAX_DIGITS = 40
_MAX_ECHO = 60

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class InputError(ValueError):
    """What the user gave cannot be used; the message says where, why, and what to write instead (exit code 2)."""


class Infeasible(ValueError):  # noqa: N818 - the word of the exit code, not an error of ours
    """The input is well formed, but nothing can run like this: it does not fit (exit code 3)."""


class Missing(RuntimeError):  # noqa: N818 - as above
    """The hardware, or the software that drives it, is not on this machine; the message says what is (exit code 4)."""


class Fault(RuntimeError):  # noqa: N818 - as above
    """What ran on the machine failed, not the program: a process died, a wire is silent (exit code 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file's name, its plain data, and the line (from 1) on which each value stands, by its path in the data."""

    name: str
    data: Value
    lines: Mapping[Location, int]


def read(path: Path) -> Document:
    """One YAML 1.2 or JSON file as plain data with line numbers.

    Raises InputError for a file that is missing, unreadable, over 1 MB, 100 levels, 20,000 values or 100 kB a line,
    not UTF-8, empty, malformed, or of several documents, and for aliases, tags, duplicate keys, numbers not finite.
    """
    text = read_text(path)
    return parse(text.replace("\t", " ") if path.suffix == ".json" else text, path.name)


def parse(text: str, name: str) -> Document:
    """As `read`, for text at hand; `name` stands for the file in messages."""
    if any(len(line) > MAX_LINE for line in text.split("\n")):
        raise InputError(f"{name}: a line of more than {MAX_LINE} characters; break it up")
    builder = _Builder(name)
    for event in _events(text, name):
        _take(event, builder)
    if builder.root is None:
        raise InputError(f"{name}: the file is empty; it must hold fields such as 'name: value'")
    return Document(name=name, data=builder.root, lines=builder.lines)


def validate(document: Document, model: "type[Model]") -> "Model":
    """The document as an instance of a pydantic model (which should forbid extra fields).

    Raises InputError about one field: `file.yaml:12: plan.tp: must be 1 or more, got -3`.
    """
    from pydantic import ValidationError

    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        from topologies.complaint import describe

        raise describe(error, document, model) from None


def error_at(document: Document, location: Location, message: str) -> InputError:
    """An error about one place of a document: `file.yaml:12: pools.0.gpu: message`.

    The line is that of the value, or of the innermost thing around it that has one.
    """
    around = (location[:end] for end in range(len(location), 0, -1))
    line = next((document.lines[place] for place in around if place in document.lines), None)
    where = f"{document.name}:{line}" if line else document.name
    return InputError(": ".join(filter(None, (where, ".".join(map(str, location)), message))))


def _scalar(text: str) -> Value:
    """A plain scalar by the core schema of YAML 1.2; ValueError for a number that is not finite or absurdly long."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a finite number")
    if not (_INTEGER.fullmatch(text) or _FLOAT.fullmatch(text)):
        return text
    return _number(text)


def _number(text: str) -> int | float:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} characters; write it as 1.5e12")
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if math.isinf(float(text)):
        raise ValueError(f"{text} is too large for a number")
    return float(text)


def closest(word: str, known: Sequence[str]) -> str:
    """'; did you mean X?' for the known word that is most alike, or nothing."""
    matches = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f"; did you mean {matches[0]}?" if matches else ""


def shorten(value: object) -> str:
    """A value as it may be echoed in a message: on one line and not long."""
    text = " ".join(repr(value).split()) if isinstance(value, (str, int, float)) else type(value).__name__
    text = {"dict": "a mapping", "list": "a list", "NoneType": "nothing"}.get(text, text)
    return text if len(text) <= _MAX_ECHO else text[: _MAX_ECHO - 3] + "..."


def read_text(path: Path, *, what: str = "YAML or JSON") -> str:
    """The text of a regular file of at most 1 MB; `what` is what the message asks for in its place.

    Raises InputError for a file that is missing, too large, or not text.
    """
    try:
        regular = not path.is_fifo()
        with path.open("rb") if regular else io.BytesIO() as file:
            content = file.read(MAX_NBYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: this is a directory; name a {what} file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{shorten(str(path))}: cannot be read: {reason.lower()}") from None
    if not regular:
        raise InputError(f"{path}: not a regular file; name a {what} file")
    return decoded(content, path.name, what=what)


def decoded(content: bytes, name: str, *, what: str = "YAML or JSON") -> str:
    """The text of a file's content. Raises InputError for one that is too large, or no text."""
    if len(content) > MAX_NBYTES:
        raise InputError(f"{name}: larger than 1 MB; a file of this kind holds a few kB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{name}: not UTF-8 text; write {what}") from None
    if "\0" in text:
        raise InputError(f"{name}: binary data, not text; write {what}")
    return text


def _events(text: str, name: str) -> "Iterator[Event]":
    """The parser's events, one by one; whatever the parser trips over is an InputError."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        raise InputError(f"{where}: not valid YAML: {_first_line(error.problem or error.context)}") from None
    except (YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError, AssertionError) as error:
        raise InputError(f"{name}: not valid YAML: {_first_line(str(error))}") from None


def _first_line(text: str | None) -> str:
    lines = (text or "").strip().splitlines()
    return lines[0][:120] if lines else "malformed"


def _take(event: "Event", builder: "_Builder") -> None:
    """Hand one event to the builder; aliases, tags and further documents end here."""
    from ruamel.yaml import events

    line = event.start_mark.line + 1
    match event:
        case events.ScalarEvent(tag=None):
            builder.scalar(event.value, event.style is None, line)
        case events.MappingStartEvent(tag=None):
            builder.open({}, line)
        case events.SequenceStartEvent(tag=None):
            builder.open([], line)
        case events.CollectionEndEvent():
            builder.close()
        case events.AliasEvent():
            raise builder.error(line, f"aliases (*{event.anchor[:_MAX_ECHO]}) are not read; write the value out again")
        case events.NodeEvent():
            raise builder.error(line, "YAML tags such as !name are not read; write the plain value")
        case events.DocumentStartEvent() if builder.num_values:
            raise builder.error(line, "a second document begins; write one document per file, without '---'")


class _Builder:
    """Builds the data from events without recursion: a stack of open containers and the location of the next value."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root: Value = None
        self.lines: dict[Location, int] = {}
        self.num_values = 0
        self._stack: list[dict[str, Value] | list[Value]] = []
        self._path: list[str | int] = []
        self._key_expected: list[bool] = []

    def scalar(self, text: str, is_plain: bool, line: int) -> None:
        text = text if is_plain else self._join_surrogates(text, line)
        if _CONTROL.search(text):  # a terminal would obey it, wherever the text is shown
            raise self.error(line, f"{shorten(text)} holds a control character; write plain text")
        if self._key_expected and self._key_expected[-1]:
            self._begin_key(text, line)
        else:
            self._add(self._resolve(text, line) if is_plain else text, line)

    def _begin_key(self, key: str, line: int) -> None:
        mapping = self._stack[-1]
        assert isinstance(mapping, dict)
        if key in mapping:
            raise self.error(line, f"{shorten(key)} is given twice; keep one of them")
        mapping[key] = None
        self._path.append(key)
        self.lines[tuple(self._path)] = line
        self._key_expected[-1] = False

    def _add(self, value: Value, line: int) -> None:
        """Put the value into the innermost open container; after it a mapping expects a key again."""
        self._count(line)
        if not self._stack:
            self.root = value
            return
        parent = self._stack[-1]
        if isinstance(parent, dict):
            parent[str(self._path.pop())] = value
            self._key_expected[-1] = True
        else:
            self.lines[(*self._path, len(parent))] = line
            parent.append(value)

    def open(self, container: dict[str, Value] | list[Value], line: int) -> None:
        if self._key_expected and self._key_expected[-1]:
            raise self.error(line, "a key must be plain text, not a mapping or a list")
        if len(self._stack) >= MAX_DEPTH:
            raise self.error(line, f"nested more than {MAX_DEPTH} levels deep")
        self._count(line)
        if not self._stack:
            self.root = container
        elif isinstance(parent := self._stack[-1], dict):
            parent[str(self._path[-1])] = container
        else:
            self._path.append(len(parent))
            self.lines[tuple(self._path)] = line
            parent.append(container)
        self._stack.append(container)
        self._key_expected.append(isinstance(container, dict))

    def close(self) -> None:
        self._stack.pop()
        self._key_expected.pop()
        if self._stack:
            self._path.pop()
            self._key_expected[-1] = isinstance(self._stack[-1], dict)

    def _count(self, line: int) -> None:
        self.num_values += 1
        if self.num_values > MAX_VALUES:
            raise self.error(line, f"more than {MAX_VALUES} values; a file of this kind holds a few hundred")

    def _resolve(self, text: str, line: int) -> Value:
        try:
            return _scalar(text)
        except ValueError as error:
            raise self.error(line, str(error)) from None

    def _join_surrogates(self, text: str, line: int) -> str:
        """JSON writes characters beyond 16 bits as two escapes; put them together."""
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise self.error(line, "half a character: an escape such as \\ud83d stands alone") from None

    def error(self, line: int, message: str) -> InputError:
        return InputError(f"{self.name}:{line}: {message}")
