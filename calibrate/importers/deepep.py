"""DeepEP's own benchmarks as tables: dispatch and combine of the low-latency kernels, and of the normal ones.

A node has 8 GPUs; inside one node its NVLink was measured, over several the NIC. Of the normal kernels the times of
notification and transport are added up: what a rank waits for others is told in the one or in the other.
"""

from collections.abc import Iterator

import numpy as np

import topologies
from calibrate.importers.table import Table
from calibrate.samples import Samples
from sim.costs.collectives.deepep import NETWORK_LAWS, NODE_LAWS, PHASES, USUAL_SMS
from sim.costs.collectives.deepep_kernels import Mode, Phase
from sim.costs.law import Array
from topologies.catalogue import named
from topologies.quantity import MICROSECOND

COLUMNS = frozenset({"gpu", "node_num", "hidden_size", "num_token", "num_topk", "num_experts"})
LEFT_OUT = "a row needs the times of low-latency or of normal kernels, of dispatch or combine"

GPUS_PER_NODE = 8
_FABRIC = "ib-ndr400x8"
"""A NIC of 400 Gb/s for each GPU, as in DeepEP's own tests."""
_MOST_NODES = 4096
_TIMES = {
    ("low-latency", "dispatch"): ("dispatch_avg_t_us",),
    ("low-latency", "combine"): ("combine_avg_t_us",),
    ("normal", "dispatch"): ("dispatch_transmit_us", "dispatch_notify_us"),
    ("normal", "combine"): ("combine_transmit_us", "combine_notify_us"),
}


def read(table: Table, gpu: str | None) -> list[Samples]:
    """One Samples for each phase, GPU, and one node or several."""
    mode: Mode = "normal" if "dispatch_transmit_us" in table else "low-latency"
    return [samples for phase in PHASES for samples in _of_phase(table, gpu, mode, phase)]


def _of_phase(table: Table, gpu: str | None, mode: Mode, phase: Phase) -> Iterator[Samples]:
    columns = _TIMES[mode, phase]
    if any(column not in table for column in columns):
        return
    seconds = sum((table.numbers(column, low=0.0) for column in columns), np.zeros(len(table))) * MICROSECOND
    nodes = table.numbers("node_num", low=1, high=_MOST_NODES)
    names = table.texts("gpu")
    for name in dict.fromkeys(map(str, names)):
        for several in (False, True):
            chosen = np.flatnonzero((names == name) & ((nodes > 1) == several) & (seconds > 0))
            if len(chosen):
                yield _samples(table.where(chosen), gpu or name, mode, phase, seconds[chosen])


def _samples(table: Table, gpu: str, mode: Mode, phase: Phase, seconds: Array) -> Samples:
    points = _points(table, mode, phase)
    several = bool(points["num_nodes"][0] > 1)
    name = named("gpus", gpu)
    node = topologies.build(gpu=name, gpus_per_node=GPUS_PER_NODE, fabric=_FABRIC, nodes=1).node
    link = node.nic if several else node.scale_up
    assert link is not None
    return Samples(
        operation=(NETWORK_LAWS if several else NODE_LAWS)[mode, phase].operation,
        part=link.name,
        gpu=name,
        fabric=_FABRIC,
        points=points,
        seconds=seconds,
        rows=table.rows,
        source=f"DeepEP {mode} {phase} ({table.name})",
    )


def _points(table: Table, mode: Mode, phase: Phase) -> dict[str, Array]:
    nodes = table.numbers("node_num", low=1, high=_MOST_NODES)
    per_node = np.full(len(table), float(GPUS_PER_NODE))
    sms = table.numbers(f"{phase}_sms", low=1) if mode == "normal" else np.full(len(table), float(USUAL_SMS))
    return {
        "num_tokens": table.numbers("num_token", low=1),
        "hidden": table.numbers("hidden_size", low=1),
        "topk": table.numbers("num_topk", low=1),
        "num_experts": table.numbers("num_experts", low=1),
        "num_gpus": nodes * per_node,
        "num_nodes": nodes,
        "gpus_per_node": per_node,
        "num_sms": sms,
    }
