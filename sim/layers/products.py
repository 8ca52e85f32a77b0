"""The products of a linear layer on one rank, and in 8 or 4 bits the casts of what they multiply.

A tensor is cast once, in both directions: its rows for the product that comes first, its columns for the weight
gradient [Transformer Engine, module/base.py: quantizers with rowwise and columnwise usage]. Outputs stay in 16 bits,
weight gradients are added to what is there.
"""

from sim.costs import ELEMENT, sharing
from sim.costs.gemm import FORMATS, Layout, law_of, product, quantise
from sim.costs.law import basis_of
from sim.costs.memory_bound import Kernel
from sim.instructions import Block, Compute
from sim.layers.context import Context, run


def forward(context: Context, name: str, num_tokens: int, width_in: int, width_out: int) -> Compute:
    """The output of so many tokens."""
    return _product(context, f"{name} forward", (num_tokens, width_out, width_in), "forward", ELEMENT)


def input_gradient(context: Context, name: str, num_tokens: int, width_in: int, width_out: int) -> Compute:
    """The gradient of the input of so many tokens."""
    return _product(context, f"{name} input gradient", (num_tokens, width_in, width_out), "input_gradient", ELEMENT)


def weight_gradient(context: Context, name: str, num_tokens: int, width_in: int, width_out: int) -> Compute:
    """The product is added to the accumulated gradient on its way out [apex, fused_weight_gradient_mlp_cuda], or is a
    new 16-bit gradient that a framework copies to where it is summed."""
    framework = context.framework
    nbytes = ELEMENT if framework.gradient_copy_nbytes else 2 * framework.gradient_nbytes
    shape = width_out, width_in, num_tokens
    return _product(context, f"{name} weight gradient", shape, "weight_gradient", nbytes)


def cast(context: Context, name: str, num_tokens: int, width: int, *, has_amax: bool = False) -> Block:
    """The cast of 16-bit numbers that a product takes, with the copy for the weight gradient; none in 16 bits.

    `has_amax`: the norm that made them has found the largest magnitude on its way, which fp8's scale needs [Transformer
    Engine, csrc/extensions/normalization.cpp, FUSED_NORM_AMAX_FP8] unless it is that of earlier steps: they are read
    once. nvfp4 needs it too, beside the scales of its blocks [cpp_extensions, nvfp4 quantizer: scales of 16 after it].
    """
    precision, elements = context.precision, num_tokens * width
    if not FORMATS[precision].quantises:
        return ()
    is_known = has_amax or (precision == "fp8" and context.framework.fp8_scaling == "delayed")
    looks_first = precision in ("fp8", "nvfp4") and not is_known
    before = (run(context, f"{name} largest magnitude", "amax", elements),) if looks_first else ()
    return (*before, _cast(context, f"{name} cast", num_tokens, width))


def weight_casts(context: Context, num_weights: int) -> tuple[Compute, ...]:
    """The cast of so many weights, in both directions: once a step, in the first microbatch [Transformer Engine,
    module/base.py, get_weight_workspace: the cast weights are kept while is_first_microbatch is False]."""
    return (_cast(context, "weight cast", num_weights, 1),) if FORMATS[context.precision].quantises else ()


def number_nbytes(context: Context) -> float:
    """Bytes of a number of a product's input: what is kept for the weight gradient, and what is gathered."""
    return FORMATS[context.precision].activation


def _cast(context: Context, name: str, rows: int, width: int) -> Compute:
    """fp8 with one scale a tensor runs at the HBM's speed: 1.4 ps a number on an H200, its largest magnitude included,
    0.9 without; Blackwell multiplies any layout and needs no transposed copy [Transformer Engine,
    docs/examples/gemm_profiling, autocast less pre-quantized; is_non_tn_fp8_gemm_supported]."""
    gpu, precision = context.gpu, context.precision
    if precision == "fp8":
        what: Kernel = "cast to fp8" if "fp4" in gpu.peak_flops else "cast to fp8 and transpose"
        return run(context, name, what, rows * width)
    seconds = quantise(gpu, rows, width, precision, transposed=True)
    basis = basis_of(gpu, law_of(precision), seconds, is_measured=False)
    return Compute(name=name, duration=seconds, load=sharing.streaming(gpu), basis=basis)


def _product(context: Context, name: str, shape: tuple[int, int, int], layout: Layout, output_nbytes: float) -> Compute:
    """Between two products of a layer others run: its weights are no longer in the L2, as they are in a benchmark."""
    gpu, precision = context.gpu, context.precision
    seconds = product(gpu, *shape, precision, output_nbytes=output_nbytes, layout=layout, cold_weights=True)
    peak, operand_nbytes = FORMATS[precision].peaks[0], number_nbytes(context)
    load = sharing.product(gpu, seconds, *shape, peak, operand_nbytes=operand_nbytes, output_nbytes=output_nbytes)
    m, n, k = shape
    basis = basis_of(gpu, law_of(precision), seconds, is_measured=layout == "forward", m=m, n=n, k=k)
    return Compute(name=name, duration=seconds, load=load, basis=basis)
