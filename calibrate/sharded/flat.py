"""Many tensors as one: what is summed, gathered or shared out at once lies in one flat tensor, one behind the other.

Its end is filled with zeros, so that all ranks have shares of one length; a tensor may so be cut between two ranks.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def flatten(tensors: Sequence[Tensor], num_ranks: int) -> Tensor:
    """All numbers, and zeros up to a multiple of `num_ranks`."""
    numbers = [tensor.detach().flatten() for tensor in tensors]
    rest = -sum(len(each) for each in numbers) % num_ranks
    return torch.cat([*numbers, numbers[0].new_zeros(rest)])


def unflatten(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Views of a flat tensor in the shapes of those that it was made of."""
    sizes = [tensor.numel() for tensor in like]
    pieces = torch.split(flat, [*sizes, flat.numel() - sum(sizes)])
    return [piece.view(tensor.shape) for piece, tensor in zip(pieces, like, strict=False)]


def when_all_have_gradients(leaves: Sequence[Tensor], then: Callable[[], None], num_passes: int = 1) -> None:
    """Calls `then` within the backward pass, whenever each of the leaves has got its gradient so many times."""
    needed = len(leaves) * num_passes
    missing = needed

    def arrived(_: Tensor) -> None:
        nonlocal missing
        missing -= 1
        if not missing:
            missing = needed
            then()

    for leaf in leaves:
        leaf.register_post_accumulate_grad_hook(arrived)  # type: ignore[no-untyped-call]


def taken_gradients(leaves: Sequence[Tensor], num_ranks: int) -> Tensor:
    """The gradients in one flat tensor, as this rank's part of their mean over the ranks; the leaves forget them."""
    flat = flatten([leaf.grad for leaf in leaves if leaf.grad is not None], num_ranks)
    for leaf in leaves:
        leaf.grad = None
    return flat.div_(num_ranks)
