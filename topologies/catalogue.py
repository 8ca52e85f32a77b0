"""The sheets that come with the package: their names, their other spellings, and a quick reader for them.

Strangers' files go through document.py, which bounds and checks them and takes tens of milliseconds; our own need no
such care and are read as they are. A test holds that both readers see the same in every file of the package.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from topologies.document import Document, InputError, Value, closest, shorten

Family = Literal["clusters", "gpus", "links"]

_FOLDER = Path(__file__).parent
_NOUNS: dict[Family, str] = {"clusters": "cluster", "gpus": "GPU", "links": "link"}
_GPU = re.compile(r"^gpu: *(\S+)", re.MULTILINE)
_ALIASES = re.compile(r"^aliases: *\[([^\]]*)\]", re.MULTILINE)


def names(family: Family = "clusters") -> list[str]:
    """The names in one part of the catalogue, sorted."""
    return sorted(path.stem for path in (_FOLDER / family).glob("*.yaml"))


@lru_cache
def aliases(family: Family = "clusters") -> dict[str, str]:
    """Other spellings, in lower case, and the name that each stands for; only the lines with them are read."""
    found: dict[str, str] = {}
    for name in names(family):
        listed = _ALIASES.search(_path(family, name).read_text(encoding="utf-8"))
        spellings = listed[1].split(",") if listed else []
        found |= {alias.strip().strip("\"'").lower(): name for alias in spellings if alias.strip()}
    return found


def named(family: Family, name: str) -> str:
    """The catalogue's own name for a name or alias, whatever its case; InputError with the closest if there is none."""
    wanted = name.strip().lower()
    if "/" not in wanted and _is_name(family, wanted):
        return wanted
    if wanted in aliases(family):
        return aliases(family)[wanted]
    if family == "clusters" and wanted in {*names("gpus"), *aliases("gpus")}:
        raise InputError(_is_gpu(name.strip(), named("gpus", wanted)))
    guess = closest(wanted, [*names(family), *aliases(family)])
    listed = "`shardsim clusters` lists them" if family == "clusters" else f"known are {', '.join(names(family))}"
    fix = guess if guess and family != "clusters" else f"{guess or ';'} {listed}"
    raise InputError(f"unknown {_NOUNS[family]} {shorten(name)}{fix}")


def _is_gpu(said: str, gpu: str) -> str:
    """What to write in place of a GPU's name."""
    holding = [cluster for cluster in names() if gpu in _GPU.findall(_path("clusters", cluster).read_text("utf-8"))]
    listed = f"clusters with it: {', '.join(holding)}; or" if holding else "write"
    return f"{said} is a GPU, not a cluster; {listed} --set 'cluster={{gpu: {gpu}, fabric: ib-ndr400x8, nodes: 2}}'"


def sheet(family: Family, name: str) -> Document:
    """The sheet of that name (not alias)."""
    return quick(_path(family, name))


def outline(family: Family, name: str, fields: Sequence[str]) -> dict[str, str]:
    """Those fields of a sheet that stand on one line each, as they are written; for many sheets at once."""
    text = _path(family, name).read_text(encoding="utf-8")
    found = {field: re.search(rf"^{field}: *([^#\n]*)", text, re.MULTILINE) for field in fields}
    return {field: line[1].strip() for field, line in found.items() if line}


def quick(path: Path) -> Document:
    """A YAML file of the package's own, read by the C parser where there is one; it has no line numbers."""
    from ruamel.yaml import YAML

    data: Value = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    return Document(name=path.name, data=data, lines={})


def _path(family: Family, name: str) -> Path:
    return _FOLDER / family / f"{name}.yaml"


@lru_cache
def _is_name(family: Family, name: str) -> bool:
    return name in names(family)
