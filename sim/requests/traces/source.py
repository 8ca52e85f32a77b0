"""The one door for files of requests: plain or in gzip, read some lines at a time, and bounded in everything.

A few bytes of gzip may unpack to a disk full, and a line may never end: both are counted as they are read.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final, cast

from topologies.document import InputError, shorten
from topologies.quantity import GIB, MIB

MAX_NBYTES: Final = int(GIB)
MAX_LINE_NBYTES: Final = int(256 * MIB)
MAX_ROWS: Final = 20_000_000
_BLOCK_NBYTES: Final = int(2 * MIB)
_GZIP: Final = b"\x1f\x8b"


def lines(path: Path) -> Iterator[str]:
    """Each line, the blank ones too.

    Raises InputError for a file that is missing, unreadable, no text in UTF-8, or (unpacked) beyond 1 GiB, 256 MiB a
    line or 20 million lines.
    """
    return chain.from_iterable(map(io.StringIO, _blocks(path)))


def _blocks(path: Path) -> Iterator[str]:
    """Some whole lines at a time."""
    if not path.is_file():
        raise InputError(f"{shorten(str(path))}: there is no such file; name a CSV or JSONL file of requests")
    try:
        with _opened(path) as file:
            yield from _decoded(file, path.name)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path.name}: cannot be read: {reason.lower()}") from None


def _opened(path: Path) -> AbstractContextManager[BinaryIO]:
    with path.open("rb") as file:
        is_packed = file.read(2) == _GZIP
    return cast(BinaryIO, gzip.open(path)) if is_packed else path.open("rb")


def _decoded(file: BinaryIO, name: str) -> Iterator[str]:
    nbytes = number = 0
    while block := file.read(_BLOCK_NBYTES):
        block += file.readline(MAX_LINE_NBYTES + 1)
        nbytes += len(block)
        if nbytes > MAX_NBYTES or len(block) > MAX_LINE_NBYTES or number > MAX_ROWS:
            raise InputError(f"{name}:{number + 1}: more than 1 GiB, 256 MiB in a line or 20 million lines; write less")
        try:
            yield block.decode("utf-8-sig" if number == 0 else "utf-8")
        except UnicodeDecodeError as error:
            line = number + 1 + block.count(b"\n", 0, error.start)
            raise InputError(f"{name}:{line}: not UTF-8 text; write CSV or JSONL") from None
        number += block.count(b"\n")
