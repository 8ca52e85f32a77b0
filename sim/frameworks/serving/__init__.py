"""What is a serving framework's and not the GPU's: its scheduler's defaults, kernels, CUDA graphs, and host's time.

One framework version is one set of facts for every run, never tuned to a row or a campaign.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sim.deployment import Policy
from topologies.document import Document, InputError, closest, read, shorten, validate

AllReduce = Literal["vllm", "vllm before 0.16", "sglang", "sglang before 0.5.12", "trtllm", "trtllm before 1.3"]

DEFAULT = "vllm-0.19"
_NAMES = ("vllm-0.19", "vllm-0.12", "sglang-0.5", "trtllm-1.0")
ALIASES: Mapping[str, str] = {
    "vllm": "vllm-0.19",
    "sglang": "sglang-0.5",
    "trtllm": "trtllm-1.0",
    "tensorrt-llm": "trtllm-1.0",
}
"""Other spellings, among them those of tables of measured servers."""

_SINCE: Mapping[str, Mapping[str, str]] = {
    "vllm": {"0": "vllm-0.12", "0.14": "vllm-0.19"},
    "sglang": {"0": "sglang-0.5"},
    "trtllm": {"0": "trtllm-1.0"},
}
"""By framework, from which version on which profile stands for it."""

_SPAN: Mapping[str, tuple[str, str]] = {"vllm": ("0.8", "0.19"), "sglang": ("0.4", "0.5"), "trtllm": ("0.20", "1.2")}
"""The oldest and the youngest version that a profile was made from: vLLM before 0.8 runs its engine V0."""

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingFramework:
    """Facts of one serving framework; `sources` says where each was read.

    Scheduler, where a deployment does not say it:
    policy; chunked_prefill; whole_prompts: nobody is admitted before blocks are free for the whole prompt;
    asynchronous: the next pass is prepared while one runs; prefix_caching; block_size.
    max_num_seqs and max_num_batched_tokens: of a pass; large_max_num_seqs and large_max_num_batched_tokens: on GPUs
    with at least large_memory_nbytes, but those whose names begin with one of large_except.
    utilization: share of the GPU's memory that the server may fill; utilization_of 'static': that weights and cache
    may fill, activations beside it; 'free': that the cache may fill of what weights and activations leave.

    Kernels:
    all_reduce: whose kernel sums small messages over tp; fused_all_reduce_norm: it adds the residual and norms, too.
    cast: of activations to 8 bits: 'fused' into the kernel that makes them, 'static' a kernel that knows the scale,
    'dynamic' two that look for it first. greedy_nbytes and top_p_nbytes: what sampling moves for each logit, as if it
    were a copy.
    pipeline_tensors: hidden states of a token that one stage sends the next (2: the residual apart).

    CUDA graphs: graph_sizes: (up to so many tokens, in steps of so many), to which a pass is padded; graph_chunks:
    passes with prompts' tokens are replayed as well, in pieces around the attention.

    Host, in seconds: launch_seconds: to start a kernel outside of graphs; host_seconds, and host_sequence_seconds for
    each sequence: of a pass, which the GPUs wait for; with asynchronous scheduling they wait for what is longer than
    their own, and at least overlapped_seconds and overlapped_sequence_seconds. request_seconds: of a request until the
    scheduler sees it, and of its first token on its way back: HTTP, tokens, messages between processes.

    Memory, in bytes of a GPU: context_nbytes: of CUDA and libraries outside of the allocator, as far as they are taken
    off the cache; group_nbytes: of NCCL and the framework's own buffers where tp GPUs share NVLink.
    compile_nbytes: the peak while kernels are tuned, on a first start. logits_nbytes: of a logit when the fullest pass
    is sampled, with the sampler's copies; sampler_rows: its kernel has a row of logits for each SM besides.
    """

    name: str
    description: str
    policy: Policy
    chunked_prefill: bool
    whole_prompts: bool
    asynchronous: bool
    prefix_caching: bool
    block_size: int
    max_num_seqs: int
    max_num_batched_tokens: int
    large_max_num_seqs: int
    large_max_num_batched_tokens: int
    large_memory_nbytes: float
    large_except: tuple[str, ...]
    utilization: float
    utilization_of: Literal["total", "static", "free"]
    all_reduce: AllReduce
    fused_all_reduce_norm: bool
    cast: Literal["fused", "static", "dynamic"]
    greedy_nbytes: float
    top_p_nbytes: float
    pipeline_tensors: int
    graph_sizes: tuple[tuple[int, int], ...]
    graph_chunks: bool
    launch_seconds: float
    host_seconds: float
    host_sequence_seconds: float
    overlapped_seconds: float
    overlapped_sequence_seconds: float
    request_seconds: float
    context_nbytes: float
    group_nbytes: float
    compile_nbytes: float
    logits_nbytes: float
    sampler_rows: bool
    sources: Mapping[str, str] = field(hash=False)


def names() -> list[str]:
    """The serving frameworks that are known, the default first."""
    return list(_NAMES)


@functools.cache
def load(name: str) -> ServingFramework:
    """A serving framework by its name, another spelling, or a version of it: `vllm`, `vllm-0.12`, `vllm 0.12.0`.

    Raises InputError for an unknown one.
    """
    return _framework(_document(_known(name)))


def of_version(name: str, version: str) -> str:
    """The profile of a framework's version such as 0.12.0 or 1.0.0rc3: the last that is not younger, or the first."""
    profiles = _SINCE[name]
    number = _number(version)
    return [profile for since, profile in profiles.items() if _number(since) <= number][-1]


def is_younger(name: str) -> bool:
    """Whether a name is of a version after all that are known."""
    family, version = _parted(name)
    return family in _SPAN and _number(version)[:2] > _number(_SPAN[family][1])


def _parted(name: str) -> tuple[str, str]:
    """A framework and its version, which is empty where there is none."""
    family, _, version = name.strip().lower().replace(" ", "-").rpartition("-")
    return "trtllm" if family == "tensorrt-llm" else family, version if version[:1].isdigit() else ""


def _known(name: str) -> str:
    text = name.strip().lower()
    known = ALIASES.get(text, text)
    if known in _NAMES:
        return known
    family, version = _parted(name)
    if family in _SINCE and version:
        oldest = _SPAN[family][0]
        if _number(version) < _number(oldest):
            raise InputError(f"{shorten(name)} is older than all that is known; write {family}-{oldest} or a later one")
        return of_version(family, version)
    fix = closest(name, (*_NAMES, *ALIASES)) or f"; known: {', '.join(_NAMES)}"
    raise InputError(f"serving framework {shorten(name)} is not known{fix}")


def _number(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: (1, 0) of 1.0, (1, 0, 0) of 1.0.0rc3."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split("[a-z]", version.lower())[0]))


@functools.cache
def _document(name: str) -> Document:
    """The file of a framework over that of the one which it extends."""
    document = read(_FOLDER / f"{name}.yaml")
    assert isinstance(document.data, dict)
    own = dict(document.data)
    extended = own.pop("extends", None)
    below = _document(extended).data if isinstance(extended, str) else {}
    assert isinstance(below, dict)
    return Document(name=document.name, data={**below, **own}, lines=document.lines)


def _framework(document: Document) -> ServingFramework:
    from sim.frameworks.serving.schema import ServingFrameworkFile

    file = validate(document, ServingFrameworkFile)
    facts = {name: fact for name, fact in file.model_dump().items() if isinstance(fact, dict)}
    values = {name: fact["value"] for name, fact in facts.items()}
    values["large_except"] = tuple(values["large_except"])
    values["graph_sizes"] = tuple((most, step) for most, step in values["graph_sizes"])
    sources = {name: fact["source"] for name, fact in facts.items()}
    return ServingFramework(name=file.name, description=file.description, sources=sources, **values)
