"""What a row says of its software: the framework's profile, with the facts of this run laid over it."""

from collections.abc import Iterator, Mapping

from sim import frameworks
from sim.measured_runs.table import Row, cell, flag
from topologies.document import InputError, Value

_FLAGS = (
    "overlap_grad_reduce",
    "overlap_param_gather",
    "overlap_tp",
    "overlap_ep",
    "cuda_graphs",
    "fused_cross_entropy",
)
_NBYTES = {"bf16": 2, "fp16": 2, "fp32": 4}
_DISPATCHERS = {
    "all-gather": "all-gather",
    "all-to-all": "all-to-all",
    "alltoall": "all-to-all",
    "deepep": "deepep",
    "hybridep": "deepep",
}
"""HybridEP, DeepEP for several GPUs on one NVLink network, is played as DeepEP."""


def profile(row: Row) -> str:
    """The framework that stands for the row's software: of its name and release, else the default one."""
    name = cell(row, "framework")
    known = frameworks.ALIASES.get(name, name)
    if known not in frameworks.names():
        return frameworks.DEFAULT
    return frameworks.of_release(known, cell(row, "framework_version"))


def framework(row: Row) -> Value:
    """The software of a scenario: a name, or a name with what the row says otherwise than its profile."""
    software = frameworks.load(profile(row))
    said = {fact: value for fact, value in _said(row, software) if getattr(software, fact) != value}
    return {"name": software.name, **said} if said else software.name


def _said(row: Row, software: frameworks.Framework) -> Iterator[tuple[str, Value]]:
    for column in _FLAGS:
        told = flag(row, column)
        if told is not None:
            yield column, told
    if flag(row, "fused_cross_entropy") and not software.fused_cross_entropy:
        # Transformer Engine's kernel, on logits in 16 bits: so the peaks of SimuMax's runs (cross_entropy_fusion) say.
        yield "logits_nbytes", 2
    if cell(row, "attention_kernel"):
        yield "attention", cell(row, "attention_kernel")
    yield from _gradient(row, software)
    if software.name == "fsdp1-composer" and cell(row, "grad_dtype"):
        # Only runs in Composer's PURE say it: scripts/train/benchmarking/submit_benchmarks.py had it as its default
        # along with the image of PyTorch 1.13, whose recomputation did not stop early.
        yield "recompute_stops_early", False
    if cell(row, "token_dispatcher"):
        yield "token_dispatcher", _word(row, "token_dispatcher", _DISPATCHERS)


def _gradient(row: Row, software: frameworks.Framework) -> Iterator[tuple[str, Value]]:
    """Gradients are summed up in the type in which they are reduced, but for those of weights that are kept in fp32."""
    if cell(row, "grad_dtype"):
        nbytes = _word(row, "grad_dtype", _NBYTES)
        yield "gradient_reduce_nbytes", nbytes
        if software.weight_nbytes == 2:
            yield "gradient_nbytes", nbytes


def _word(row: Row, column: str, known: Mapping[str, Value]) -> Value:
    word = cell(row, column)
    if word not in known:
        raise InputError(f"{column} {word!r} is not known; use {', '.join(known)}")
    return known[word]
