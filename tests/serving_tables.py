"""The tables of examples/serving/README.md: each row is a command, each cell a figure of its result.

`python -m tests.serving_tables` writes the figures anew.
"""

import io
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Final, cast

from sim import cli
from tests.command import ROOT, Answer, Shardsim

README: Final = ROOT / "examples/serving/README.md"
CONSOLE: Final = re.compile(r"^```console\n\$ shardsim (.*)\n((?:.*\n)*?)```$", re.MULTILINE)
"""A command, and what it says on stderr."""
FITS_NOT: Final = "does not fit"
NONE: Final = "–"
Result = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Below a heading that names a file: `columns` after the first one, and by the first one's flags the cells."""

    file: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[str, ...]]


def _number(key: str, shape: str) -> Callable[[Result], str]:
    return lambda result: format(cast(float, result[key]), shape)


def _stage(which: Callable[[list[float]], float]) -> Callable[[Result], str]:
    return lambda result: f"{100 * which(cast(list[float], result['stage_busy_fractions'])):.0f} %"


def _share(cause: str) -> Callable[[Result], str]:
    return lambda result: f"{100 * cast(Mapping[str, float], result['breakdown'])[cause]:.0f} %"


COLUMNS: Final[Mapping[str, Callable[[Result], str]]] = {
    "mean TTFT, ms": _number("mean_ttft_ms", ",.0f"),
    "mean TPOT, ms": _number("mean_tpot_ms", ".1f"),
    "p95 TPOT, ms": _number("p95_tpot_ms", ".1f"),
    "tokens/s": _number("output_throughput", ",.0f"),
    "blocks": _number("kv_blocks", ",d"),
    "dollars": _number("cost_per_million_output_tokens_usd", ",.2f"),
    "least busy": _stage(min),
    "busiest": _stage(max),
    "TP": _share("tp"),
    "CP": _share("cp"),
    "straggler": _share("straggler"),
}
"""What a column says of a result's JSON. Dollars are of a million output tokens."""


def tables(text: str) -> Iterator[Table]:
    """All tables of a page."""
    yield from map(_table, sections(text)[1:])


def sections(text: str) -> list[str]:
    """What stands before the first heading, and each heading with what follows it."""
    return re.split(r"^(?=## )", text, flags=re.MULTILINE)


def _table(section: str) -> Table:
    (file,) = re.findall(r"`([\w.-]+\.yaml)`", section.splitlines()[0])
    lines = [line for line in section.splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return Table(file=file, columns=tuple(head[1:]), rows={row[0]: tuple(row[1:]) for row in rows})


def cells(answer: Answer, columns: Sequence[str]) -> tuple[str, ...]:
    """The row of an answer: 3 without a result is a deployment that does not fit; with one, an objective missed."""
    if answer.code == 3 and not answer.out:
        return (FITS_NOT, *[NONE] * (len(columns) - 1))
    assert answer.code in (0, 3), answer
    result = json.loads(answer.out)
    return tuple(COLUMNS[column](result) for column in columns)


def served(shardsim: Shardsim, file: str, flags: str) -> Answer:
    """What a row's command comes to; its flags stand in code."""
    return shardsim("serve", f"examples/serving/{file}", *shlex.split(flags.strip("`")), "--format", "json")


def written(text: str, shardsim: Shardsim) -> str:
    """The page with all figures and messages as they come out now."""
    before, *cases = sections(text)
    return CONSOLE.sub(
        lambda found: f"```console\n$ shardsim {found[1]}\n{shardsim(*shlex.split(found[1])).err}```",
        before + "".join(_written(case, shardsim) for case in cases),
    )


def _written(section: str, shardsim: Shardsim) -> str:
    table = _table(section)
    for flags, before in table.rows.items():
        now = cells(served(shardsim, table.file, flags), table.columns)
        section = section.replace(_row(flags, before), _row(flags, now))
    return section


def _row(flags: str, row: Sequence[str]) -> str:
    return f"\n| {' | '.join((flags, *row))} |\n"


def _run_here(*arguments: str) -> Answer:
    sys.argv = ["shardsim", *arguments]
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = cli.main()
    return Answer(code, out.getvalue(), err.getvalue())


if __name__ == "__main__":
    os.chdir(ROOT)
    README.write_text(written(README.read_text(encoding="utf-8"), _run_here), encoding="utf-8")
