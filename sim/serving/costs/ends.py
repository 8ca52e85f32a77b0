"""The ends of a model: the embedding before the first layer; the last norm, the head and sampling after the last.

Only tokens that are followed by a new one meet the head, whose rows are split over tp and gathered as logits.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from sim.costs import ELEMENT
from sim.costs.memory_bound import row_kernels, streams
from sim.deployment import Sampling
from sim.frameworks.serving import ServingFramework
from sim.serving.costs.communication import gathered, summed
from sim.serving.costs.parts import TOKENS, Part, Rank, part
from sim.serving.costs.products import plain, product

SAMPLING: Final[Mapping[Sampling, Callable[[ServingFramework], float]]] = {
    "greedy": lambda framework: framework.greedy_nbytes,
    "top-p": lambda framework: framework.top_p_nbytes,
}


def embedding(rank: Rank, *, graph: bool) -> Part:
    """Rows of the ranks' parts of the vocabulary, summed over tp."""
    looked_up = row_kernels(rank.gpu, "lookup", TOKENS, rank.model.hidden)
    return part(compute=looked_up, tp=summed(rank, graph=graph), launches=2)


def head(rank: Rank) -> Part:
    """By tokens that are sampled: the last norm, logits, and the choice."""
    model = rank.model
    norm = row_kernels(rank.gpu, "norm", TOKENS, model.hidden)
    logits = product(rank, np.ceil(model.vocab / rank.tp), model.hidden, precision=plain(rank.gpu))
    chosen = streams(rank.gpu, SAMPLING[rank.deployment.sampling](rank.framework) * model.vocab * TOKENS)
    return part(compute=norm + logits + chosen, tp=gathered(rank, float(ELEMENT * model.vocab)), launches=6)
