"""Linear layers cut over tp ranks [Shoeybi et al. 2019]: by columns each rank makes its part of the output, by rows its
part of a sum. So a sum over the ranks (all-reduce) follows a row-parallel layer forward and a column-parallel one
backward. With sequence parallelism [Korthikanti et al. 2022] that all-reduce is a reduce-scatter here and an all-gather
at the next column-parallel layer, whose whole input is gathered again for the weight gradient.
"""

from functools import partial

from sim.costs import ELEMENT
from sim.instructions import Block
from sim.layers import products, user_buffers
from sim.layers.context import COMPUTE, TP, Context, Pass, compute_pass, gathered, join, scattered_sum
from sim.layers.overlap import beside
from sim.layers.products import number_nbytes


def column_forward(context: Context, name: str, width_in: int, width_out: int) -> Pass:
    """`width_out` is the whole width; this rank makes 1/tp of it.

    In 8 or 4 bits the input is cast before it is gathered [Transformer Engine, distributed.py, _all_gather_fp8].
    """
    make = partial(products.forward, context, name, width_in=width_in, width_out=width_out // context.tp)
    cast = products.cast(context, f"{name} input", context.local_tokens, width_in, has_amax=True)
    return join(compute_pass(cast), _gather_and(context, name, f"{name} input", make, width_in))


def row_forward(context: Context, name: str, width_in: int, width_out: int) -> Pass:
    """`width_in` is the whole width; this rank holds 1/tp of it."""
    local, nbytes = width_in // context.tp, _nbytes(context, width_out)
    make = partial(products.forward, context, name, width_in=local, width_out=width_out)
    cast = compute_pass(products.cast(context, f"{name} input", context.num_tokens, local))
    if user_buffers.are_used(context, name):
        return join(cast, user_buffers.scattered_product(context, f"{name} output sum", make, nbytes))
    add = scattered_sum(context, f"{name} output sum", nbytes)
    return join(cast, compute_pass((make(context.num_tokens), *add)))


def whole_forward(context: Context, name: str, width_in: int, width_out: int) -> Block:
    """Every rank holds the whole matrix, and works on its tokens."""
    tokens = context.local_tokens
    cast = products.cast(context, f"{name} input", tokens, width_in, has_amax=True)
    return (*cast, products.forward(context, name, tokens, width_in, width_out))


def whole_backward(context: Context, name: str, width_in: int, width_out: int) -> Block:
    """Gradients of the rank's tokens; those of the weights are summed over the ranks once a step."""
    tokens = context.local_tokens
    weight_gradient = (products.weight_gradient(context, name, tokens, width_in, width_out),)
    if context.half == "weight":
        return weight_gradient
    cast = products.cast(context, f"{name} output gradient", tokens, width_out)
    input_gradient = (*cast, products.input_gradient(context, name, tokens, width_in, width_out))
    return input_gradient if context.half == "input" else input_gradient + weight_gradient


def column_backward(context: Context, name: str, width_in: int, width_out: int) -> Pass:
    """Input gradient, its sum over the ranks beside the weight gradient; the re-gathered input beside the former."""
    if context.half == "weight":
        return column_weights(context, name, width_in, width_out)
    local, tokens = width_out // context.tp, context.num_tokens
    cast = products.cast(context, f"{name} output gradient", tokens, local)
    input_gradient = (products.input_gradient(context, name, tokens, width_in, local),)
    add = scattered_sum(context, f"{name} input gradient sum", _nbytes(context, width_in))
    if context.half == "input":
        return compute_pass((*cast, *input_gradient, *add))
    weight_gradient = (products.weight_gradient(context, name, tokens, width_in, local),)
    gather = _gathered_again(context, name, width_in)
    if not _overlaps(context, name):
        return compute_pass((*cast, *gather, *input_gradient, *add, *weight_gradient))
    gathering, adding = beside(gather, f"{name} gather"), beside(add, f"{name} sum")
    return {
        COMPUTE: (
            *cast,
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
    weights = compute_pass(row_weights(context, name, width_in, width_out))
    if context.half == "weight":
        return weights
    make = partial(
        products.input_gradient, context, name, width_in=width_in // context.tp, width_out=width_out
    )  # fmt: skip
    cast = products.cast(context, f"{name} output gradient", context.local_tokens, width_out)
    inputs = join(compute_pass(cast), _gather_and(context, name, f"{name} output gradient", make, width_out))
    return inputs if context.half == "input" else join(inputs, weights)


def row_weights(context: Context, name: str, width_in: int, width_out: int) -> Block:
    """The weight gradient of a row-parallel layer: its input was never cut, its output's gradient is gathered."""
    return (products.weight_gradient(context, name, context.num_tokens, width_in // context.tp, width_out),)


def column_weights(context: Context, name: str, width_in: int, width_out: int, before: Block = ()) -> Pass:
    """The weight gradient of a column-parallel layer; its input is gathered beside what comes `before`.

    That is what a separate weight pass does [sail-sg/zero-bubble, weight_grad_store.py: the next gather is started
    before the product]; input and output gradient are kept as they were, cut along the sequence.
    """
    tokens, local = context.num_tokens, width_out // context.tp
    weight_gradient = (products.weight_gradient(context, name, tokens, width_in, local),)
    gather = _gathered_again(context, name, width_in)
    if not (before and gather and _overlaps(context, name)):
        return compute_pass((*before, *gather, *weight_gradient))
    gathering = beside(gather, f"{name} weight gather")
    return {COMPUTE: (*gathering.begin, *before, *gathering.end, *weight_gradient), TP: gathering.aside}


def column_kept_nbytes(context: Context, width_in: int, width_out: int) -> float:
    """Bytes that wait for a separate weight pass: the rank's tokens of the input, the gradient of its output."""
    numbers = context.local_tokens * width_in + context.num_tokens * width_out / context.tp
    return number_nbytes(context) * numbers


def row_kept_nbytes(context: Context, width_in: int, width_out: int) -> float:
    """Bytes that wait for a separate weight pass: the input, and the output's gradient, which was gathered."""
    return number_nbytes(context) * context.num_tokens * (width_in / context.tp + width_out)


def whole_kept_nbytes(context: Context, width_in: int, width_out: int) -> float:
    """Bytes that wait for a separate weight pass, of the rank's tokens."""
    return number_nbytes(context) * context.local_tokens * (width_in + width_out)


def _overlaps(context: Context, name: str) -> bool:
    """Whether gather and sum of a column-parallel layer run beside its gradients; user buffers do so in bulk."""
    return context.tp > 1 and (context.framework.overlap_input_gradient or user_buffers.are_used(context, name))


def _gather_and(context: Context, name: str, what: str, make: user_buffers.Make, width: int) -> Pass:
    """A product of all tokens, which are gathered before it or meanwhile; `width` numbers of a token."""
    nbytes = number_nbytes(context) * context.num_tokens * width
    if user_buffers.are_used(context, name):
        return user_buffers.gathered_product(context, what, make, nbytes)
    return compute_pass((*gathered(context, f"{what} gather", nbytes), make(context.num_tokens)))


def _gathered_again(context: Context, name: str, width: int) -> Block:
    return gathered(context, f"{name} input gather", number_nbytes(context) * context.num_tokens * width)


def _nbytes(context: Context, width: int) -> float:
    """Bytes of all tokens, `width` 16-bit numbers each."""
    return ELEMENT * context.num_tokens * width
