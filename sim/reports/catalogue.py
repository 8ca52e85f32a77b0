"""What `shardsim models` and `shardsim clusters` print: plain tables, so that they can be piped."""

from collections.abc import Iterable, Sequence

import topologies
from sim import models
from sim.models import Transformer, num_parameters
from topologies.hardware import Cluster, Gpu, Link
from topologies.quantity import GIGA, flops, nbytes, rate, seconds


def model_list() -> str:
    """A line per model of the catalogue."""
    rows = [_model_row(name, models.load(name)) for name in models.names()]
    return _table(("model", "parameters", "layers", "hidden", "heads", "kv heads", "ffn", "vocab", "seq len"), rows)


def model_details(model: Transformer) -> str:
    """Everything that is known of one model."""
    fields = {name: str(getattr(model, name)) for name in model.__dataclass_fields__}
    return _pairs({"name": model.name, "parameters": _billions(model), **fields})


def cluster_list() -> str:
    """A line per cluster of the catalogue."""
    rows = [_cluster_row(topologies.load(name)) for name in topologies.names()]
    return _table(("cluster", "GPU", "GPUs per node", "NVLink", "network", "most nodes", "wiring"), rows)


def cluster_details(cluster: Cluster) -> str:
    """The parts of one cluster with the source of each achievable rate."""
    node = cluster.node
    lines = {
        "name": cluster.name,
        "nodes": f"at most {cluster.num_nodes}, {node.num_gpus} GPUs each, {cluster.network.wiring}",
        **_gpu(node.gpu),
        **_link("NVLink", node.scale_up),
        **({} if node.nic is None else _link(f"network, {node.num_nics} NICs a node", node.nic)),
    }
    return _pairs(lines)


def _gpu(gpu: Gpu) -> dict[str, str]:
    peaks = ", ".join(f"{precision} {flops(peak)}" for precision, peak in gpu.peak_flops.items())
    memory = f"{nbytes(gpu.memory_nbytes)} at {rate(gpu.memory_bandwidth)}"
    return {"GPU": gpu.name, "dense peak": peaks, "memory": memory} | {
        f"  {name}": f"{value:g} ({gpu.fit.sources[name]})" for name, value in gpu.fit.values.items()
    }


def _link(role: str, link: Link) -> dict[str, str]:
    speed = f"{link.name}, {rate(link.bandwidth)} each way, {seconds(link.latency)} a step"
    return {role: speed} | {
        f"  {link.name} {name}": f"{value:g} ({link.fit.sources[name]})" for name, value in link.fit.values.items()
    }


def _model_row(name: str, model: Transformer) -> tuple[str, ...]:
    shapes = (model.num_layers, model.hidden, model.num_heads, model.num_kv_heads, model.ffn, model.vocab)
    return (name, _billions(model), *map(str, shapes), str(model.max_seq_len))


def _billions(model: Transformer) -> str:
    return f"{num_parameters(model) / GIGA:.1f} B"


def _cluster_row(cluster: Cluster) -> tuple[str, ...]:
    node = cluster.node
    network = f"{node.num_nics} x {node.nic.name}" if node.nic else "none"
    return (
        cluster.name,
        node.gpu.name,
        str(node.num_gpus),
        node.scale_up.name,
        network,
        str(cluster.num_nodes),
        cluster.network.wiring,
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def _pairs(pairs: dict[str, str]) -> str:
    width = max(map(len, pairs))
    return "".join(f"{name:<{width}}  {text}\n" for name, text in pairs.items())
