"""How a slice of time looks, everywhere: a letter and a colour, so that no reader depends on the colour alone.

The colours are those of Okabe & Ito (2008), told apart under every common form of colour blindness.
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
SKY, YELLOW, VERMILLION, GREY, PALE = "#56b4e9", "#f0e442", "#d55e00", "#999999", "#d4d4d4"

KINDS = {
    "compute": Kind(letter="C", color=BLUE, ink=WHITE, title="compute"),
    "F": Kind(letter="F", color=BLUE, ink=WHITE, title="forward"),
    "B": Kind(letter="B", color=ORANGE, ink=BLACK, title="backward"),
    "I": Kind(letter="I", color=ORANGE, ink=BLACK, title="input gradient"),
    "W": Kind(letter="W", color=GREEN, ink=WHITE, title="weight gradient"),
    "tp": Kind(letter="T", color=PURPLE, ink=BLACK, title="tensor-parallel communication"),
    "pp": Kind(letter="P", color=SKY, ink=BLACK, title="pipeline communication"),
    "dp": Kind(letter="D", color=YELLOW, ink=BLACK, title="data-parallel communication"),
    "optimizer": Kind(letter="O", color=VERMILLION, ink=WHITE, title="optimizer"),
    "host": Kind(letter="H", color=GREY, ink=BLACK, title="host"),
    "other": Kind(letter="?", color=GREY, ink=BLACK, title="other"),
    "bubble": Kind(letter="·", color=PALE, ink=BLACK, title="bubble"),
}

MEMORY = {
    "weights": Kind(letter="W", color=BLUE, ink=WHITE, title="weights"),
    "gradients": Kind(letter="G", color=VERMILLION, ink=WHITE, title="gradients"),
    "optimizer": Kind(letter="O", color=GREEN, ink=WHITE, title="optimizer state"),
    "activations": Kind(letter="A", color=ORANGE, ink=BLACK, title="activations"),
    "recomputation": Kind(letter="R", color=YELLOW, ink=BLACK, title="recomputed layer"),
    "logits": Kind(letter="L", color=PURPLE, ink=BLACK, title="logits"),
    "buffers": Kind(letter="B", color=SKY, ink=BLACK, title="buffers"),
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
