"""The MLP half of a Llama layer on tensor-parallel ranks [Megatron-LM, Shoeybi et al. 2019, section 3].

Each rank has 1/n of the width between the two products: gate and up together are column-parallel, so the activation
needs no other rank's numbers, and down is row-parallel. One all-reduce forward, one backward.
"""

from torch import Tensor
from torch.nn import functional

from calibrate.sharded import kernels
from calibrate.sharded.attention import Linear
from calibrate.sharded.block import Shard, Tensors
from calibrate.sharded.linear import column_parallel, row_parallel
from calibrate.sharded.weights import OUTPUT, Whole, block_of, indivisible, product_scale, replicated, second_cut
from calibrate.verification.sizes import Sizes

NAME = "mlp"


def half(
    x: Tensor, weights: Tensors, shard: Shard, *, column: Linear = column_parallel, row: Linear = row_parallel
) -> Tensor:
    """(tokens, hidden) to the same; weights: "mlp norm", "mlp up" (gate and up), "mlp down" as a rank has them."""
    x, around = kernels.fork(x, shard, f"{NAME} norm residual gradient")
    normed = kernels.norm(x, weights["mlp norm"], shard, f"{NAME} norm")
    gate_and_up = column(normed, weights["mlp up"].flatten(0, 1), shard, "mlp up")
    made = row(kernels.activation(gate_and_up, shard), weights["mlp down"], shard, "mlp down")
    return kernels.residual(around, made, shard, NAME)


def plain(x: Tensor, weights: Tensors) -> Tensor:
    """The same in one process, of whole weights."""
    gate_and_up = functional.linear(kernels.rms_norm(x, weights["mlp norm"]), weights["mlp up"].flatten(0, 1))
    return x + functional.linear(kernels.swiglu(gate_and_up), weights["mlp down"])


def weights(sizes: Sizes) -> dict[str, Whole]:
    """Gate and up are two weights in one tensor, each of them cut."""
    return {
        "mlp norm": Whole((sizes.hidden,), replicated),
        "mlp up": Whole((2, sizes.ffn, sizes.hidden), second_cut, product_scale(sizes.hidden)),
        "mlp down": Whole((sizes.hidden, sizes.ffn), second_cut, product_scale(sizes.ffn)),
    }


def fits(sizes: Sizes, num_ranks: int) -> str:
    """Whether the ranks can share the width."""
    return indivisible(num_ranks, ffn=sizes.ffn)


def _tensors(sizes: Sizes, num_ranks: int) -> dict[str, Whole]:
    state = Whole((sizes.micro_batch * sizes.seq_len, sizes.hidden), replicated)
    return {"input": state, **weights(sizes), OUTPUT: state}


BLOCKS = (
    block_of(
        "tensor-parallel mlp",
        "the width between two products is shared, and what comes down is summed",
        tensors=_tensors,
        sharded=lambda own, shard, sizes: half(own["input"], own, shard),
        plain=lambda whole, sizes: plain(whole["input"], whole),
        fits=fits,
    ),
)
