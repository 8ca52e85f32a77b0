"""What a layer needs to know to say which kernels it runs, and the pieces that its passes are made of.

A pass is what one rank does for one microbatch: a block for the compute stream and, where communication runs beside
it, one for each of the streams "tp", "cp" and "ep". Flags tie them together; each is recorded once and waited for once.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from sim.costs import ELEMENT, sharing
from sim.costs.gemm import FORMATS
from sim.costs.law import basis_of
from sim.costs.memory_bound import LAW, MEASURED, NBYTES, Kernel, kernel
from sim.frameworks import Framework
from sim.instructions import Block, Category, Collective, CollectiveOperation, Compute, Instruction
from sim.models.flops import DEFAULT_MODULES
from sim.models.transformer import LayerKind, Transformer
from sim.plan import ContextKind, Recompute, RecomputeModule
from sim.workload import ExpertLoad, Precision
from topologies.hardware import Gpu

Pass = Mapping[str, Block]
"""What each stream of a rank ("compute", "tp", "cp", "ep") runs; a stream that has nothing to do is left out."""

Half = Literal["both", "input", "weight"]
"""Of a backward pass: all of it; what the stage before waits for; the weight gradients, for which nobody waits."""

PLAIN: Final = LayerKind()
"""A dense layer whose attention sees all that came before."""

BALANCED: Final = ExpertLoad()

COMPUTE: Final = "compute"
TP: Final = "tp"
CP: Final = "cp"
EP: Final = "ep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One microbatch of one layer on one rank; `tp` divides heads, kv heads and the MLP's width, as plans do.

    The `cp` ranks of a sequence have seq_len / cp tokens of it each. Of the experts, dealt to `ep` ranks, each is cut
    over `etp`; `kind` is what makes the layer other than its neighbours; embedding and head
    do not look at it. `half` says which part of the backward pass is meant; `recompute_modules` what `recompute` means
    where it is selective.
    """

    model: Transformer
    gpu: Gpu
    framework: Framework
    tp: int
    sp: bool
    recompute: Recompute
    micro_batch: int
    seq_len: int
    precision: Precision
    kind: LayerKind = PLAIN
    cp: int = 1
    cp_kind: ContextKind = "ring"
    ep: int = 1
    etp: int = 1
    half: Half = "both"
    experts: ExpertLoad = BALANCED
    recompute_modules: tuple[RecomputeModule, ...] = DEFAULT_MODULES

    def recomputes(self, module: RecomputeModule) -> bool:
        """Whether selective recomputation computes this module again."""
        return self.recompute == "selective" and module in self.recompute_modules

    @property
    def num_tokens(self) -> int:
        """Tokens of a microbatch that the rank's tp group works on."""
        return self.micro_batch * self.seq_len // self.cp

    @property
    def local_tokens(self) -> int:
        """Tokens that replicated parts work on: with sequence parallelism 1/tp of them."""
        return self.num_tokens // (self.tp if self.sp else 1)

    @property
    def hidden_elements(self) -> int:
        """Elements of the hidden state of the tp group's tokens, b s h / cp."""
        return self.num_tokens * self.model.hidden

    @property
    def hidden_nbytes(self) -> float:
        """Bytes of the same."""
        return ELEMENT * self.hidden_elements

    @property
    def local_hidden_elements(self) -> float:
        """Elements that norms, dropout and residual work on: with sequence parallelism 1/tp of the tokens."""
        return self.hidden_elements / (self.tp if self.sp else 1)

    @property
    def dropout(self) -> bool:
        return self.model.dropout and self.framework.dropout


def sixteen_bits(context: Context) -> Context:
    """The same for what stays in 16 bits where the large products run in fewer: core, router, head."""
    return replace(context, precision="bf16") if FORMATS[context.precision].quantises else context


def vocab_share(context: Context) -> int:
    """Words of a tp rank: the vocabulary is padded to a multiple of vocab_multiple x tp [Megatron-LM, tokenizer.py,
    _vocab_size_with_padding]."""
    multiple = context.framework.vocab_multiple
    return math.ceil(context.model.vocab / (multiple * context.tp)) * multiple


def compute_pass(instructions: Iterable[Instruction]) -> Pass:
    """A pass that needs the compute stream only."""
    return {COMPUTE: tuple(instructions)}


def join(*passes: Pass) -> Pass:
    """One pass after the other, stream by stream."""
    streams: dict[str, list[Instruction]] = {}
    for one in passes:
        for stream, block in one.items():
            streams.setdefault(stream, []).extend(block)
    return {stream: tuple(entries) for stream, entries in streams.items()}


def run(context: Context, name: str, what: Kernel, num_elements: float) -> Compute:
    """A memory-bound kernel as an instruction."""
    seconds = kernel(context.gpu, what, num_elements)
    nbytes = NBYTES[what] * num_elements
    basis = basis_of(context.gpu, LAW, seconds, is_measured=what in MEASURED, nbytes=nbytes)
    return Compute(name=name, duration=seconds, load=sharing.streaming(context.gpu), basis=basis)


def streaming(gpu: Gpu, name: str, seconds: float, category: Category = "compute") -> Compute:
    """A kernel that the HBM bounds and no table has, as an instruction."""
    basis = basis_of(gpu, LAW, seconds, is_measured=False)
    return Compute(name=name, duration=seconds, category=category, load=sharing.streaming(gpu), basis=basis)


def collective_of(context: Context, name: str, operation: CollectiveOperation, nbytes: float) -> Block:
    """A collective of the tp group on `nbytes`; nothing where the group is one GPU."""
    if context.tp == 1:
        return ()
    return (Collective(name=name, axis="tp", group="tp", operation=operation, nbytes=nbytes),)


def scattered_sum(context: Context, name: str, nbytes: float) -> Block:
    """The ranks' parts are summed: each keeps its tokens of the sum with sequence parallelism, else all of it."""
    return collective_of(context, name, "reduce_scatter" if context.sp else "all_reduce", nbytes)


def gathered(context: Context, name: str, nbytes: float) -> Block:
    """The ranks' tokens are put together where sequence parallelism has cut them; else each rank has them all."""
    return collective_of(context, name, "all_gather", nbytes) if context.sp else ()


def norm_forward(context: Context, name: str) -> Block:
    """The norm before a block."""
    return (run(context, f"{name} forward", "norm forward", context.local_hidden_elements),)


def norm_backward(context: Context, name: str) -> Block:
    """The norm's gradients, and their sum with the gradient that came along the residual."""
    elements = context.local_hidden_elements
    return (
        run(context, f"{name} backward", "norm backward", elements),
        run(context, f"{name} residual gradient", "add", elements),
    )


def residual_forward(context: Context, name: str) -> Block:
    """Bias, dropout and residual after a block: one kernel, or one each."""
    elements = context.local_hidden_elements
    if context.framework.fused_bias_dropout:
        what: Kernel = "bias dropout add" if context.dropout else "add"
        return (run(context, f"{name} residual", what, elements),)
    alone = context.model.bias and not context.framework.bias_in_product
    bias = (run(context, f"{name} bias", "add bias", elements),) if alone else ()
    drop = (run(context, f"{name} dropout forward", "dropout forward", elements),) if context.dropout else ()
    return (*bias, *drop, run(context, f"{name} residual", "add", elements))


def residual_backward(context: Context, name: str) -> Block:
    """Gradients of dropout and bias; along the residual the gradient goes on as it is."""
    elements = context.local_hidden_elements
    drop = (run(context, f"{name} dropout backward", "dropout backward", elements),) if context.dropout else ()
    bias = (run(context, f"{name} bias gradient", "bias gradient", elements),) if context.model.bias else ()
    return drop + bias


def saved_norm_and_residual(context: Context, input_nbytes: float = ELEMENT) -> float:
    """Bytes around a block that wait for backward: the norm's input, the block's (`input_nbytes` a number), a dropout
    mask."""
    return context.local_hidden_elements * (ELEMENT + input_nbytes + (1 if context.dropout else 0))


def norm_parameters(context: Context) -> int:
    """Scale, and for LayerNorm offset; every tp rank has them all."""
    return context.model.hidden * (2 if context.model.norm == "layernorm" else 1)
