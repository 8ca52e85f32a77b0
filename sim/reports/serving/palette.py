"""How a cause of a request's milliseconds looks: a letter and a colour, those of training where it is the same."""

from typing import Final

from sim.reports.palette import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    INDIGO,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILLION,
    WHITE,
    WINE,
    YELLOW,
    Kind,
)

CAUSES: Final = {
    "queue": Kind(letter="Q", color=YELLOW, ink=BLACK, title="waiting to be admitted"),
    "compute": Kind(letter="C", color=BLUE, ink=WHITE, title="matrix products and the rest of its passes"),
    "attention": Kind(letter="A", color=SKY, ink=BLACK, title="attention"),
    "interference": Kind(letter="I", color=ORANGE, ink=BLACK, title="others' prompts in its passes"),
    "tp": Kind(letter="T", color=PURPLE, ink=BLACK, title="tensor-parallel communication"),
    "cp": Kind(letter="X", color=INDIGO, ink=WHITE, title="context-parallel communication"),
    "ep": Kind(letter="E", color=WINE, ink=WHITE, title="expert-parallel communication"),
    "straggler": Kind(letter="S", color=VERMILLION, ink=BLACK, title="waiting for the busiest experts' rank"),
    "bubble": Kind(letter="·", color=PALE, ink=BLACK, title="between its passes, the pipeline's others"),
    "transfer": Kind(letter="V", color=GREEN, ink=BLACK, title="its cache or stage outputs on the wires"),
    "host": Kind(letter="H", color=GREY, ink=BLACK, title="host: scheduler, inputs, sampled tokens"),
}
"""By the names of sim.serving.record.CAUSES."""
