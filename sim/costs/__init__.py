"""How long one thing takes alone: a kernel on a GPU, a message on the wires. Pure functions, seconds out."""

from typing import Final

ELEMENT: Final = 2
"""Bytes of an fp16 or bf16 number: what activations and working weights are kept in."""
