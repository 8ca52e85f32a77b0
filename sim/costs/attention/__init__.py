"""Attention: two products over s x s scores forward, five backward, and a softmax between them.

Flash kernels keep a tile of scores on the chip and skip what the mask hides; unfused attention writes the scores to the
HBM and reads them again. Decoding reads a cache of keys and values for a single query per sequence.
"""

from sim.costs.attention.decode import LAWS as _DECODE
from sim.costs.attention.decode import paged_decode, paged_decodes
from sim.costs.attention.flash import BACKWARD, FORWARD, flash_backward, flash_forward, flash_lengths
from sim.costs.attention.latent import latent_decode, latent_decodes
from sim.costs.attention.prefill import LAWS as _PREFILL
from sim.costs.attention.prefill import paged_prefill, paged_prefills
from sim.costs.attention.shape import BLOCK, Shape, num_kept_blocks
from sim.costs.attention.unfused import Kernels, unfused_backward, unfused_forward

__all__ = [
    "BACKWARD",
    "BLOCK",
    "FORWARD",
    "LAWS",
    "Kernels",
    "Shape",
    "flash_backward",
    "flash_forward",
    "flash_lengths",
    "latent_decode",
    "latent_decodes",
    "num_kept_blocks",
    "paged_decode",
    "paged_decodes",
    "paged_prefill",
    "paged_prefills",
    "unfused_backward",
    "unfused_forward",
]

LAWS = (*_PREFILL, *_DECODE)
"""What tables of serving decide: prefill and decoding, with a cache of 2-byte and of fp8 numbers."""
