"""A layer under tensor parallelism as the Communication lab shows it: in the node, and with one GPU to a node."""

from dataclasses import dataclass

from sim import frameworks, models
from sim.communication.placement import one_to_a_node
from sim.communication.tensor_parallel import Degrees, LayerTime, by_degree
from sim.costs.gemm import peak_flops
from sim.workload import Precision, TrainingStep
from topologies.document import InputError, shorten
from topologies.hardware import Cluster
from topologies.quantity import nbytes, percent, rate, seconds
from web.answers.collectives import cluster_of

FRAMEWORK = "megatron-core"
MOST_TOKENS = 1_000_000
"""Of a microbatch."""
PRECISIONS: tuple[Precision, ...] = ("bf16", "fp16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One degree: seconds of the layer by parts, their sum, the share that waits, how that comes about, and the seconds
    of all its collectives, each alone."""

    tp: int
    parts: tuple[tuple[str, float], ...]
    total: float
    share: float
    communication: float
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """The layer at each degree, neighbours first filling a node (`packed`), or one GPU to a node (`across`, empty where
    the cluster has no network: then `no_network` says so)."""

    packed: tuple[Layer, ...]
    across: tuple[Layer, ...]
    left_out: str
    no_network: str
    sentence: str
    gpus_per_node: int


def layers(model: str, cluster: str, version: str, seq_len: int, micro_batch: int) -> Layers:
    """Forward and backward of the model's last layer, of one microbatch, at all degrees that are possible.

    Raises InputError where none is.
    """
    if model not in models.names():
        raise InputError(f"unknown model {shorten(model)}; choose one of the list")
    if not 1 <= seq_len * micro_batch <= MOST_TOKENS:
        raise InputError(f"a microbatch of {seq_len * micro_batch:,} tokens; use 1 to {MOST_TOKENS:,}")
    found = cluster_of(cluster, version)
    packed = _degrees(model, found, seq_len, micro_batch)
    if not packed.times:
        raise InputError(packed.left_out[0][1])
    across, no_network = _across(model, found, seq_len, micro_batch)
    return Layers(
        packed=tuple(_layer(one) for one in packed.times),
        across=tuple(_layer(one) for one in across),
        left_out=_left_out(packed),
        no_network=no_network,
        sentence=_sentence(found, packed.times, across),
        gpus_per_node=found.node.num_gpus,
    )


def _degrees(model: str, cluster: Cluster, seq_len: int, micro_batch: int) -> Degrees:
    precision = next((one for one in PRECISIONS if peak_flops(cluster.gpu, one)), PRECISIONS[0])
    step = TrainingStep(seq_len=seq_len, precision=precision)
    return by_degree(models.load(model), cluster, step, frameworks.load(FRAMEWORK), micro_batch)


def _across(model: str, cluster: Cluster, seq_len: int, micro_batch: int) -> tuple[tuple[LayerTime, ...], str]:
    try:
        return _degrees(model, one_to_a_node(cluster), seq_len, micro_batch).times, ""
    except InputError as error:
        return (), str(error)


def _left_out(found: Degrees) -> str:
    """Which degrees are not shown, and why the first of them."""
    if not found.left_out:
        return ""
    return f"Not possible: tp = {', '.join(str(tp) for tp, _ in found.left_out)}. {found.left_out[0][1]}."


def _layer(one: LayerTime) -> Layer:
    return Layer(
        tp=one.tp,
        parts=tuple(one.parts.items()),
        total=one.seconds,
        share=one.share,
        communication=one.communication,
        how=_how(one),
    )


def _how(one: LayerTime) -> str:
    if not one.num_collectives:
        return "One rank holds the whole layer: no collectives."
    mean = nbytes(one.nbytes / one.num_collectives)
    return (
        f"{one.num_collectives} collectives of {mean} in the mean take {seconds(one.communication)}, each alone; for "
        f"{seconds(one.exposed)} of that nothing runs beside them: {percent(one.share)} of {seconds(one.seconds)}."
    )


def _sentence(cluster: Cluster, packed: tuple[LayerTime, ...], across: tuple[LayerTime, ...]) -> str:
    """What one sees, at the largest degree that both have and a node holds."""
    inside = {one.tp: one for one in packed if 1 < one.tp <= cluster.node.num_gpus}
    both = [(inside[one.tp], one) for one in across if one.tp in inside]
    if not both or cluster.node.nic is None:
        return ""
    near, far = both[-1]
    node = cluster.node
    assert node.nic is not None
    per_gpu = node.nic.achievable_bandwidth * node.num_nics / node.num_gpus
    return (
        f"With tp = {near.tp} inside a node the layer takes {seconds(near.seconds)}, {percent(near.share, 0)} of it "
        f"waiting; the same ranks one to a node take {seconds(far.seconds)}, {percent(far.share, 0)} of it waiting: "
        f"{node.scale_up.name} carries {rate(node.scale_up.achievable_bandwidth)} for each GPU, the network "
        f"{rate(per_gpu)}."
    )


def layers_csv(shown: Layers) -> bytes:
    """A row for each degree and placement, times in seconds."""
    placed = [("side by side", one) for one in shown.packed] + [("one to a node", one) for one in shown.across]
    lines = [f"{where},{one.tp},{one.total:.9g},{one.share:.6g},{one.communication:.9g}" for where, one in placed]
    return "\n".join(["placement,tp,layer_s,exposed_share,collectives_alone_s", *lines, ""]).encode()
