"""How a slice of time looks, everywhere: a letter and a colour, so that no reader depends on the colour alone.

The colours are those of Okabe & Ito (2008) and, for the two axes that come last, Tol's "muted" (2021), its indigo
lightened so that it stands out on a dark page: told apart under every common form of colour blindness. Pipeline ranks,
which may be many, go from light to dark.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of slice: its letter, its fill colour, the colour of text upon it, and its words for a legend."""

    letter: str
    color: str
    ink: str
    title: str


WHITE, BLACK = "#ffffff", "#000000"
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#e69f00", "#009e73", "#cc79a7"
SKY, YELLOW, VERMILLION, GREY, PALE = "#56b4e9", "#f0e442", "#d55e00", "#777777", "#d4d4d4"
WINE, INDIGO = "#882255", "#4f3cc0"
DEPTHS = ((237, 248, 177), (65, 182, 196), (37, 52, 148))
"""Red, green and blue of the first, the middle and the last pipeline rank: YlGnBu of ColorBrewer."""

KINDS = {
    "compute": Kind(letter="C", color=BLUE, ink=WHITE, title="compute"),
    "F": Kind(letter="F", color=BLUE, ink=WHITE, title="forward"),
    "B": Kind(letter="B", color=ORANGE, ink=BLACK, title="backward"),
    "I": Kind(letter="I", color=ORANGE, ink=BLACK, title="input gradient"),
    "W": Kind(letter="W", color=GREEN, ink=BLACK, title="weight gradient"),
    "tp": Kind(letter="T", color=PURPLE, ink=BLACK, title="tensor-parallel communication"),
    "pp": Kind(letter="P", color=SKY, ink=BLACK, title="pipeline communication"),
    "dp": Kind(letter="D", color=YELLOW, ink=BLACK, title="data-parallel communication"),
    "ep": Kind(letter="E", color=WINE, ink=WHITE, title="expert-parallel communication"),
    "cp": Kind(letter="X", color=INDIGO, ink=WHITE, title="context-parallel communication"),
    "optimizer": Kind(letter="O", color=VERMILLION, ink=BLACK, title="optimizer"),
    "host": Kind(letter="H", color=GREY, ink=BLACK, title="host"),
    "other": Kind(letter="?", color=GREY, ink=BLACK, title="other"),
    "bubble": Kind(letter="·", color=PALE, ink=BLACK, title="bubble"),
}

MEMORY = {
    "weights": Kind(letter="W", color=BLUE, ink=WHITE, title="weights"),
    "gradients": Kind(letter="G", color=VERMILLION, ink=BLACK, title="gradients"),
    "optimizer": Kind(letter="O", color=GREEN, ink=BLACK, title="optimizer state"),
    "activations": Kind(letter="A", color=ORANGE, ink=BLACK, title="activations"),
    "recomputation": Kind(letter="R", color=YELLOW, ink=BLACK, title="recomputed layer"),
    "logits": Kind(letter="L", color=PURPLE, ink=BLACK, title="logits"),
    "buffers": Kind(letter="B", color=SKY, ink=BLACK, title="buffers"),
    "workspace": Kind(letter="S", color=WINE, ink=WHITE, title="workspace of kernels"),
    "reserve": Kind(letter="r", color=PALE, ink=BLACK, title="allocator's reserve"),
}


def kind_of(category: str) -> str:
    """The key in KINDS of a label's category; exposed communication looks like the communication that it waits for."""
    key = category.removeprefix("exposed_")
    return key if key in KINDS else "other"


def part(key: str) -> Kind:
    """How a part of the breakdown (compute, exposed_tp, ..., bubble) looks, with its words."""
    kind = KINDS[kind_of(key)]
    if not key.startswith("exposed_"):
        return kind
    title = f"exposed {kind.title}" if kind is not KINDS["other"] else key.replace("_", " ")
    return Kind(letter=kind.letter, color=kind.color, ink=kind.ink, title=title)


def holding(key: str) -> Kind:
    """How a part of memory looks, with its words."""
    return MEMORY.get(key, Kind(letter="?", color=GREY, ink=BLACK, title=key.replace("_", " ")))


def depth(place: int, count: int) -> tuple[str, str]:
    """The colour of one of `count` pipeline ranks, and of text upon it: black or white, whichever stands out more."""
    position = (len(DEPTHS) - 1) * place / max(count - 1, 1)
    below = min(int(position), len(DEPTHS) - 2)
    pairs = zip(DEPTHS[below], DEPTHS[below + 1], strict=True)
    mixed = [round(low + (high - low) * (position - below)) for low, high in pairs]
    color = "#" + "".join(f"{channel:02x}" for channel in mixed)
    return color, max(BLACK, WHITE, key=lambda ink: contrast(ink, color))


def contrast(one: str, other: str) -> float:
    """How far two colours stand apart, from 1 to 21 [WCAG 2.2, contrast ratio]; 4.5 is enough for text."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    """Relative luminance of an sRGB colour, from 0 to 1 [WCAG 2.2]."""
    channels = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
