"""A mixture of experts dealt to ranks [GShard, Lepikhin et al. 2020, arXiv 2006.16668; Mixtral, arXiv 2401.04088].

A router sends each token to its best `top_k` experts. Ranks tell each other how many rows they send; an all-to-all
carries each row to its expert's rank, another what the expert makes of it back, where the rows of a token are added.
Backward, gradients take the same ways. Order and bytes are Megatron-Core's (MoEAlltoAllTokenDispatcher).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx
from torch.nn import functional

from calibrate.sharded import kernels, linear
from calibrate.sharded.block import Shard, Tensors
from calibrate.sharded.collectives import COMPUTE, all_gather, all_to_all, conjugate
from calibrate.sharded.weights import OUTPUT, Whole, block_of, first_cut, indivisible, product_scale
from calibrate.verification.sizes import Sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Which rows go where: a row is a token on its way to one of its experts.

    `order` puts this rank's choices (token by token) in the order of experts, `sent` and `received` count rows by rank;
    `by_expert` sorts what arrives by expert, of which each gets `counts`.
    """

    order: Tensor
    sent: Sequence[int]
    received: Sequence[int]
    by_expert: Tensor
    counts: Sequence[int]


def layer(x: Tensor, weights: Tensors, shard: Shard, sizes: Sizes) -> Tensor:
    """(tokens, hidden) to the same; weights: "router" whole, "experts up" and "experts down" of this rank's experts."""
    x, routed = kernels.fork(x, shard, "expert gradient sum")
    chosen, probabilities = route(routed, weights["router"], shard, sizes.top_k)
    routing = planned(chosen, sizes.num_experts, shard)
    tokens = routing.order // sizes.top_k
    rows = kernels.noted(shard, "permute", "permute gradient", lambda x: x.index_select(0, tokens), x)
    rows = _there(rows, routing, shard, "token dispatch", "token gradient combine")
    shares = probabilities.flatten()[routing.order]
    shares = _there(shares, routing, shard, "probability dispatch", "probability gradient combine")
    made = experts(rows, shares, weights, routing, shard)
    made = _back(made, routing, shard, "token combine", "token gradient dispatch")
    return kernels.noted(
        shard, "unpermute", "unpermute gradient", lambda made: made.new_zeros(x.shape).index_add(0, tokens, made), made
    )


def route(x: Tensor, router: Tensor, shard: Shard, top_k: int) -> tuple[Tensor, Tensor]:
    """Each token's experts, and the shares of each in its output, fp32: (tokens, top_k) both."""
    scores = linear.product(x, router, shard, "router")
    with shard.recorder.span(COMPUTE, "router top-k"):
        chosen = scores.detach().topk(top_k).indices
    shares = kernels.noted(
        shard,
        "router softmax forward",
        "router softmax backward",
        lambda scores: scores.gather(1, chosen).float().softmax(-1),
        scores,
    )
    return chosen, shares


def planned(chosen: Tensor, num_experts: int, shard: Shard) -> Routing:
    """All ranks learn of each other how many rows go to each expert, the host too."""
    counts = all_gather(torch.bincount(chosen.flatten(), minlength=num_experts), shard, "row counts")
    with shard.recorder.span(COMPUTE, "row counts to host"):
        table = counts.view(shard.num_ranks, shard.num_ranks, -1).cpu()  # from rank, to rank, its expert
    arriving = table[:, shard.rank]
    of_row = torch.arange(arriving.shape[1]).repeat(shard.num_ranks).repeat_interleave(arriving.flatten())
    return Routing(
        order=chosen.flatten().argsort(stable=True),
        sent=table[shard.rank].sum(-1).tolist(),
        received=arriving.sum(-1).tolist(),
        by_expert=of_row.argsort(stable=True).to(chosen.device),
        counts=arriving.sum(0).tolist(),
    )


def experts(rows: Tensor, shares: Tensor, weights: Tensors, routing: Routing, shard: Shard) -> Tensor:
    """This rank's experts on the rows that came, each a SwiGLU whose activation is multiplied by the row's share."""
    order, inverse = routing.by_expert, routing.by_expert.argsort()
    rows = kernels.noted(shard, "token sort", "token gradient unsort", lambda rows: rows.index_select(0, order), rows)
    up = _grouped(rows, weights["experts up"], routing.counts, shard, "experts up")
    activated = kernels.noted(shard, "activation forward", "activation backward", _weighted, up, shares[order])
    made = _grouped(activated, weights["experts down"], routing.counts, shard, "experts down")
    return kernels.noted(shard, "token unsort", "token gradient sort", lambda made: made.index_select(0, inverse), made)


def _there(x: Tensor, routing: Routing, shard: Shard, name: str, backward: str) -> Tensor:
    """Rows to the ranks of their experts; back, their gradients home."""
    return conjugate(
        x,
        lambda x: all_to_all(x, shard, name, routing.sent, routing.received),
        lambda gradient: all_to_all(gradient, shard, backward, routing.received, routing.sent),
    )


def _back(x: Tensor, routing: Routing, shard: Shard, name: str, backward: str) -> Tensor:
    """What experts made, to the ranks of the tokens; back, its gradients to the experts."""
    return conjugate(
        x,
        lambda x: all_to_all(x, shard, name, routing.received, routing.sent),
        lambda gradient: all_to_all(gradient, shard, backward, routing.sent, routing.received),
    )


def _weighted(gate_and_up: Tensor, shares: Tensor) -> Tensor:
    return (kernels.swiglu(gate_and_up) * shares[:, None]).to(gate_and_up.dtype)


def _grouped(rows: Tensor, weight: Tensor, counts: Sequence[int], shard: Shard, name: str) -> Tensor:
    """A product for each expert, of its rows: (rows, width_in) by (experts, width_out, width_in)."""
    made: Tensor = _Grouped.apply(rows, weight, counts, shard, name)  # type: ignore[no-untyped-call]
    return made


class _Grouped(Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, rows: Tensor, weight: Tensor, counts: Sequence[int], shard: Shard, name: str
    ) -> Tensor:
        ctx.save_for_backward(rows, weight)
        ctx.call = list(counts), shard, name  # type: ignore[attr-defined]
        with shard.recorder.span(COMPUTE, f"{name} forward"):
            return torch.cat([x @ w.T for x, w in zip(torch.split(rows, list(counts)), weight, strict=True)])

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        (rows, weight), (counts, shard, name) = ctx.saved_tensors, ctx.call  # type: ignore[attr-defined]
        parts = torch.split(gradient, counts)
        with shard.recorder.span(COMPUTE, f"{name} input gradient"):
            of_rows = torch.cat([part @ w for part, w in zip(parts, weight, strict=True)])
        with shard.recorder.span(COMPUTE, f"{name} weight gradient"):
            of_weight = torch.stack([part.T @ x for part, x in zip(parts, torch.split(rows, counts), strict=True)])
        return of_rows, of_weight, None, None, None


def _tensors(sizes: Sizes, num_ranks: int) -> dict[str, Whole]:
    """Each rank's router is another, so that its gradient is of its own tokens, as it is until the step's end."""
    tokens = Whole((num_ranks * sizes.micro_batch * sizes.seq_len, sizes.hidden), first_cut)
    hidden, ffn, num_experts = sizes.hidden, sizes.ffn, sizes.num_experts
    return {
        "input": tokens,
        "router": Whole((num_ranks * num_experts, hidden), first_cut, product_scale(hidden)),
        "experts up": Whole((num_experts, 2 * ffn, hidden), first_cut, product_scale(hidden)),
        "experts down": Whole((num_experts, hidden, ffn), first_cut, product_scale(ffn)),
        OUTPUT: tokens,
    }


def _plain(whole: Tensors, sizes: Sizes) -> Tensor:
    """Every expert on every token, most of them for nothing."""
    routers = torch.split(whole["router"], sizes.num_experts)
    outputs = []
    for x, router in zip(whole["input"].chunk(len(routers)), routers, strict=True):
        best = functional.linear(x, router).topk(sizes.top_k)
        shares = torch.zeros(len(x), sizes.num_experts, device=x.device)
        shares = shares.scatter(1, best.indices, best.values.float().softmax(-1)).to(x.dtype)
        experts = zip(whole["experts up"], whole["experts down"], shares.unbind(1), strict=True)
        made = [functional.linear(kernels.swiglu(x @ up.T), down) * share[:, None] for up, down, share in experts]
        outputs.append(torch.stack(made).sum(0))
    return torch.cat(outputs)


def _fits(sizes: Sizes, num_ranks: int) -> str:
    return indivisible(num_ranks, num_experts=sizes.num_experts)


BLOCKS = (
    block_of(
        "expert parallelism",
        "tokens travel to the ranks of their experts, and back",
        tensors=_tensors,
        sharded=lambda own, shard, sizes: layer(own["input"], own, shard, sizes),
        plain=_plain,
        fits=_fits,
    ),
)
