"""Scenarios in a bundle, each under a name: as a ZIP file, and as letters for an address.

Files come from strangers: they are parsed within limits, nothing is written, and names within lead nowhere.
"""

import io
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from topologies.document import MAX_NBYTES, InputError, Value, shorten
from web import scenarios
from web.links import pack, unpack

MOST: Final = 12
"""Scenarios: more than a table and a chart show well."""
MOST_NAME: Final = 60
_DEGREES: Final = ("tp", "pp", "vpp", "cp", "ep", "dp", "zero")
_UNREADABLE: Final = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, OSError, EOFError, ValueError, struct.error,
)  # fmt: skip
"""What zipfile raises for bytes that somebody changed; NotImplementedError is a RuntimeError."""
_ZIP_DATE: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A scenario of the basket: what the reader calls it, and its text."""

    name: str
    text: str


def called(text: str) -> str:
    """A name for a scenario from what it says: 'llama3-70b, 64 x dgx-h100, tp 8 pp 4 1f1b'."""
    fields = scenarios.fields(text)
    plan = fields.get("plan")
    degrees = [f"{key} {value}" for key, value in plan.items() if key in _DEGREES] if isinstance(plan, dict) else []
    schedule = [str(plan["schedule"])] if isinstance(plan, dict) and "schedule" in plan else []
    where = f"{fields.get('gpus', 1)} x {_name_of(fields.get('cluster'))}"
    return shortened(", ".join(filter(None, (_name_of(fields.get("model")), where, " ".join(degrees + schedule)))))


def _name_of(reference: Value) -> str:
    name = reference.get("name", reference.get("gpu")) if isinstance(reference, dict) else reference
    return str(name or "own")


def packed(bundle: Sequence[Kept]) -> str:
    """In letters that an address may hold; raises InputError where they are too many."""
    try:
        return pack(orjson.dumps([[kept.name, kept.text] for kept in bundle]).decode())
    except InputError:
        fix = "download the basket and send the file"
        raise InputError(f"these scenarios are too long for a link; {fix}") from None


def unpacked(letters: str) -> tuple[Kept, ...]:
    """What `packed` made; raises InputError where they are something else, or cut off."""
    try:
        pairs = orjson.loads(unpack(letters))
        found = [Kept(name=shortened(name), text=scenario) for name, scenario in pairs]
    except InputError:
        raise
    except (ValueError, TypeError):
        found = []
    if not found or not all(isinstance(kept.text, str) for kept in found):
        raise InputError("the basket in this link cannot be read; was the link cut off?")
    return tuple(found[:MOST])


def file_names(bundle: Sequence[Kept]) -> tuple[str, ...]:
    """What each is called in `as_zip`: '1-llama3-70b-1f1b.yaml'."""
    plain = (re.sub(r"[^a-z0-9.]+", "-", kept.name.lower()).strip("-.") for kept in bundle)
    return tuple("-".join(filter(None, (str(place), name))) + ".yaml" for place, name in enumerate(plain, start=1))


def as_zip(bundle: Sequence[Kept]) -> bytes:
    """A ZIP file of scenario files; the same bundle gives the same bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, kept in zip(file_names(bundle), bundle, strict=True):
            archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), f"# {kept.name}\n{kept.text}")
    return content.getvalue()


def in_file(name: str, content: bytes) -> tuple[Kept, ...]:
    """The scenarios in a file of a reader's: one as YAML, or a ZIP of them, as `as_zip` makes it.

    Nothing is written anywhere, and the names of files within lead nowhere. Raises InputError that names the file.
    """
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return (_read(name, content),)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inside = [one for one in archive.infolist() if one.filename.lower().endswith((".yaml", ".yml"))]
            if not 0 < len(inside) <= MOST:
                raise InputError(f"{shorten(name)}: holds {len(inside)} YAML files; put 1 to {MOST} scenarios in")
            return tuple(_read(one.filename.rpartition("/")[2], _beginning(archive, one)) for one in inside)
    except InputError:
        raise
    except _UNREADABLE:
        raise InputError(f"{shorten(name)}: this ZIP file cannot be read; write it again, without a password") from None


def _beginning(archive: zipfile.ZipFile, one: zipfile.ZipInfo) -> bytes:
    """A little more than a scenario may have, whatever the archive says that it unpacks to."""
    with archive.open(one) as file:
        return file.read(MAX_NBYTES + 1)


def _read(name: str, content: bytes) -> Kept:
    """One scenario, in the form of the app; its name is that in its first comment, or its file's."""
    if len(content) > MAX_NBYTES:
        raise InputError(f"{shorten(name)}: larger than 1 MB; a scenario has a few hundred bytes")
    try:
        text = content.decode()
        said = re.match(r"# *(\S[^\n]*)\n", text)
        canonical = scenarios.text(scenarios.fields(text))
        scenarios.parsed(canonical)
    except UnicodeDecodeError:
        raise InputError(f"{shorten(name)}: not UTF-8 text; upload a YAML scenario, or a ZIP of them") from None
    except InputError as error:
        raise InputError(f"{shorten(name)}: {error}") from None
    return Kept(name=shortened(said[1] if said else name.rpartition(".")[0]), text=canonical)


def shortened(name: str) -> str:
    """On one line, without what a terminal or a page might obey, and not too long."""
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in str(name)).split())
    return plain if len(plain) <= MOST_NAME else f"{plain[: MOST_NAME - 3]}..."
