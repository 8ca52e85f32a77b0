"""All blocks, in the order in which a reader meets them: one layer, a sequence, a model, its gradients."""

from collections.abc import Mapping
from typing import Final

from calibrate.sharded import (
    attention,
    compression,
    ddp,
    linear,
    mlp,
    moe,
    pipeline,
    ring_attention,
    sequence_parallel,
    ulysses,
    zero,
)
from calibrate.sharded.block import Block

_FAMILIES: Final = (
    linear,
    attention,
    mlp,
    sequence_parallel,
    ring_attention,
    ulysses,
    moe,
    pipeline,
    ddp,
    zero,
    compression,
)
BLOCKS: Final[Mapping[str, Block]] = {block.name: block for family in _FAMILIES for block in family.BLOCKS}
