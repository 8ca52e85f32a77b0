"""What was measured: the law of an operation, and the part that it is evaluated on.

A kernel runs on a GPU. A collective runs on the links of a cluster, so measurements of one link may come from several
clusters (2 nodes and 4, H100 and H200): they are fitted together, each point in its own cluster.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from calibrate.machines import machine
from calibrate.samples import Samples, joined
from sim.costs.law import Array, Law, Points, Values, fit_of, law_on
from sim.costs.laws import COLLECTIVE_LAWS, KERNEL_LAWS
from topologies.document import InputError
from topologies.fits import Fits, gpu_over, laid_over, part_names
from topologies.hardware import Cluster, Fit, Gpu, Link

CLUSTER = "cluster"
"""A column of joined points: the index of the cluster that each was measured in."""


def is_known(operation: str) -> bool:
    """Whether there is a law for it."""
    return operation in KERNEL_LAWS or operation in COLLECTIVE_LAWS


def gpu_of(samples: Samples, profile: Mapping[str, Fits]) -> Gpu:
    """The GPU that kernels were measured on, with the fits of a profile laid over it."""
    return gpu_over(machine.gpu_of(samples.part, samples.hardware), profile)


def cluster_of(samples: Samples, profile: Mapping[str, Fits]) -> Cluster:
    """The cluster that collectives were measured in."""
    points = samples.points
    built = machine.cluster_with(
        gpu=samples.gpu,
        link=_own_link(samples),
        hardware=samples.hardware,
        gpus_per_node=_gpus_per_node(samples),
        fabric=samples.fabric,
        num_nodes=int(points["num_nodes"].max()) if "num_nodes" in points else 1,
    )
    return laid_over(built, profile)


def _own_link(samples: Samples) -> str:
    """The link within a node, where no catalogue has it; else GPUs are joined in their own way."""
    sheet = samples.hardware.get("link")
    return str(sheet["name"]) if isinstance(sheet, dict) and "name" in sheet else ""


def _gpus_per_node(samples: Samples) -> int | None:
    """What the points say; of processes of one machine as many as took part."""
    if samples.part == machine.LOOPBACK:
        return int(samples.points["num_gpus"].max())
    return int(samples.points["gpus_per_node"].max()) if "gpus_per_node" in samples.points else None


def parts_of(samples: Samples) -> list[str]:
    """The names of the parts that a prediction of these samples may rest on."""
    if samples.operation in KERNEL_LAWS:
        return [samples.part]
    try:
        return part_names(cluster_of(samples, {}))
    except InputError:  # what cannot be built is told where it is predicted
        return [samples.part]


def link_of(cluster: Cluster, name: str) -> Link:
    """The link of that name in a cluster."""
    node = cluster.node
    for link in (node.nic, node.scale_up, node.bridge, node.socket_link):
        if link is not None and link.name == name:
            return link
    raise InputError(f"{cluster.name} has no link {name}; write the part that was measured")


def present_fit(samples: Samples, profile: Mapping[str, Fits]) -> Fit:
    """The fit that a prediction of these samples rests on now."""
    if samples.operation in KERNEL_LAWS:
        return fit_of(gpu_of(samples, profile), KERNEL_LAWS[samples.operation])
    law = COLLECTIVE_LAWS[samples.operation]
    return fit_of(link_of(cluster_of(samples, profile), samples.part), law)


def predicted(samples: Samples, profile: Mapping[str, Fits]) -> Array:
    """Seconds of every sample by the present fit."""
    values = present_fit(samples, profile).values
    if samples.operation in KERNEL_LAWS:
        gpu = gpu_of(samples, profile)
        return law_on(gpu, KERNEL_LAWS[samples.operation]).seconds(gpu, values, samples.points)
    return COLLECTIVE_LAWS[samples.operation].seconds(cluster_of(samples, profile), values, samples.points)


def in_one(parts: Sequence[Samples], profile: Mapping[str, Fits]) -> tuple[Cluster, Law[Cluster], Samples]:
    """Samples of one link from several clusters as one, with a law that evaluates each point in its own cluster."""
    clusters = [cluster_of(part, profile) for part in parts]
    law = COLLECTIVE_LAWS[parts[0].operation]
    numbered = [
        replace(part, points={**part.points, CLUSTER: np.full(len(part), float(index))})
        for index, part in enumerate(parts)
    ]

    def seconds(_: Cluster, values: Values, points: Points) -> Array:
        total = np.empty(len(points[CLUSTER]))
        for index, cluster in enumerate(clusters):
            chosen = points[CLUSTER] == index
            if chosen.any():
                total[chosen] = law.seconds(cluster, values, {name: column[chosen] for name, column in points.items()})
        return total

    return clusters[0], replace(law, seconds=seconds), joined(numbered)
