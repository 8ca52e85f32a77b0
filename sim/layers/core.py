"""The core of attention on one rank: scores, softmax, weighted values, of the heads and tokens that a shape names.

It stays in 16 bits whatever the products of the layer run in.
"""

from collections.abc import Iterable
from typing import Final

from sim import frameworks
from sim.costs import memory_bound, sharing
from sim.costs.attention import (
    BACKWARD,
    FORWARD,
    Shape,
    flash_backward,
    flash_forward,
    unfused_backward,
    unfused_forward,
)
from sim.costs.attention.kernels import FLASH_2, TENSORRT, kernel_of
from sim.costs.gemm.formats import peak_flops
from sim.costs.law import TIMED, Law, basis_of, fit_of, origin_of
from sim.frameworks import Framework
from sim.instructions import Basis, Block, Compute
from sim.layers.context import Context, sixteen_bits
from topologies.hardware import Fit, Gpu, Origin

NARROW: Final = 64
"""Head size of narrow heads."""
TIMED_KERNEL: Final = "fsdp2"
"""The framework that runs what it times: scaled_dot_product_attention [calibrate/bench/attention.py]."""


def shape_of(context: Context) -> Shape:
    """The rank's heads and tokens; latent attention has made a key and a value for every head when the core runs."""
    model, mla = context.model, context.model.mla
    return Shape(
        batch=context.micro_batch,
        seq_len=context.seq_len // context.cp,
        num_heads=model.num_heads // context.tp,
        num_kv_heads=(model.num_heads if mla else model.num_kv_heads) // context.tp,
        head_dim=mla.nope_head_dim + mla.rope_head_dim if mla else model.head_dim,
        value_dim=mla.v_head_dim if mla else model.head_dim,
        precision=sixteen_bits(context).precision,
        window=context.kind.window,
    )


def is_flash(context: Context) -> bool:
    """Whether the scores stay on chip: not where the framework's kernels refuse latent attention on Blackwell."""
    framework = context.framework
    refused = context.model.mla and kernel_of(context.gpu) is TENSORRT and not framework.flash_latent_blackwell
    return framework.attention == "flash" and not refused


def forward(context: Context, shape: Shape, prefix: str = "") -> Block:
    """Scores, softmax, dropout, context; `prefix` tells a recomputation apart."""
    gpu, framework = context.gpu, context.framework
    if is_flash(context):
        widths = shape.head_dim + shape.value_dim
        return (_flash(context, f"{prefix}flash forward", shape, FORWARD, flash_forward(gpu, shape), widths),)
    kernels = unfused_forward(gpu, shape, fused_softmax=framework.fused_softmax, dropout=context.dropout)
    return _bound_by_scores(context, ((prefix + name, seconds) for name, seconds in kernels))


def backward(context: Context, shape: Shape) -> Block:
    """Gradients of queries, keys and values."""
    gpu, framework = context.gpu, context.framework
    if is_flash(context):
        widths = 3 * shape.head_dim + 2 * shape.value_dim
        return (_flash(context, "flash backward", shape, BACKWARD, flash_backward(gpu, shape), widths),)
    kernels = unfused_backward(gpu, shape, fused_softmax=framework.fused_softmax, dropout=context.dropout)
    return _bound_by_scores(context, kernels)


def _speed(context: Context, framework: Framework) -> float:
    """Of a framework's flash kernels beside those that data sheets and papers speak of."""
    narrow = framework.flash_speed_narrow if context.model.head_dim <= NARROW else 1.0
    return narrow * (framework.flash_speed if kernel_of(context.gpu) is FLASH_2 else framework.flash_speed_hopper)


def _flash(context: Context, name: str, shape: Shape, law: Law[Gpu], fitted: float, widths: int) -> Compute:
    """The level of training's kernels is the data sheet's, as the tables have those of serving; or that of PyTorch's
    own kernel, where `calibrate run` timed it on this GPU: another framework's is then as much faster as it is said.

    `fitted` seconds are those of the GPU's kernels; `widths` of all products, each of which takes 2 FLOPs a pair.
    """
    fit, speed = fit_of(context.gpu, law), _speed(context, context.framework)
    basis: tuple[str, Origin] = "flash attention", "datasheet"
    if any(source.startswith(TIMED) for source in fit.sources.values()):
        speed /= _speed(context, frameworks.load(TIMED_KERNEL))
        basis = law.operation, _origin(context.gpu, fit, shape, is_timed=speed == 1)
    seconds = fitted / speed
    flops = 2.0 * shape.batch * shape.num_heads * shape.num_pairs * widths
    load = sharing.flash(min(1.0, flops / (seconds * peak_flops(context.gpu, shape.precision))))
    return Compute(name=name, duration=seconds, load=load, basis=(Basis(*basis, seconds),))


def _origin(gpu: Gpu, fit: Fit, shape: Shape, *, is_timed: bool) -> Origin:
    """Of a level that was timed; nobody timed another framework's kernel, windows, or values of another width."""
    sizes = {name: float(getattr(shape, name)) for name in ("batch", "seq_len", "num_heads", "head_dim", "causal")}
    found = origin_of(fit, gpu.name, sizes)
    is_like = is_timed and shape.window is None and shape.value_dim == shape.head_dim
    return found if is_like or found == "datasheet" else "extrapolated"


def _bound_by_scores(context: Context, kernels: Iterable[tuple[str, float]]) -> Block:
    """Unfused kernels, the products too, are as fast as the HBM takes the scores."""
    gpu, law = context.gpu, memory_bound.LAW
    load = sharing.streaming(gpu)
    return tuple(
        Compute(name=name, duration=seconds, load=load, basis=basis_of(gpu, law, seconds, is_measured=False))
        for name, seconds in kernels
    )
