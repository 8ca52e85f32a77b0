"""What a load's times rest on: a pass parted by the fits behind it, and how far points that they had not seen were off.

Norms and activations count with the products beside them, whose time is some twenty times theirs. What no kernel knows
of (hosts, clients, releases, how a server was measured) comes on top, as wide as measured servers show it.
"""

import math
from collections.abc import Mapping
from typing import Final, Literal

from sim.costs import attention, gemm
from sim.costs.collectives.custom_all_reduce import LAW_OF
from sim.costs.collectives.custom_kernels import CHOICES
from sim.costs.law import Law, fit_of, origin_of
from sim.deployment import Deployment
from sim.frameworks.serving import ServingFramework
from sim.models import Transformer
from sim.serving.costs.formats import product_format
from sim.serving.passes import PassCosts, Shape
from sim.serving.record import Record
from sim.uncertainty import ORIGINS, Share, Spread, errors, spread_of
from topologies.hardware import Cluster, Gpu, Origin

TYPICAL: Final = Shape(32, 32 * 2048, (), 32)
"""A pass in which 32 requests decode after 2,048 tokens each."""

Mean = Literal["mean_ttft_ms", "mean_tpot_ms"]
SERVERS: Final[Mapping[Mean, Spread]] = {"mean_ttft_ms": (-0.36, 0.40), "mean_tpot_ms": (-0.10, 0.12)}
"""ln(measured / predicted) of whole servers, 10th and 90th percentile, for what no kernel explains: with it the
intervals hold 80 % of the mean TTFT and 84 % of the mean TPOT of 548 unsaturated rows of servers_dense, and 88 % and
70 % of 217 of servers_moe, without it 21 % and 46 % of the former (docs/validation.md). One for all rows; TTFT is so
wide because tables leave out how their requests were sent."""


def bases(
    model: Transformer,
    cluster: Cluster,
    deployment: Deployment,
    framework: ServingFramework,
    costs: PassCosts,
    shape: Shape = TYPICAL,
) -> list[Share]:
    """A pass parted by what it rests on; shares sum to one."""
    parts = _parts(costs, shape)
    whole = sum(parts.values())
    found = _of_parts(model, cluster, deployment, framework, shape)
    return [Share(*found[name], seconds / whole, _spread(cluster, *found[name])) for name, seconds in parts.items()]


def origins(shares: list[Share]) -> dict[str, float]:
    """Shares of the time by what the parameters behind it rest on; they sum to one."""
    return {origin: sum(one.share for one in shares if one.origin == origin) for origin in ORIGINS}


def interval(shares: list[Share], mean: Mean, queueing: Spread = (0.0, 0.0)) -> Spread:
    """The 80 % interval of a mean latency, over the prediction: of passes that rest on `shares`.

    `queueing`: what the same interval of the capacity does to it by way of the queue, as logarithms (see `queueing`).
    """
    low, high = (
        math.hypot(SERVERS[mean][end], queueing[end], *(error[end] for error in errors(shares))) for end in (0, 1)
    )
    return math.exp(-low), math.exp(high)


def spans(
    model: Transformer,
    cluster: Cluster,
    deployment: Deployment,
    framework: ServingFramework,
    costs: PassCosts,
    record: Record,
    queueing: Spread = (0.0, 0.0),
) -> dict[Mean, Spread]:
    """The 80 % intervals of a load's mean latencies, over the predictions, by what its mean passes rest on."""
    asked = model, cluster, deployment, framework, costs
    prompts, answers = bases(*asked, prompting(record)), bases(*asked, decoding(record))
    return {
        "mean_ttft_ms": interval(prompts, "mean_ttft_ms", queueing),
        "mean_tpot_ms": interval(answers, "mean_tpot_ms"),
    }


def around(mean: object, span: Spread) -> dict[str, float]:
    """A mean of a result with its interval: `p50` is the prediction."""
    assert isinstance(mean, float)
    return {"p10": mean * span[0], "p50": mean, "p90": mean * span[1]}


def queueing(capacity: Spread, share: float, elasticity: float) -> Spread:
    """ln of the change of a mean TTFT of which the queue is a `share`, where passes take as much longer or shorter as
    `capacity` says (over the prediction), and the wait grows by `elasticity` % for each of it."""
    low, high = (share * elasticity * math.log(end) for end in capacity)
    return low, high


def decoding(record: Record) -> Shape:
    """The mean of the passes in which somebody decodes, each request in the middle of its answer; TYPICAL without."""
    decodes = record.steps.decodes
    if not decodes.any():
        return TYPICAL
    number = max(1, round(float(decodes[decodes > 0].mean())))
    asked = record.requests
    return Shape(number, round(number * float((asked.prompt + asked.output / 2).mean())), (), number)


def prompting(record: Record) -> Shape:
    """The mean of the passes that compute prompts, by their tokens alone; TYPICAL without."""
    prefill = record.steps.prefill
    if not prefill.any():
        return TYPICAL
    return Shape(0, 0, ((max(1, round(float(prefill[prefill > 0].mean()))), 0),), 1)


def _parts(costs: PassCosts, shape: Shape) -> dict[str, float]:
    stages = costs.stages(shape)
    parts = {
        "products": sum(one.compute + one.straggler for one in stages),
        "attention": sum(one.attention for one in stages),
        "sums": sum(one.tp for one in stages),
        "wires": sum(one.cp + one.ep + one.send for one in stages),
        "host": costs.host(shape.num_decodes),
    }
    return {name: seconds for name, seconds in parts.items() if seconds}


def _of_parts(
    model: Transformer, cluster: Cluster, deployment: Deployment, framework: ServingFramework, shape: Shape
) -> Mapping[str, tuple[str, Origin]]:
    """By part, the operation whose fit decides it, and what that fit rests on at this pass."""
    gpu, inside = cluster.gpu, cluster.node.scale_up
    products = gemm.law_of(product_format(gpu, deployment.weights, model))
    law, point = _attention(deployment, shape)
    sums = LAW_OF[CHOICES[framework.all_reduce].family]
    return {
        "products": (products.operation, origin_of(fit_of(gpu, products), gpu.name, {"m": float(shape.num_tokens)})),
        "attention": (law.operation, origin_of(fit_of(gpu, law), gpu.name, point)),
        "sums": (sums.operation, origin_of(fit_of(inside, sums), inside.name, {})),
        "wires": ("nccl node", "datasheet"),
        "host": ("host", "datasheet"),
    }


def _attention(deployment: Deployment, shape: Shape) -> tuple[Law[Gpu], Mapping[str, float]]:
    """The law of decoding, or of prompts where nobody decodes, and where it is asked."""
    fp8 = int(deployment.cache.precision == "fp8")
    if shape.num_decodes:
        mean = shape.context / shape.num_decodes
        return attention.LAWS[2 + fp8], {"batch": float(shape.num_decodes), "kv_len": mean}
    return attention.LAWS[fp8], {"batch": 1.0, "seq_len": float(shape.num_tokens)}


def _spread(cluster: Cluster, operation: str, origin: Origin) -> tuple[float, float]:
    part = cluster.node.scale_up if operation.startswith(("custom", "nccl")) else cluster.gpu
    return spread_of(part, operation, origin)
