"""Matrix products: tiles of the output, dealt to the SMs in waves; the library picks the tile that is done first.

A product is bound by multiplying, by what an SM can fetch, or by the HBM, and never shorter than a launch. Numbers of
8 or 4 bits are cast on the way in, which is another kernel and told apart. `gemm` is what a linear layer waits for.
"""

from sim.costs.gemm.costs import gemm, product, quantise, seconds
from sim.costs.gemm.formats import FORMATS, Format, peak_flops
from sim.costs.gemm.gradients import LAW as GRADIENTS
from sim.costs.gemm.gradients import Layout
from sim.costs.gemm.laws import LAWS, law_of
from sim.costs.gemm.tiles import TILES, Tile

__all__ = [
    "FORMATS",
    "GRADIENTS",
    "LAWS",
    "TILES",
    "Format",
    "Layout",
    "Tile",
    "gemm",
    "law_of",
    "peak_flops",
    "product",
    "quantise",
    "seconds",
]
