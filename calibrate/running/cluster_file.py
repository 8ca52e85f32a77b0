"""A machine with a GPU that no catalogue has, as a file that describes a cluster of it, for simulations."""

import json
from collections.abc import Mapping

from calibrate.machines.machine import Machine, cluster_of
from topologies.document import Value
from topologies.hardware import Link
from topologies.quantity import rate, seconds

NOTE = "# Written by `calibrate run`: this machine; change what differs in the cluster that is meant."


def text(machine: Machine) -> str:
    """The YAML of the machine as a cluster; figures and what they rest on are those of its sheets."""
    node = cluster_of(machine, {}).node
    way = {"nvswitch": "nvlink", "mesh": "mesh", "pcie": "pcie"}[node.layout]
    network: dict[str, Value] = {"nic": _sheet(node.nic), "nics_per_node": node.num_nics} if node.nic else {}
    fields: dict[str, Value] = {
        "name": f"{machine.num_gpus}x-{machine.part}",
        "gpu": machine.hardware["gpu"],
        "gpus_per_node": machine.gpus_per_node,
        way: machine.hardware.get("link") or machine.link,
        **network,
        "nodes": machine.num_nodes,
    }
    return f"{NOTE}\n{_yaml(fields)}"


def _sheet(link: Link) -> dict[str, Value]:
    """A network adapter, whose rate the catalogue may lack."""
    return {
        "name": link.name,
        "bandwidth": rate(link.bandwidth),
        "latency": seconds(link.latency),
        "achievable": {
            "bandwidth_efficiency": link.fit["bandwidth_efficiency"],
            "launch_latency": seconds(link.fit["launch_latency"]),
        },
        "sources": {**link.fit.sources},
    }


def _yaml(fields: Mapping[str, Value]) -> str:
    """A field a line, and one for each of a part's; all else as JSON, which is YAML too."""
    lines = []
    for name, value in fields.items():
        if isinstance(value, dict):
            lines += [f"{name}:", *(f"  {inner}: {json.dumps(told)}" for inner, told in value.items())]
        else:
            lines.append(f"{name}: {json.dumps(value)}")
    return "\n".join(lines) + "\n"
