"""What is the software's and not the GPU's: which kernels are fused, what overlaps, in which width gradients are kept.

One framework version is one set of facts for every run, never tuned to a row or a campaign.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from topologies.document import InputError, closest, read, shorten, validate

DEFAULT = "megatron-core"
_NAMES = ("megatron-core", "megatron-lm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """Facts of one training framework; `sources` says where each was read.

    attention: 'unfused' writes the s x s scores to memory, 'flash' never does.
    fused_softmax: scale, mask and softmax are one kernel (unfused attention).
    fused_bias_dropout: bias + activation are one kernel, bias + dropout + residual another.
    dropout: a model that is trained with dropout (`Transformer.dropout`) uses it here.
    overlap_input_gradient: the collective of the input gradient runs beside the weight-gradient GEMM.
    overlap_pipeline_sends: in the interleaved schedule sends run beside compute; else the sender waits for its send.
    scatter_gather_pipeline: a tp rank sends 1/tp of an activation that all tp ranks hold; the receivers gather it.
    gradient_nbytes: bytes of an accumulated gradient; gradient_reduce_nbytes: of one on the wire.
    logits_nbytes: bytes of a logit in the cross entropy.
    """

    name: str
    description: str
    attention: Literal["unfused", "flash"]
    fused_softmax: bool
    fused_bias_dropout: bool
    dropout: bool
    overlap_input_gradient: bool
    overlap_pipeline_sends: bool
    scatter_gather_pipeline: bool
    gradient_nbytes: Literal[2, 4]
    gradient_reduce_nbytes: Literal[2, 4]
    logits_nbytes: Literal[2, 4]
    sources: Mapping[str, str] = field(hash=False)


def names() -> list[str]:
    """The frameworks that are known, the default first."""
    return list(_NAMES)


@functools.cache
def load(name: str) -> Framework:
    """A framework by name.

    Raises InputError for an unknown one.
    """
    if name not in _NAMES:
        known = closest(name, _NAMES) or f"; known: {', '.join(_NAMES)}"
        raise InputError(f"framework {shorten(name)} is not supported yet{known}")
    return _read(name)


def _read(name: str) -> Framework:
    from sim.frameworks.schema import FrameworkFile

    file = validate(read(Path(__file__).parent / f"{name}.yaml"), FrameworkFile)
    return Framework(
        name=file.name,
        description=file.description,
        attention=file.attention.value,
        fused_softmax=file.fused_softmax.value,
        fused_bias_dropout=file.fused_bias_dropout.value,
        dropout=file.dropout.value,
        overlap_input_gradient=file.overlap_input_gradient.value,
        overlap_pipeline_sends=file.overlap_pipeline_sends.value,
        scatter_gather_pipeline=file.scatter_gather_pipeline.value,
        gradient_nbytes=file.gradient_nbytes.value,
        gradient_reduce_nbytes=file.gradient_reduce_nbytes.value,
        logits_nbytes=file.logits_nbytes.value,
        sources={field: fact["source"] for field, fact in file.model_dump().items() if isinstance(fact, dict)},
    )
