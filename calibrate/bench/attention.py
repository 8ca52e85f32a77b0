"""Scaled dot-product attention as PyTorch has it: forward, backward alone, and one token over a cache.

Scores never leave the chip; backward makes them again from the queries, the keys and one number a row. Half of a causal
score matrix is never looked at. Forward and backward are timed warm, a decoded token cold: its cache is read once a
step, and everything else of the model lies between two steps.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import product
from typing import Final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from calibrate.bench.point import Point, Ranks, Run
from calibrate.bench.shapes import Candidate, Heads, heads, roofline, spread_out
from calibrate.bench.tensors import NUM_ROWS, difference, random, some
from calibrate.machines.machine import Machine
from calibrate.verification.sizes import Sizes
from sim.costs.processor import PRECISION
from topologies.hardware import Gpu

BATCHES: Final = (1, 2, 4, 8)
LENGTHS: Final = tuple(2**power for power in range(9, 16))
LENGTHS_ON_PROCESSOR: Final = tuple(2**power for power in range(6, 11))
HEADS_ON_PROCESSOR: Final = tuple(product((1, 2, 4, 8), (32, 64, 128)))
LARGEST_HEAD_DIM: Final = 256
"""Of flash attention's kernels."""
CACHE_LENGTHS: Final = tuple(2**power for power in range(9, 18))
CACHES: Final = (1, 4, 16, 64, 256)
"""Sequences decoded together."""

FORWARD_ON_GPU, BACKWARD_ON_GPU, DECODE_ON_GPU = (12, 60, 160), (12, 60, 160), (2, 6, 6)
FORWARD_ON_PROCESSOR, BACKWARD_ON_PROCESSOR, DECODE_ON_PROCESSOR = (16, 40, 80), (16, 40, 80), (2, 4, 4)
"""Points by the end of a quick, a default and a full run. Of decoding a few figures: no law is fitted to them."""
FUSED: Final = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]
"""Kernels that keep scores on the chip. PyTorch says itself which comes first: cuDNN's on Hopper and Blackwell where
its version is to be trusted, else FlashAttention-2 [sdp_utils.cpp, check_prefer_cudnn_attention]."""
BACKWARD: Final = 2.5
"""Five products where forward has two [Dao 2023, FlashAttention-2]."""
ONE_QUERY: Final = 0.02
"""Of the rate of many queries, about: a block of scores has one row of use."""
TOLERANCE: Final = 0.03
"""Probabilities are rounded to bf16 as well."""


def points(machine: Machine, gpu: Gpu) -> Iterator[Point]:
    """Forward, backward and decoding, in bf16 or on a processor in fp32, coarse to fine."""
    forward, backward, decode = (
        (FORWARD_ON_PROCESSOR, BACKWARD_ON_PROCESSOR, DECODE_ON_PROCESSOR)
        if machine.is_cpu
        else (FORWARD_ON_GPU, BACKWARD_ON_GPU, DECODE_ON_GPU)
    )
    yield from _training(machine, gpu, forward, is_backward=False)
    yield from _training(machine, gpu, backward, is_backward=True)
    yield from _decoding(machine, gpu, decode)


def _training(machine: Machine, gpu: Gpu, counts: tuple[int, int, int], *, is_backward: bool) -> Iterator[Point]:
    candidates = [_candidate(machine, gpu, sizes, is_backward=is_backward) for sizes in _sizes(machine)]
    operation, prepare = ("attention backward", _backward) if is_backward else ("attention forward", _forward)
    for sizes, seconds, budget in spread_out(candidates, machine, gpu, counts, first=_first(machine)):
        batch, length, num_heads, head_dim, causal = sizes
        yield Point(
            operation=operation, part=machine.part,
            inputs=dict(zip(("batch", "seq_len", "num_heads", "head_dim", "causal"), sizes, strict=True)),
            prepare=partial(prepare, batch, length, num_heads, head_dim, causal), seconds=seconds, budget=budget,
        )  # fmt: skip


def _sizes(machine: Machine) -> Iterator[tuple[int, int, int, int, int]]:
    """Batch, length, heads, their size, and whether causal."""
    layers = {(one.num_heads, one.head_dim) for one in heads() if one.head_dim <= LARGEST_HEAD_DIM}
    known, lengths = (HEADS_ON_PROCESSOR, LENGTHS_ON_PROCESSOR) if machine.is_cpu else (sorted(layers), LENGTHS)
    for batch, length, (num_heads, head_dim), causal in product(BATCHES, lengths, known, (1, 0)):
        yield batch, length, num_heads, head_dim, causal


def _first(machine: Machine) -> list[tuple[int, ...]]:
    """On a processor, the attention of the blocks that are verified there, on one rank and on one of two."""
    small = Sizes()
    if not machine.is_cpu:
        return []
    return [(small.micro_batch, small.seq_len, num, small.head_dim, 1) for num in (small.heads, small.heads // 2)]


def _candidate(machine: Machine, gpu: Gpu, sizes: tuple[int, int, int, int, int], *, is_backward: bool) -> Candidate:
    batch, length, num_heads, head_dim, causal = sizes
    flops = 4.0 * batch * num_heads * length**2 * head_dim
    nbytes = 8.0 * batch * num_heads * length * head_dim
    efficiency = gpu.fit["flash_backward_efficiency" if is_backward else "flash_forward_efficiency"]
    work = flops * (BACKWARD if is_backward else 1.0)
    if causal and not (machine.is_cpu and is_backward):  # a processor's backward skips nothing
        work /= 2
    return Candidate(sizes, roofline(gpu, work, nbytes, efficiency=efficiency), nbytes * (2 + is_backward))


def fused(device: torch.device) -> AbstractContextManager[object]:
    """Within it a GPU has no attention that writes all scores to memory: an operation that no other kernel can do
    raises RuntimeError, and its point is left out."""
    return sdpa_kernel(FUSED) if device.type == "cuda" else nullcontext()


def kernel_of(q: Tensor, k: Tensor, v: Tensor, *, is_causal: bool) -> dict[str, float]:
    """Which kernel a GPU runs, as PyTorch numbers them: 1 FlashAttention-2, 2 memory-efficient, 3 cuDNN's."""
    if q.device.type != "cuda":
        return {}
    with fused(q.device):
        return {"kernel": float(torch._fused_sdp_choice(q, k, v, None, 0.0, is_causal))}


def _operands(batch: int, length: int, num_heads: int, head_dim: int, ranks: Ranks) -> list[Tensor]:
    """Queries, keys and values, and a gradient from above, as a product of a layer leaves them: heads within a row."""
    return [
        random(batch, length, num_heads, head_dim, device=ranks.device, seed=seed).transpose(1, 2) for seed in range(4)
    ]


def _forward(batch: int, length: int, num_heads: int, head_dim: int, causal: int, ranks: Ranks) -> Run:
    q, k, v, _ = _operands(batch, length, num_heads, head_dim, ranks)

    def attend() -> Tensor:
        with fused(ranks.device):
            return scaled_dot_product_attention(q, k, v, is_causal=bool(causal))

    def check() -> str:
        rows = some(length, NUM_ROWS)
        expected = _probabilities(q[-1, -1], k[-1, -1], rows, is_causal=bool(causal)) @ v[-1, -1].double()
        return difference(attend()[-1, -1, rows], expected, rows, TOLERANCE)

    return Run(attend, check, found=kernel_of(q, k, v, is_causal=bool(causal)))


def _backward(batch: int, length: int, num_heads: int, head_dim: int, causal: int, ranks: Ranks) -> Run:
    """The gradients alone: forward is done once, before."""
    q, k, v, above = _operands(batch, length, num_heads, head_dim, ranks)
    leaves = [leaf.requires_grad_() for leaf in (q, k, v)]
    kernel = kernel_of(q, k, v, is_causal=bool(causal))
    with fused(ranks.device):  # backward runs the kernel that forward ran
        made = scaled_dot_product_attention(q, k, v, is_causal=bool(causal))

    def differentiate() -> tuple[Tensor, ...]:
        return torch.autograd.grad(made, leaves, above, retain_graph=True)

    def check() -> str:
        gradients = [gradient[-1, -1].detach() for gradient in differentiate()]
        operands = [one[-1, -1].detach() for one in (q, k, v, above)]
        return _wrong_gradients(gradients, operands, is_causal=bool(causal))

    return Run(differentiate, check, found=kernel)


def _wrong_gradients(gradients: list[Tensor], operands: list[Tensor], *, is_causal: bool) -> str:
    """By some rows of dq (not the first: it sees one key alone, and dq is zero); and each row of probabilities sums to
    one, so that all of dv sums to all of what came from above."""
    q, k, v, above = operands
    rows = some(len(q), NUM_ROWS + 1)[1:]
    probabilities = _probabilities(q, k, rows, is_causal=is_causal)
    towards = above[rows].double() @ v.double().t()
    scores = probabilities * (towards - (probabilities * towards).sum(-1, keepdim=True))
    wrong = difference(gradients[0][rows], scores @ k.double() / q.shape[-1] ** 0.5, rows, TOLERANCE)
    return wrong or difference(gradients[2].double().sum(0, True), above.double().sum(0, True), [0], TOLERANCE)


def _probabilities(q: Tensor, k: Tensor, rows: list[int], *, is_causal: bool) -> Tensor:
    """Rows of softmax(q k^T / sqrt(d)) of one head, in double precision."""
    scores = q[rows].double() @ k.double().t() / q.shape[-1] ** 0.5
    if is_causal:
        later = torch.arange(len(k), device=k.device) > torch.tensor(rows, device=k.device)[:, None]
        scores = scores.masked_fill(later, -torch.inf)
    return torch.softmax(scores, -1)


def _decoding(machine: Machine, gpu: Gpu, counts: tuple[int, int, int]) -> Iterator[Point]:
    layers = [Heads(4, 2, 32), Heads(8, 8, 64)] if machine.is_cpu else _served()
    candidates = [_cache(gpu, *one) for one in product(CACHES, CACHE_LENGTHS, layers)]
    for sizes, seconds, budget in spread_out(candidates, machine, gpu, counts):
        batch, length, *layer = sizes
        yield Point(
            operation=f"sdpa decode {PRECISION if machine.is_cpu else 'bf16'}", part=machine.part,
            inputs=dict(zip(("batch", "kv_len", "num_heads", "num_kv_heads", "head_dim"), sizes, strict=True)),
            prepare=partial(_decode, batch, length, Heads(*layer)), seconds=seconds, budget=budget,
        )  # fmt: skip


def _served() -> list[Heads]:
    return [one for one in heads() if one.num_heads % one.num_kv_heads == 0 and one.head_dim <= LARGEST_HEAD_DIM]


def _cache(gpu: Gpu, batch: int, length: int, layer: Heads) -> Candidate:
    nbytes = 4.0 * batch * length * layer.num_kv_heads * layer.head_dim
    flops = 4.0 * batch * length * layer.num_heads * layer.head_dim
    efficiency = gpu.fit["flash_forward_efficiency"] * ONE_QUERY
    return Candidate((batch, length, *layer), roofline(gpu, flops, nbytes, efficiency=efficiency), nbytes)


def _decode(batch: int, length: int, layer: Heads, ranks: Ranks) -> Run:
    """One new token of each sequence over its cache; a few queries share each key where there are fewer of these."""
    q = random(batch, layer.num_heads, 1, layer.head_dim, device=ranks.device)
    k, v = (
        random(batch, layer.num_kv_heads, length, layer.head_dim, device=ranks.device, seed=seed) for seed in (1, 2)
    )

    def attend() -> Tensor:
        return scaled_dot_product_attention(q, k, v, enable_gqa=layer.num_heads != layer.num_kv_heads)

    def check() -> str:
        expected = _probabilities(q[-1, -1], k[-1, -1], [0], is_causal=False) @ v[-1, -1].double()
        return difference(attend()[-1, -1], expected, [0], TOLERANCE)

    return Run(attend, check, regime="cold")
