"""The experts of one rank: two grouped products with the activation between, forward and backward.

Below 16 bits their operands are cast by kernels of their own: the rows once, with a transposed copy for the weight
gradient, and likewise the gradients of what the products made [Transformer Engine, GroupedLinear]. A fused kernel
activates and casts what a product makes on its way out [Transformer Engine, ops/fused/forward_grouped_mlp.py].
"""

import math
from dataclasses import replace
from typing import Final

from sim.costs import sharing
from sim.costs.gemm import FORMATS, Layout
from sim.costs.grouped_gemm import grouped_gemm, grouped_weight_gradient, is_measured, law_of
from sim.costs.law import basis_of
from sim.instructions import NO_LOAD, Block, Compute, Load
from sim.layers import dense
from sim.layers.context import Context, run
from sim.layers.moe import unfused
from sim.layers.moe.rows import Rows, fullest_rows, moe_of, of_experts, on_the_fullest
from sim.layers.overlap import again_block
from sim.layers.products import cast, number_nbytes

EXPERTS = "experts"
UP, DOWN = f"{EXPERTS} up", f"{EXPERTS} down"

SCALED: Final = ("mxfp8", "nvfp4")
"""Formats with a scale for each block, which a kernel lays out anew for each product."""

OPERATIONS_OF_CAST: Final = 6
"""The host's, for each expert: rows are sliced off, numbers and scales by rows and by columns allocated, a kernel
started [Transformer Engine, csrc/extensions/cast.cpp, split_quantize]."""


def forward(context: Context) -> Block:
    """Up with the gate, activation, down."""
    up, ffn = _widths(context)
    hidden = context.model.hidden

    def of_rank(rows: Rows) -> Block:
        return (
            *_cast(context, f"{UP} input", rows, hidden),
            _product(context, f"{UP} forward", rows, hidden, up),
            *_activation(context, rows),
            _product(context, f"{DOWN} forward", rows, ffn, hidden),
            *(unfused.bias(context, DOWN, sum(rows), hidden) if _has_loose_bias(context) else ()),
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
            *_cast(context, f"{DOWN} output gradient", rows, hidden),
            *(_bias_gradient(context, rows) if both else ()),
            _product(context, f"{DOWN} input gradient", rows, hidden, ffn),
            *((_weight_gradient(context, DOWN, rows, ffn, hidden),) if both else ()),
            *_activation_backward(context, rows),
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
    up, ffn = _widths(context)
    if is_fused(context):
        return ()
    clamp = unfused.clamp(context, UP, sum(rows), up) if _has_loose_bias(context) else ()
    activated = dense.activation_forward(of_experts(context), EXPERTS, sum(rows), moe_of(context).ffn)
    return (*clamp, *activated, *_cast(context, f"{DOWN} input", rows, ffn))


def _activation_backward(context: Context, rows: Rows) -> Block:
    """The gradient of what the activation takes, and its cast for the products that take it."""
    up, _ = _widths(context)
    if is_fused(context):
        return ()
    gradient = dense.activation_backward(of_experts(context), EXPERTS, sum(rows), moe_of(context).ffn)
    clamp = unfused.clamp_gradient(context, UP, sum(rows), up) if _has_loose_bias(context) else ()
    return (*gradient, *clamp, *_cast(context, f"{UP} output gradient", rows, up))


def is_fused(context: Context) -> bool:
    """Whether one kernel multiplies all experts, and activates and casts what it makes: there are such kernels for
    formats with a scale per block [NVIDIA, Boosting MoE Training Throughput with Advanced Fusion Kernels, 2026]."""
    fused = context.framework.fused_experts
    return context.precision in SCALED and (fused == "always" or (fused == "unbiased" and not context.model.bias))


def _has_loose_bias(context: Context) -> bool:
    return context.model.bias and context.model.gated_mlp and not is_fused(context)


def _widths(context: Context) -> tuple[int, int]:
    """Of a rank's part of an expert: what the activation takes, and what it makes."""
    ffn = moe_of(context).ffn
    return dense.up_width(context, ffn) // context.etp, ffn // context.etp


def _bias_gradient(context: Context, rows: Rows) -> Block:
    if not context.model.bias:
        return ()
    if _has_loose_bias(context):
        return unfused.bias_gradient(context, DOWN, sum(rows), context.model.hidden)
    return (run(context, f"{DOWN} bias gradient", "bias gradient", sum(rows) * context.model.hidden),)


def _product(context: Context, name: str, rows: Rows, width_in: int, width_out: int) -> Compute:
    """One product per expert, all in one kernel; where there are fewer rows than experts, some have none."""
    gpu, precision = context.gpu, context.precision
    layout: Layout = "input_gradient" if name.endswith("input gradient") else "forward"
    seconds = grouped_gemm(gpu, rows, width_out, width_in, precision, layout=layout)
    known = is_measured(precision) and name.endswith("forward")
    basis = basis_of(gpu, law_of(precision), seconds, is_measured=known)
    load = _load(context, seconds, rows, width_out, width_in)
    return Compute(name=name, duration=seconds, host_seconds=_host_seconds(context, rows), load=load, basis=basis)


def _weight_gradient(context: Context, name: str, rows: Rows, width_in: int, width_out: int) -> Compute:
    """Every microbatch each busy expert's accumulated gradient is read, and written with the product added."""
    gpu, precision = context.gpu, context.precision
    nbytes = 2 * context.framework.gradient_nbytes
    seconds = grouped_weight_gradient(gpu, rows, width_out, width_in, precision, output_nbytes=nbytes)
    basis = basis_of(gpu, law_of(precision), seconds, is_measured=False)
    load = _weight_load(context, seconds, rows, width_out, width_in)
    host_seconds = _host_seconds(context, rows)
    return Compute(name=f"{name} weight gradient", duration=seconds, host_seconds=host_seconds, load=load, basis=basis)


def _host_seconds(context: Context, rows: Rows) -> float:
    """The host starts a product for each expert."""
    framework = context.framework
    each = framework.scaled_launch_seconds if context.precision in SCALED else framework.expert_launch_seconds
    return len(rows) * each if _is_started_by_expert(context) else 0.0


def _cast(context: Context, name: str, rows: Rows, width: int) -> Block:
    """A cast, which the host too starts expert by expert."""
    each = OPERATIONS_OF_CAST * context.framework.launch_seconds
    host_seconds = len(rows) * each if _is_started_by_expert(context) else 0.0
    kernels = cast(context, name, sum(rows), width)
    return tuple(replace(kernel, host_seconds=host_seconds) for kernel in kernels if isinstance(kernel, Compute))


def _is_started_by_expert(context: Context) -> bool:
    """Not by fused kernels, nor by a graph; but one replays experts only if they always take as many rows [Megatron
    Bridge, CUDA graphs: without dropping the scopes are attn, moe_router and moe_preprocess]."""
    replayed = context.framework.cuda_graphs and context.experts.capacity_factor is not None
    return not is_fused(context) and not replayed


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
