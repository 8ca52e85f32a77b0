"""How large blocks are timed: so large that products outweigh all else, and not so large that it takes long.

From one step to the next the work grows two- to eightfold; which step suits a machine its own profile tells.
"""

from dataclasses import replace
from typing import Final

from calibrate.verification.predicted import LAYERS, PIPELINES, predicted
from calibrate.verification.sizes import Sizes
from topologies.hardware import Cluster

LADDER: Final = (
    Sizes(seq_len=128, heads=4, head_dim=32, ffn=256, vocab=512),
    Sizes(seq_len=256, heads=4, head_dim=64, ffn=512, vocab=1024),
    Sizes(seq_len=256, heads=8, head_dim=64, ffn=1024, vocab=1024),
    Sizes(seq_len=512, heads=8, head_dim=64, ffn=1024, vocab=2048),
    Sizes(seq_len=512, heads=8, head_dim=128, ffn=2048, vocab=2048),
    Sizes(seq_len=1024, heads=8, head_dim=128, ffn=2048, vocab=4096),
    Sizes(seq_len=2048, heads=16, head_dim=128, ffn=5632, vocab=32000),
    Sizes(seq_len=4096, heads=32, head_dim=128, ffn=14336, vocab=32000),
)
"""From a toy to a layer of Llama 3 8B."""
LARGEST_MODEL: Final = 2048
"""Width of the largest whole model, which must fit in a GPU's memory."""
PATIENCE: Final = 0.5
"""Seconds that a repetition may take."""


def sizes_for(name: str, cluster: Cluster, *, launch_seconds: float = 0.0) -> Sizes:
    """The largest sizes at which a repetition of the block should not take longer than `PATIENCE`: there its products
    outweigh what it takes to start them and to meet."""
    first, *others = [
        _step(name, sizes, cluster) for sizes in LADDER if name in LAYERS or sizes.hidden <= LARGEST_MODEL
    ]
    chosen = first
    for sizes in others:
        if predicted(name, sizes, cluster, launch_seconds=launch_seconds).duration > PATIENCE:
            break
        chosen = sizes
    return chosen


def _step(name: str, sizes: Sizes, cluster: Cluster) -> Sizes:
    """Without a pipeline to fill two microbatches are enough."""
    shared = fitted(sizes, cluster.num_gpus)
    return shared if name in PIPELINES else replace(shared, num_microbatches=2)


def fitted(sizes: Sizes, num_ranks: int) -> Sizes:
    """As few heads, tokens, layers and so on as so many ranks can share; a rank has two stages where it has several."""
    return replace(
        sizes,
        seq_len=_multiple(sizes.seq_len, 2 * num_ranks),
        heads=_multiple(sizes.heads, num_ranks),
        ffn=_multiple(sizes.ffn, num_ranks),
        num_layers=_multiple(sizes.num_layers, 2 * num_ranks),
        num_microbatches=_multiple(sizes.num_microbatches, 2 * num_ranks),
        num_experts=_multiple(sizes.num_experts, num_ranks),
    )


def _multiple(number: int, of: int) -> int:
    """The least multiple that is no smaller."""
    return -(-number // of) * of
