"""What mamf-finder prints (stas00/ml-engineering): the rate of each product of a search, and at the end the best.

Formats: benchmark versions 1, 2 and 4. Version 1 printed the fastest repetition and called the shared dimension N;
later ones print mean, median and fastest, of which the median is taken, and call it K. A best line counts where its
shape has no line of its own; rates that a saturated GPU holds (MSMF) do not: the simulator lowers the clock itself.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from calibrate.importers import gemm
from calibrate.importers.reading import Reading, Skipped
from calibrate.importers.table import Table
from topologies import gpu as gpu_named
from topologies.document import InputError, shorten
from topologies.quantity import MICROSECOND, TERA

COARSE: Final = 1.0
"""Rates have one digit after the point: below 1 TFLOPS they are off by up to a tenth and more."""
FORMATS: Final = {"float8_e4m3fn": "fp8", "float8_e4m3fnuz": "fp8"}

_SHAPE = r"(?P<m>\d+)x(?P<n>\d+)x(?P<k>\d+)"
_RATE = r"(?P<rate>[-\w.+]+?)"
_OLD = re.compile(rf"\s*\d+ \|\s*{_RATE}\s*TFLOPS @ {_SHAPE}\s*\| best")
_SECOND = re.compile(rf"\s*\d+ \|\s*\S+\(mean\)\s+{_RATE}\(median\)\s+\S+\(max\) @ {_SHAPE}\s*\| best")
_NEW = re.compile(rf"\s*\d+\s+{_SHAPE}\s+\S+\s+{_RATE}\s+[\d.]+\s+[\d.]+(?:\s|$)")
_ROWS = (_OLD, _SECOND, _NEW)
_BEST = re.compile(rf"(?:The best outcome was|median:|MAMF \([^)]*\):)\s*{_RATE}\s*TFLOPS @ {_SHAPE} \(MxNxK\)")
_OLD_BEST = "The best outcome was"
_BEGUN = re.compile(r"\s*\d+ \|")
_DTYPE = re.compile(r"\*\* Dtype: (?:torch\.)?(\w+)")
_DEVICE = re.compile(r"DeviceProperties\(name='([^']+)'")
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One line: what was multiplied, where, and TFLOPS. `is_best` is what the end of a run repeats."""

    line: int
    gpu: str
    dtype: str
    shape: tuple[int, int, int]
    rate: float
    is_best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What the header of a run says."""

    gpu: str = ""
    dtype: str = ""


def is_log(text: str) -> bool:
    """Whether a text is what mamf-finder prints."""
    return "TFLOPS" in text and ("** Dtype:" in text or "(MxNxK)" in text or _OLD.search(text) is not None)


def read_log(text: str, name: str, gpu: str | None) -> Reading:
    """The products of a log, those of several runs one after another.

    `gpu` goes before what the log names. Raises InputError for sizes and rates that cannot be, and where the GPU or the
    number format is not known.
    """
    skipped: list[Skipped] = []
    products = list(_with_best_alone(_products(text, name, gpu, skipped)))
    kept = []
    for one in products:
        if one.rate < COARSE:
            skipped.append(Skipped(row=one.line, reason=f"a rate below {COARSE:g} TFLOPS, printed with one digit"))
        else:
            kept.append(one)
    if not kept:
        why = f": {skipped[0].reason}" if skipped else "; keep the log as mamf-finder prints it"
        raise InputError(f"{name}: no product of mamf-finder that can be used{why}")
    return _reading(kept, name, skipped)


def _reading(products: Sequence[Product], name: str, skipped: list[Skipped]) -> Reading:
    samples = []
    for part in dict.fromkeys(one.gpu for one in products):
        table = _table([one for one in products if one.gpu == part], name)
        found = gemm.read(table, part)
        samples += [replace(one, source=f"mamf-finder ({name})") for one in found]
        used = {int(row) for one in found for row in one.rows}
        skipped += [Skipped(row=int(row), reason=gemm.LEFT_OUT) for row in table.rows if int(row) not in used]
    return Reading(samples=tuple(samples), skipped=tuple(sorted(skipped, key=lambda one: one.row)))


def _products(text: str, name: str, gpu: str | None, skipped: list[Skipped]) -> Iterator[Product]:
    """Each line that has a shape and a rate; a terminal's log has several in one line, each over the one before."""
    run = _Run()
    for number, line in enumerate(text.split("\n"), start=1):
        for said in _ESCAPE.sub("\r", line).split("\r"):
            run = _told(run, said)
            found = next((match for row in _ROWS if (match := row.match(said))), None) or _BEST.match(said)
            if found is not None:
                yield _product(found, run, f"{name}:{number}", number, gpu)
            elif _BEGUN.match(said):
                skipped.append(Skipped(row=number, reason="the line is cut off"))


def _told(run: _Run, said: str) -> _Run:
    dtype, device = _DTYPE.search(said), _DEVICE.search(said)
    run = replace(run, dtype=dtype[1]) if dtype else run
    return replace(run, gpu=device[1]) if device else run


def _product(found: re.Match[str], run: _Run, where: str, line: int, gpu: str | None) -> Product:
    first, second, third = (int(found[name]) for name in "mnk")
    if not first * second * third:
        raise InputError(f"{where}: a product of {first}x{second}x{third}; every size is 1 or more")
    shares_n = found.re is _OLD or found[0].startswith(_OLD_BEST)
    return Product(
        line=line,
        gpu=gpu or _gpu(run, where),
        dtype=_dtype(run, where),
        shape=(first, third, second) if shares_n else (first, second, third),
        rate=_rate(found["rate"], where),
        is_best=found.re is _BEST,
    )


def _rate(text: str, where: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = float("nan")
    if not 0 <= rate < float("inf"):
        raise InputError(f"{where}: {shorten(text)} TFLOPS is not possible; keep the line as mamf-finder printed it")
    return rate


def _gpu(run: _Run, where: str) -> str:
    if not run.gpu:
        raise InputError(f"{where}: the log does not name its GPU; say --gpu NAME, or keep the header")
    try:
        return gpu_named(run.gpu).name
    except InputError:
        raise InputError(f"{where}: {run.gpu} is not in the catalogue; say --gpu NAME") from None


def _dtype(run: _Run, where: str) -> str:
    if not run.dtype:
        raise InputError(f"{where}: the log does not say the number format (** Dtype: ...); keep the header")
    return FORMATS.get(run.dtype, run.dtype)


def _with_best_alone(products: Iterator[Product]) -> Iterator[Product]:
    """All lines, and of those that name the best only what no other line has."""
    seen = set()
    for one in products:
        key = one.gpu, one.dtype, one.shape
        if not (one.is_best and key in seen):
            yield one
        seen.add(key)


def _table(products: Sequence[Product], name: str) -> Table:
    cells = {
        "dtype": [one.dtype for one in products],
        **{dim: [str(one.shape[place]) for one in products] for place, dim in enumerate("mnk")},
        "time_us": [f"{_seconds(one) / MICROSECOND:.8g}" for one in products],
    }
    columns = {column: np.array(texts, dtype=np.str_) for column, texts in cells.items()}
    rows = np.array([one.line for one in products], np.int64)
    return Table(name=name, header=tuple(columns), rows=rows, columns=columns)


def _seconds(product: Product) -> float:
    m, n, k = product.shape
    return 2 * m * n * k / (product.rate * TERA)
