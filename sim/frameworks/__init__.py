"""What is the software's and not the GPU's: which kernels are fused, what overlaps, in which width gradients are kept.

One framework version is one set of facts for every run, never tuned to a row or a campaign.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from topologies.document import Document, InputError, Value, closest, read, shorten, validate

DEFAULT = "megatron-core"
_NAMES = (
    "megatron-core",
    "megatron-lm",
    "nemo",
    "nemo-24",
    "megatron-bridge",
    "megatron-bridge-26.06",
    "megatron-bridge-26.08",
    "megatron-deepspeed",
    "fsdp1-composer",
    "fsdp2",
    "maxtext",
)
ALIASES: Mapping[str, str] = {
    "deepspeed-megatron": "megatron-deepspeed",
    "deepspeed": "megatron-deepspeed",
    "composer": "fsdp1-composer",
    "llm-foundry": "fsdp1-composer",
    "fsdp1": "fsdp1-composer",
    "fsdp": "fsdp2",
    "torchtitan": "fsdp2",
    "mcore": "megatron-core",
    "jax": "maxtext",
}
"""Other spellings of a framework's name, among them those of tables of measured runs."""

_SINCE: Mapping[str, Mapping[str, str]] = {
    "nemo": {"24": "nemo-24", "25": "nemo"},
    "megatron-bridge": {"26.06": "megatron-bridge-26.06", "26.08": "megatron-bridge-26.08"},
}
"""By framework, from which release on which profile stands for it; releases are numbered year.month."""

_FOLDER = Path(__file__).parent
_SAID = "the scenario"


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """Facts of one training framework; `sources` says where each was read.

    zero: what is sharded over the replicas where a plan does not say it; see `Plan`.

    Kernels:
    attention: 'unfused' writes the s x s scores to memory, 'flash' never does.
    flash_speed: of its flash kernels, beside FlashAttention 2 on GPUs before Hopper; flash_speed_hopper: beside
    FlashAttention 3 and cuDNN from Hopper on; flash_speed_narrow: with heads of 64 over with heads of 128.
    flash_latent_blackwell: on Blackwell, too, they train latent attention, whose queries are wider than its values.
    fused_softmax: scale, mask and softmax are one kernel (unfused attention).
    fused_bias_dropout: bias + activation are one kernel, bias + dropout + residual another; else
    bias_in_product: a product adds its bias on its way out, or a kernel of its own does.
    qkv_gradients_joined: the gradients of queries, keys and values are copied into one tensor for the product's.
    fused_cross_entropy: the loss is one kernel forward and one backward.
    loss_metrics: how often the loss of a microbatch is computed once more, in fp32 and unfused, to be logged.
    recompute_stops_early: what is computed again ends with the last tensor that a gradient needs: a layer's last
    product is not.
    fused_permute: tokens are copied to experts and added up again by kernels of their own; else by index_select and
    scatter_add. fused_experts: in mxfp8 and nvfp4 a kernel multiplies all experts of a rank, activates and casts;
    'unbiased': those without biases. Else each expert has a product of its own.
    fused_optimizer: one kernel updates many parameters; else one pass over memory for each operation of it.
    fp8_scaling: the scale of a tensor in fp8 comes of earlier steps ('delayed'), or of a first look at it ('current').
    dropout: a model that is trained with dropout (`Transformer.dropout`) uses it here.
    vocab_multiple: the vocabulary is padded to a multiple of so many x tp.

    Widths, in bytes:
    weight_nbytes: a weight that is kept (of which a share with ZeRO 3); optimizer_nbytes: all optimizer state of a
    parameter, the fp32 weight included where it is another than that; gradient_nbytes: an accumulated gradient;
    gradient_reduce_nbytes: one on the wire; weight_gather_nbytes: a weight on the wire (1: of products in 8 bits, which
    are gathered as they are multiplied; all others take 2); logits_nbytes: a logit in the cross entropy.
    gradient_copy_nbytes: what copies and casts move of each gradient between its product and its sum over the replicas;
    0: the product itself adds it to the accumulated gradient, which is summed where it is.

    What runs beside what:
    overlap_input_gradient: the collective of the input gradient runs beside the weight-gradient GEMM.
    overlap_tp: collectives of tp are cut in pieces and run beside the product that makes or takes them (user buffers).
    overlap_grad_reduce: gradients are summed bucket by bucket behind the backward pass of the last microbatch.
    overlap_param_gather: with ZeRO 1 and 2 weights are gathered bucket by bucket ahead of the first forward pass.
    bucket_parameters, bucket_parameters_per_replica: a bucket holds the larger of the first, and the second x replicas.
    prefetch: with ZeRO 3, how many layers ahead weights are gathered. reshard_after_forward: they are gathered again
    for the backward pass. collectives_per_layer: in how many pieces they are gathered, and their gradients reduced.
    copies_each_share: of such a collective each rank's share is a tensor of its own, which a kernel of its own copies.
    regather_recompute: what is recomputed has its weights gathered for that, and again for its gradients.
    overlap_pipeline_sends: in the interleaved schedule sends run beside compute; else the sender waits for its send.
    scatter_gather_pipeline: a tp rank sends 1/tp of an activation that all tp ranks hold; the receivers gather it.
    overlap_ep: an expert's all-to-all runs behind the compute of another microbatch.
    token_dispatcher: how tokens reach their experts: all are gathered, all-to-all of NCCL, or DeepEP.

    Outside the kernels, in seconds:
    launch_seconds: the host's time for a kernel; cuda_graphs: layers are replayed, and that time is gone, but for
    expert_launch_seconds: of each product of one expert, where experts take as many tokens as come;
    scaled_launch_seconds: the same in mxfp8 and nvfp4, whose scales are laid out for each product.
    host_seconds: of a step, when no kernel runs (logging, timers); data_seconds: of a microbatch, to load it;
    moe_sync_seconds: of a layer of experts, in which the host learns how many tokens come.
    gpu_spread: standard deviation of the speed of equal GPUs, as a share; step_spread: of a step, from run to run.

    Memory:
    dummy_gradients: of each shape of weight one gradient in 2 bytes stays, which autograd is given while the product
    adds to the accumulated one.
    allocator_reserve: what the caching allocator holds beyond what is allocated, as a share of it.
    context_nbytes: of CUDA and NCCL, outside the allocator.
    """

    name: str
    description: str
    zero: Literal[0, 1, 2, 3]
    attention: Literal["unfused", "flash"]
    flash_speed: float
    flash_speed_hopper: float
    flash_speed_narrow: float
    flash_latent_blackwell: bool
    fused_softmax: bool
    fused_bias_dropout: bool
    bias_in_product: bool
    qkv_gradients_joined: bool
    fused_cross_entropy: bool
    loss_metrics: int
    recompute_stops_early: bool
    fused_permute: bool
    fused_experts: Literal["never", "unbiased", "always"]
    fused_optimizer: bool
    fp8_scaling: Literal["delayed", "current"]
    dropout: bool
    vocab_multiple: int
    weight_nbytes: Literal[2, 4]
    optimizer_nbytes: int
    gradient_nbytes: Literal[2, 4]
    gradient_reduce_nbytes: Literal[2, 4]
    gradient_copy_nbytes: int
    weight_gather_nbytes: Literal[1, 2]
    logits_nbytes: Literal[2, 4]
    overlap_input_gradient: bool
    overlap_tp: bool
    overlap_grad_reduce: bool
    overlap_param_gather: bool
    bucket_parameters: int
    bucket_parameters_per_replica: int
    prefetch: int
    reshard_after_forward: bool
    collectives_per_layer: int
    copies_each_share: bool
    regather_recompute: bool
    overlap_pipeline_sends: bool
    scatter_gather_pipeline: bool
    overlap_ep: bool
    token_dispatcher: Literal["all-gather", "all-to-all", "deepep"]
    launch_seconds: float
    expert_launch_seconds: float
    scaled_launch_seconds: float
    cuda_graphs: bool
    host_seconds: float
    data_seconds: float
    moe_sync_seconds: float
    gpu_spread: float
    step_spread: float
    dummy_gradients: bool
    allocator_reserve: float
    context_nbytes: float
    sources: Mapping[str, str] = field(hash=False)


def names() -> list[str]:
    """The frameworks that are known, the default first."""
    return list(_NAMES)


def of_release(name: str, release: str) -> str:
    """The profile of a framework's release such as 26.04.01; the framework's own where none says more."""
    number = _number(release)
    later = [profile for since, profile in _SINCE.get(name, {}).items() if number and _number(since) <= number]
    return later[-1] if later else name


@functools.cache
def load(name: str) -> Framework:
    """A framework by its name, or by another spelling of it.

    Raises InputError for an unknown one.
    """
    return _framework(_document(_known(name)))


def laid_over(name: str, said: Mapping[str, Value]) -> Framework:
    """A framework with some facts as a scenario says them: `laid_over("nemo", {"overlap_tp": False})`.

    Raises InputError for an unknown framework or field, and for a value that the field cannot have.
    """
    document = _document(_known(name))
    for field_name in said:
        if field_name not in FACTS:
            fix = closest(field_name, FACTS) or f"; known: {', '.join(FACTS)}"
            raise InputError(f"framework: there is no {shorten(field_name)}{fix}")
    facts = {field_name: {"value": value, "source": _SAID} for field_name, value in said.items()}
    try:
        return _framework(Document(name="framework", data={**_mapping(document), **facts}, lines={}))
    except InputError as error:
        raise InputError(str(error).replace(": ", ".", 1).replace(".value:", ":", 1)) from None


def _number(release: str) -> tuple[int, ...]:
    parts = release.split(".")
    return tuple(map(int, parts)) if all(part.isdigit() for part in parts) else ()


def _known(name: str) -> str:
    known = ALIASES.get(name, name)
    if known not in _NAMES:
        fix = closest(name, (*_NAMES, *ALIASES)) or f"; known: {', '.join(_NAMES)}"
        raise InputError(f"framework {shorten(name)} is not known{fix}")
    return known


@functools.cache
def _document(name: str) -> Document:
    """The file of a framework over that of the one which it extends."""
    document = read(_FOLDER / f"{name}.yaml")
    own = _mapping(document)
    extended = own.pop("extends", None)
    below = _mapping(_document(extended)) if isinstance(extended, str) else {}
    return Document(name=document.name, data={**below, **own}, lines=document.lines)


def _mapping(document: Document) -> dict[str, Value]:
    assert isinstance(document.data, dict)
    return dict(document.data)


def _framework(document: Document) -> Framework:
    from sim.frameworks.schema import FrameworkFile

    file = validate(document, FrameworkFile)
    facts = {name: fact for name, fact in file.model_dump().items() if isinstance(fact, dict)}
    values = {name: fact["value"] for name, fact in facts.items()}
    sources = {name: fact["source"] for name, fact in facts.items()}
    return Framework(name=file.name, description=file.description, sources=sources, **values)


FACTS = tuple(one.name for one in fields(Framework) if one.name not in ("name", "description", "sources"))
"""What a file says of a framework, and a scenario may lay over it."""
