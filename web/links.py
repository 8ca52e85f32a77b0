"""A scenario in a link: its YAML, compressed, in letters that an address may hold."""

import base64
import binascii
import zlib
from typing import Final

from topologies.document import InputError

MOST_PACKED: Final = 6_000
"""Letters: what browsers and chat programs let pass."""
MOST_TEXT: Final = 200_000


def pack(text: str) -> str:
    """Raises InputError for a text that is too long for a link."""
    packed = base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")
    if len(packed) > MOST_PACKED:
        raise InputError("this is too long for a link; download the scenario and send the file")
    return packed


def unpack(packed: str) -> str:
    """Raises InputError where it is not what `pack` made."""
    try:
        data = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        opener = zlib.decompressobj()
        text = opener.decompress(data, MOST_TEXT).decode()
    except (binascii.Error, zlib.error, ValueError):
        raise InputError("the scenario in this link cannot be read; was the link cut off?") from None
    if opener.unconsumed_tail:
        raise InputError("the scenario in this link is too long")
    if not opener.eof:
        raise InputError("the scenario in this link ends too soon; was the link cut off?")
    return text
