"""What a Llama layer runs between its products: norm, rotation, attention, activation [Touvron et al. 2023].

Each is noted forward and backward under the name that the simulator gives the kernel, so that both timelines read
alike. None talks to another rank: a rank runs them on its own tokens or heads.
"""

from collections.abc import Callable
from functools import cache
from typing import Final

import torch
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx
from torch.nn import functional

from calibrate.sharded.block import Shard
from calibrate.sharded.collectives import COMPUTE

EPSILON: Final = 1e-5
BASE: Final = 10000.0
"""Of the rotation's angles [Su et al. 2021, RoFormer]."""

Outputs = Tensor | tuple[Tensor, ...]
"""What a kernel makes: a tensor, or several."""


def norm(x: Tensor, weight: Tensor, shard: Shard, name: str) -> Tensor:
    """RMSNorm over the last dimension."""
    return noted(shard, f"{name} forward", f"{name} backward", rms_norm, x, weight)


def apart(qkv: Tensor, shard: Shard) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of (batch, tokens, 3, heads, head_dim); back, their gradients in one tensor."""
    parts: tuple[Tensor, Tensor, Tensor] = _Apart.apply(qkv, shard)  # type: ignore[no-untyped-call]
    return parts


def rotary(q: Tensor, k: Tensor, shard: Shard) -> tuple[Tensor, Tensor]:
    """Queries and keys of (batch, tokens, heads, head_dim), rotated by their position."""
    names = "rotary forward", "rotary backward"
    pair: tuple[Tensor, Tensor] = _Noted.apply(shard, names, _both_rotated, q, k)  # type: ignore[no-untyped-call]
    return pair


def attention(q: Tensor, k: Tensor, v: Tensor, shard: Shard) -> Tensor:
    """Causal attention of (batch, tokens, heads, head_dim)."""
    return noted(shard, "flash forward", "flash backward", causal, q, k, v)


def activation(gate_and_up: Tensor, shard: Shard) -> Tensor:
    """SwiGLU of (tokens, 2 ffn), the gate first."""
    return noted(shard, "activation forward", "activation backward", swiglu, gate_and_up)


def fork(x: Tensor, shard: Shard, name: str) -> tuple[Tensor, Tensor]:
    """x for two uses, as a half of a layer and the residual around it; back, the sum of both gradients."""
    pair: tuple[Tensor, Tensor] = _Fork.apply(x, shard, name)  # type: ignore[no-untyped-call]
    return pair


def residual(x: Tensor, made: Tensor, shard: Shard, name: str) -> Tensor:
    """What a half made, added to what it began with; back, the gradient goes both ways as it is."""
    with shard.recorder.span(COMPUTE, f"{name} residual"):
        return x + made


def noted(shard: Shard, forward: str, backward: str, run: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """A function of tensors, run under one name, and its gradients under another."""
    output: Tensor = _Noted.apply(shard, (forward, backward), run, *inputs)  # type: ignore[no-untyped-call]
    return output


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """Each token over its root mean square, times a weight [Zhang & Sennrich 2019]."""
    return functional.rms_norm(x, x.shape[-1:], weight, EPSILON)


def rotated(x: Tensor) -> Tensor:
    """The halves of each head are the parts of complex numbers, turned by angles that grow with the position."""
    real, imaginary = x.chunk(2, -1)
    cos, sin = _angles(x.shape[1], x.shape[-1], x.device, x.dtype)
    return torch.cat((real * cos - imaginary * sin, imaginary * cos + real * sin), -1)


def causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """PyTorch's attention, which wants heads before tokens, as is usual outside."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


def swiglu(gate_and_up: Tensor) -> Tensor:
    """silu(gate) up [Shazeer 2020]."""
    gate, up = gate_and_up.chunk(2, -1)
    return functional.silu(gate) * up


def _both_rotated(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    return rotated(q), rotated(k)


@cache
def _angles(tokens: int, head_dim: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    frequencies = BASE ** (-torch.arange(0, head_dim, 2, device=device) / head_dim)
    angles = torch.outer(torch.arange(tokens, device=device), frequencies)[:, None, :]
    return angles.cos().to(dtype), angles.sin().to(dtype)


class _Noted(Function):
    """A kernel by PyTorch's own gradient, which is run, and so noted, apart from that of all around it."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, shard: Shard, names: tuple[str, str], run: Callable[..., Outputs], *inputs: Tensor
    ) -> Outputs:
        with shard.recorder.span(COMPUTE, names[0]), torch.enable_grad():
            kept = [x.detach().requires_grad_(x.requires_grad) for x in inputs]
            outputs = run(*kept)
        ctx.kept = shard, names[1], kept, outputs  # type: ignore[attr-defined]
        return outputs.detach() if isinstance(outputs, Tensor) else tuple(output.detach() for output in outputs)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        shard, name, kept, outputs = ctx.kept  # type: ignore[attr-defined]
        with shard.recorder.span(COMPUTE, name):
            found = iter(torch.autograd.grad(outputs, [x for x in kept if x.requires_grad], gradients))
        return None, None, None, *(next(found) if x.requires_grad else None for x in kept)


class _Fork(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, shard: Shard, name: str) -> tuple[Tensor, Tensor]:
        ctx.call = shard, name  # type: ignore[attr-defined]
        return x.view_as(x), x.view_as(x)

    @staticmethod
    def backward(ctx: FunctionCtx, of_one: Tensor, of_other: Tensor) -> tuple[Tensor, None, None]:
        shard, name = ctx.call  # type: ignore[attr-defined]
        with shard.recorder.span(COMPUTE, name):
            return of_one + of_other, None, None


class _Apart(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, qkv: Tensor, shard: Shard) -> tuple[Tensor, ...]:
        ctx.shard = shard  # type: ignore[attr-defined]
        return qkv.unbind(2)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        with ctx.shard.recorder.span(COMPUTE, "qkv gradient join"):  # type: ignore[attr-defined]
            batch, tokens, *rest = gradients[0].shape
            joined = gradients[0].new_empty(batch, tokens, len(gradients), *rest)
            for place, gradient in enumerate(
                gradients
            ):  # a copy each: on a processor torch.stack goes number by number
                joined[:, :, place] = gradient
            return joined, None
