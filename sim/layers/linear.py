"""Linear layers cut over tp ranks [Shoeybi et al. 2019]: by columns each rank makes its part of the output, by rows its
part of a sum. So a sum over the ranks (all-reduce) follows a row-parallel layer forward and a column-parallel one
backward. With sequence parallelism [Korthikanti et al. 2022] that all-reduce is a reduce-scatter here and an all-gather
at the next column-parallel layer, whose whole input is gathered again for the weight gradient.
"""

from typing import NamedTuple

from sim.costs import ELEMENT, sharing
from sim.costs.gemm import Layout, gemm, law_of
from sim.costs.law import basis_of
from sim.instructions import Block, Compute, Record, Wait
from sim.layers.context import COMPUTE, TP, Context, Pass, compute_pass, gathered, scattered_sum


def column_forward(context: Context, name: str, width_in: int, width_out: int) -> Pass:
    """`width_out` is the whole width; this rank makes 1/tp of it."""
    gather = gathered(context, f"{name} input gather", _nbytes(context, width_in))
    return compute_pass((*gather, _forward(context, name, width_in, width_out // context.tp)))


def row_forward(context: Context, name: str, width_in: int, width_out: int) -> Pass:
    """`width_in` is the whole width; this rank holds 1/tp of it."""
    add = scattered_sum(context, f"{name} output sum", _nbytes(context, width_out))
    return compute_pass((_forward(context, name, width_in // context.tp, width_out), *add))


def whole_forward(context: Context, name: str, width_in: int, width_out: int) -> Block:
    """Every rank holds the whole matrix, and works on its tokens."""
    return (_product(context, f"{name} forward", context.local_tokens, width_out, width_in),)


def whole_backward(context: Context, name: str, width_in: int, width_out: int) -> Block:
    """Both gradients, of the rank's tokens; those of the weights are summed over the ranks once a step."""
    tokens = context.local_tokens
    input_gradient = _product(context, f"{name} input gradient", tokens, width_in, width_out, "input_gradient")
    return (input_gradient, _weight_gradient(context, name, width_in, width_out, tokens))


def column_backward(context: Context, name: str, width_in: int, width_out: int) -> Pass:
    """Input gradient, its sum over the ranks beside the weight gradient; the re-gathered input beside the former."""
    local = width_out // context.tp
    input_gradient = (_input_gradient(context, name, width_in, local),)
    weight_gradient = (_weight_gradient(context, name, width_in, local, context.num_tokens),)
    add = scattered_sum(context, f"{name} input gradient sum", _nbytes(context, width_in))
    gather = gathered(context, f"{name} input gather", _nbytes(context, width_in))
    if context.tp == 1 or not context.framework.overlap_input_gradient:
        return compute_pass((*gather, *input_gradient, *add, *weight_gradient))
    gathering = _beside(gather, f"{name} gather")
    adding = _beside(add, f"{name} sum")
    return {
        COMPUTE: (
            *gathering.begin,
            *input_gradient,
            *gathering.end,
            *adding.begin,
            *weight_gradient,
            *adding.end,
        ),
        TP: (*gathering.aside, *adding.aside),
    }


def row_backward(context: Context, name: str, width_in: int, width_out: int) -> Pass:
    """The output's gradient (gathered, where it is cut along the sequence), then both gradients."""
    local = width_in // context.tp
    gather = gathered(context, f"{name} output gradient gather", _nbytes(context, width_out))
    input_gradient = _input_gradient(context, name, local, width_out)
    weight_gradient = _weight_gradient(context, name, local, width_out, context.num_tokens)
    return compute_pass((*gather, input_gradient, weight_gradient))


def _nbytes(context: Context, width: int) -> float:
    """Bytes of all tokens, `width` numbers each."""
    return ELEMENT * context.num_tokens * width


def _forward(context: Context, name: str, width_in: int, width_out: int) -> Compute:
    return _product(context, f"{name} forward", context.num_tokens, width_out, width_in)


def _input_gradient(context: Context, name: str, width_in: int, width_out: int) -> Compute:
    return _product(context, f"{name} input gradient", context.num_tokens, width_in, width_out, "input_gradient")


def _product(
    context: Context, name: str, num_tokens: int, width_out: int, width_in: int, layout: Layout = "forward"
) -> Compute:
    return _gemm(context, name, (num_tokens, width_out, width_in), layout, ELEMENT)


def _weight_gradient(context: Context, name: str, width_in: int, width_out: int, num_tokens: int) -> Compute:
    """The product is added to the accumulated gradient on its way out [apex, fused_weight_gradient_mlp_cuda]."""
    nbytes = 2 * context.framework.gradient_nbytes
    return _gemm(context, f"{name} weight gradient", (width_out, width_in, num_tokens), "weight_gradient", nbytes)


def _gemm(context: Context, name: str, shape: tuple[int, int, int], layout: Layout, output_nbytes: float) -> Compute:
    """Between two products of a layer others run: its weights are no longer in the L2, as they are in a benchmark."""
    gpu, precision = context.gpu, context.precision
    seconds = gemm(gpu, *shape, precision, output_nbytes=output_nbytes, layout=layout, cold_weights=True)
    load = sharing.product(gpu, seconds, *shape, precision, output_nbytes=output_nbytes)
    m, n, k = shape
    basis = basis_of(gpu, law_of(precision), seconds, is_measured=layout == "forward", m=m, n=n, k=k)
    return Compute(name=name, duration=seconds, load=load, basis=basis)


class _Beside(NamedTuple):
    """Where the compute stream starts a block of the tp stream, the block itself, and where it needs the result."""

    begin: Block
    aside: Block
    end: Block


def _beside(block: Block, name: str) -> _Beside:
    if not block:
        return _Beside((), (), ())
    ready, done = f"{name} ready", f"{name} done"
    return _Beside((Record(ready),), (Wait(ready), *block, Record(done)), (Wait(done),))
