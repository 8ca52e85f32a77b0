"""Attention of some queries to some keys with the log-sum-exp of each query's scores, by the kernel PyTorch would run.

With it, what queries get from some keys and what they get from others can be merged [Dao 2023, arXiv 2307.08691], and
with that of all keys each part's gradients are its part of the whole's. All tensors are (batch, heads, tokens,
head_dim), the log-sum-exp (batch, heads, tokens) in fp32.
"""

import math
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend

aten = torch.ops.aten
CUDNN: Final = int(SDPBackend.CUDNN_ATTENTION.value)
PROBED: Final = (1, 1, 128, 64)


def forward(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp."""
    if q.device.type == "cpu":
        output, lse = aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal)
    elif q.dtype == torch.float32:
        return unfused_forward(q, k, v, causal=causal)
    elif _is_for_cudnn(q, k, v, causal=causal):
        output, lse, *_ = aten._scaled_dot_product_cudnn_attention(q, k, v, None, True, 0.0, causal)
        lse = lse.reshape(q.shape[:-1])
    else:
        output, lse, *_ = aten._scaled_dot_product_flash_attention(q, k, v, 0.0, causal)
    return output, lse


def backward(
    gradient: Tensor, q: Tensor, output: Tensor, lse: Tensor, k: Tensor, v: Tensor, *, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """These keys' part of the gradients of q, k and v; output and log-sum-exp are those of all keys."""
    if q.device.type == "cpu":
        tensors = gradient, q, k, v, output, lse
        of_q, of_k, of_v = aten._scaled_dot_product_flash_attention_for_cpu_backward(*tensors, 0.0, causal)
    elif q.dtype == torch.float32:
        return unfused_backward(gradient, q, output, lse, k, v, causal=causal)
    else:
        of_q, of_k, of_v = _fused_backward(gradient, q, output, lse.contiguous(), k, v, causal=causal)
    return of_q, of_k, of_v


def _fused_backward(
    gradient: Tensor, q: Tensor, output: Tensor, lse: Tensor, k: Tensor, v: Tensor, *, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Without dropout nothing is drawn, so that seed and offset are not looked at."""
    shape = None, None, q.shape[2], k.shape[2], 0.0, causal
    if _is_for_cudnn(q, k, v, causal=causal):
        sums = lse.reshape(*q.shape[:-1], *[1] * (_cudnn_dims(q.device) - lse.dim()))
        unused = torch.zeros((), dtype=torch.int64, device=q.device)
        found = aten._scaled_dot_product_cudnn_attention_backward(
            gradient, q, k, v, output, sums, unused, unused, None, *shape
        )
    else:
        seed, offset = (torch.zeros(n, dtype=torch.uint64, device=q.device) for n in (2, 1))
        found = aten._scaled_dot_product_flash_attention_backward(gradient, q, k, v, output, lse, *shape, seed, offset)
    of_q, of_k, of_v = found
    return of_q, of_k, of_v


def _is_for_cudnn(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> bool:
    """Whether PyTorch would run cuDNN's kernel for these, as it does by itself on Hopper and Blackwell from 2.9 on
    [sdp_utils.cpp, check_prefer_cudnn_attention]; else FlashAttention-2."""
    return torch._fused_sdp_choice(q, k, v, None, 0.0, causal) == CUDNN


@lru_cache
def _cudnn_dims(device: torch.device) -> int:
    """Dimensions of the log-sum-exp as cuDNN's kernel gives and wants it: versions of PyTorch differ by a last one."""
    some = torch.zeros(PROBED, dtype=torch.bfloat16, device=device)
    lse: Tensor = aten._scaled_dot_product_cudnn_attention(some, some, some, None, True)[1]
    return lse.dim()


def unfused_forward(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> tuple[Tensor, Tensor]:
    """The same with all scores in memory: on a GPU no flash kernel takes fp32."""
    scores = _scores(q, k, causal=causal)
    lse = scores.logsumexp(-1)
    return (scores - lse[..., None]).exp() @ v, lse


def unfused_backward(
    gradient: Tensor, q: Tensor, output: Tensor, lse: Tensor, k: Tensor, v: Tensor, *, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """dS = P (dO V^T - sum(dO O)) [Dao et al. 2022, arXiv 2205.14135, appendix B.2]."""
    probabilities = (_scores(q, k, causal=causal) - lse[..., None]).exp()
    own = (gradient * output).sum(-1, keepdim=True)
    of_scores = probabilities * (gradient @ v.mT - own) / math.sqrt(q.shape[-1])
    return of_scores @ k, of_scores.mT @ q, probabilities.mT @ gradient


def _scores(q: Tensor, k: Tensor, *, causal: bool) -> Tensor:
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if not causal:
        return scores
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(hidden, -math.inf)
