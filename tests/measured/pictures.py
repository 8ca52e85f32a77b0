"""Two pictures of the accuracy ledger as SVG, in colours that can be read on white and on black."""

import math
from collections.abc import Iterator, Mapping, Sequence

Point = tuple[float, float]

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 430, 90, 20, 190, 45
INK = "#8a8f98"
COLOURS = ("#4e9bd4", "#e8853d", "#45a876", "#d9626c", "#9a7fd1", "#b08968", "#d67fb8", "#b5a42e", "#3fb1b5", "#8a8f98")


def scatter(groups: Mapping[str, Sequence[Point]]) -> str:
    """Predicted over measured seconds, both on a logarithmic scale, with the lines of no error and of 10 %."""
    logs = [math.log10(value) for points in groups.values() for point in points for value in point]
    low, high = math.floor(2 * min(logs)) / 2, math.ceil(2 * max(logs)) / 2

    def place(measured: float, predicted: float) -> Point:
        return _across((math.log10(measured) - low) / (high - low)), _up((math.log10(predicted) - low) / (high - low))

    ends = 10**low, 10**high
    lines = [_line(place(ends[0], ends[0]), place(ends[1], ends[1]), "")]
    for factor in (0.9, 1.1):
        lines.append(_line(place(ends[0] / min(factor, 1), ends[0] * max(factor, 1)),
                           place(ends[1] / max(factor, 1), ends[1] * min(factor, 1)), "4 4"))  # fmt: skip
    ticks = [10.0**power for power in range(math.ceil(low), math.floor(high) + 1)]
    labels = [_text(*place(tick, ends[0]), f"{tick:g} s", "middle", 18) for tick in ticks]
    labels += [_text(*place(ends[0], tick), f"{tick:g} s", "end", 4, -8) for tick in ticks]
    labels += [_text(_across(0.5), HEIGHT - 6, "measured", "middle"), _text(_across(0.02), TOP + 14, "predicted")]
    dots = [_dot(*place(*point), colour) for points, colour in _coloured(groups) for point in points]
    return _document([*lines, *labels, *dots, *_legend(groups)])


def errors(groups: Mapping[str, Sequence[float]], most: float = 0.5) -> str:
    """The errors of each group on a line of its own; those beyond `most` stand at the edge."""

    def across(error: float) -> float:
        return _across((max(-most, min(most, error)) + most) / (2 * most))

    ticks = [tick / 10 for tick in range(-int(10 * most), int(10 * most) + 1)]
    marks = [_line((across(tick), TOP), (across(tick), HEIGHT - BOTTOM), "" if tick == 0 else "1 5") for tick in ticks]
    marks += [_text(across(tick), HEIGHT - BOTTOM, f"{tick:+.0%}", "middle", 18) for tick in ticks]
    for index, (values, colour) in enumerate(_coloured(groups)):
        height = _up(1 - (index + 0.5) / len(groups))
        marks += [_dot(across(value), height, colour) for value in values]
    return _document([*marks, *_legend(groups, spread=True)])


def _coloured(groups: Mapping[str, Sequence[object]]) -> Iterator[tuple[Sequence[object], str]]:  # type: ignore[misc]
    return ((points, COLOURS[index % len(COLOURS)]) for index, points in enumerate(groups.values()))


def _legend(groups: Mapping[str, Sequence[object]], *, spread: bool = False) -> Iterator[str]:
    for index, name in enumerate(groups):
        height = _up(1 - (index + 0.5) / len(groups)) if spread else TOP + 14 + 18 * index
        yield _dot(WIDTH - RIGHT + 14, height - 4, COLOURS[index % len(COLOURS)])
        yield _text(WIDTH - RIGHT + 24, height, f"{name} ({len(groups[name])})")


def _across(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _up(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}" fill-opacity="0.65"/>'


def _line(start: Point, end: Point, dashes: str) -> str:
    ends = f'x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"'
    return f'<line {ends} stroke="{INK}" stroke-width="1" stroke-dasharray="{dashes or "none"}"/>'


def _text(x: float, y: float, words: str, anchor: str = "start", down: float = 0, right: float = 0) -> str:
    return f'<text x="{x + right:.1f}" y="{y + down:.1f}" text-anchor="{anchor}">{words}</text>'


def _document(parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
    style = f'font-family="sans-serif" font-size="12" fill="{INK}"'
    return "\n".join([f"{head} {style}>", *parts, "</svg>"]) + "\n"
