"""The experts of one rank: two grouped products with the activation between, forward and backward.

Below 16 bits their operands are cast by kernels of their own: the rows once, with a transposed copy for the weight
gradient, and likewise the gradients of what the products made [Transformer Engine, GroupedLinear].
"""

import math

from sim.costs import sharing
from sim.costs.gemm import FORMATS
from sim.costs.grouped_gemm import grouped_gemm, grouped_weight_gradient, is_measured, law_of
from sim.costs.law import basis_of
from sim.instructions import NO_LOAD, Block, Compute, Load
from sim.layers import dense
from sim.layers.context import Context, run
from sim.layers.moe.rows import Rows, fullest_rows, moe_of, of_experts, on_the_fullest
from sim.layers.overlap import again_block
from sim.layers.products import cast, number_nbytes

EXPERTS = "experts"
UP, DOWN = f"{EXPERTS} up", f"{EXPERTS} down"


def forward(context: Context) -> Block:
    """Up with the gate, activation, down."""
    up, ffn = _widths(context)
    hidden = context.model.hidden

    def of_rank(rows: Rows) -> Block:
        return (
            *cast(context, f"{UP} input", sum(rows), hidden),
            _product(context, f"{UP} forward", rows, hidden, up),
            *_activation(context, rows),
            _product(context, f"{DOWN} forward", rows, ffn, hidden),
        )

    return on_the_fullest(context, of_rank)


def backward(context: Context) -> Block:
    """Input gradients, and the weights' unless the pass is split; before them the activation where it is computed
    again, and cast again, as neither is kept then [Megatron-Core, moe/experts.py, activation_recompute]."""
    up, ffn = _widths(context)
    hidden, both = context.model.hidden, context.half == "both"

    def of_rank(rows: Rows) -> Block:
        return (
            *(again_block(_activation(context, rows)) if context.recomputes("moe_act") else ()),
            *cast(context, f"{DOWN} output gradient", sum(rows), hidden),
            *(_bias_gradient(context, rows) if both else ()),
            _product(context, f"{DOWN} input gradient", rows, hidden, ffn),
            *((_weight_gradient(context, DOWN, rows, ffn, hidden),) if both else ()),
            *dense.activation_backward(of_experts(context), EXPERTS, sum(rows), moe_of(context).ffn),
            *cast(context, f"{UP} output gradient", sum(rows), up),
            _product(context, f"{UP} input gradient", rows, up, hidden),
            *((_weight_gradient(context, UP, rows, hidden, up),) if both else ()),
        )

    return on_the_fullest(context, of_rank)


def weight_gradients(context: Context) -> Block:
    """The weight half of a backward pass."""
    up, ffn = _widths(context)
    hidden = context.model.hidden

    def of_rank(rows: Rows) -> Block:
        return (
            *_bias_gradient(context, rows),
            _weight_gradient(context, DOWN, rows, ffn, hidden),
            _weight_gradient(context, UP, rows, hidden, up),
        )

    return on_the_fullest(context, of_rank)


def saved_for_weights_nbytes(context: Context) -> float:
    """Bytes of both products' inputs and output gradients, of the fullest rank."""
    up, ffn = _widths(context)
    return number_nbytes(context) * fullest_rows(context) * (2 * context.model.hidden + up + ffn)


def _activation(context: Context, rows: Rows) -> Block:
    """The activation, and the cast for the product that takes it."""
    _, ffn = _widths(context)
    activated = dense.activation_forward(of_experts(context), EXPERTS, sum(rows), moe_of(context).ffn)
    return (*activated, *cast(context, f"{DOWN} input", sum(rows), ffn))


def _widths(context: Context) -> tuple[int, int]:
    """Of a rank's part of an expert: what the activation takes, and what it makes."""
    ffn = moe_of(context).ffn
    return dense.up_width(context, ffn) // context.etp, ffn // context.etp


def _bias_gradient(context: Context, rows: Rows) -> Block:
    if not context.model.bias:
        return ()
    return (run(context, f"{DOWN} bias gradient", "bias gradient", sum(rows) * context.model.hidden),)


def _product(context: Context, name: str, rows: Rows, width_in: int, width_out: int) -> Compute:
    """One product per expert, all in one kernel; where there are fewer rows than experts, some have none."""
    gpu, precision = context.gpu, context.precision
    seconds = grouped_gemm(gpu, rows, width_out, width_in, precision)
    known = is_measured(precision) and name.endswith("forward")
    basis = basis_of(gpu, law_of(precision), seconds, is_measured=known)
    load = _load(context, seconds, rows, width_out, width_in)
    return Compute(name=name, duration=seconds, load=load, basis=basis)


def _weight_gradient(context: Context, name: str, rows: Rows, width_in: int, width_out: int) -> Compute:
    """Every microbatch each busy expert's accumulated gradient is read, and written with the product added."""
    gpu, precision = context.gpu, context.precision
    nbytes = 2 * context.framework.gradient_nbytes
    seconds = grouped_weight_gradient(gpu, rows, width_out, width_in, precision, output_nbytes=nbytes)
    basis = basis_of(gpu, law_of(precision), seconds, is_measured=False)
    load = _weight_load(context, seconds, rows, width_out, width_in)
    return Compute(name=f"{name} weight gradient", duration=seconds, load=load, basis=basis)


def _load(context: Context, seconds: float, rows: Rows, n: int, k: int) -> Load:
    num_busy = sum(count > 0 for count in rows)
    if not num_busy:
        return NO_LOAD
    shape = math.ceil(sum(rows) / num_busy), n, k, _peak(context)
    return sharing.product(context.gpu, seconds, *shape, batch=num_busy, operand_nbytes=number_nbytes(context))


def _weight_load(context: Context, seconds: float, rows: Rows, n: int, k: int) -> Load:
    num_busy = sum(count > 0 for count in rows)
    if not num_busy:
        return NO_LOAD
    shape = n, k, math.ceil(sum(rows) / num_busy), _peak(context)
    return sharing.product(
        context.gpu,
        seconds,
        *shape,
        batch=num_busy,
        operand_nbytes=number_nbytes(context),
        output_nbytes=2 * context.framework.gradient_nbytes,
    )


def _peak(context: Context) -> str:
    """Whose peak the products run against."""
    return FORMATS[context.precision].peaks[0]
