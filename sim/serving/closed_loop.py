"""A server under so many users, each of whom sends the next request when the last is answered: as servers are measured.

Published rows name lengths and concurrency alone. So it is assumed that each user sends ten prompts, as those of
AIConfigurator do, and that answers differ a little in length: without that users stay in step for ever.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from sim.deployment import Deployment
from sim.frameworks.serving import ServingFramework
from sim.models import Transformer
from sim.requests import Requests
from sim.serving import basis
from sim.serving.clients import as_seen
from sim.serving.costs.forward import pass_costs
from sim.serving.defaults import settings
from sim.serving.fleet import in_lock_step
from sim.serving.memory import num_blocks
from sim.serving.service import serve
from sim.uncertainty import Spread
from topologies.document import Infeasible
from topologies.hardware import Cluster

PROMPTS_PER_USER: Final = 10
"""[aiconfigurator, eval/benchmarks/genai_perf_runner.py and bench_serving_runner.py, at 5e16187]"""
SPREAD: Final = 0.02
"""Standard deviation of an answer's length, as a share of its mean: ours, the same for all models, GPUs and users.
That client asks for exact lengths, but servers measured with it show users who drift apart; why is not known."""
EXACT: Final = ("sglang",)
"""Policies whose users stay in step: SGLang's own client sends all at once and asks for exact lengths [same,
bench_serving_runner.py: random-range-ratio 1], and the TTFT of its rows is that of users in step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Mean seconds until the first token and for each further one, and tokens of answers per second of all users;
    `spans`: the 80 % intervals of both means, over them."""

    ttft: float
    tpot: float
    output_throughput: float
    spans: Mapping[basis.Mean, Spread]


def closed_loop(
    model: Transformer,
    cluster: Cluster,
    deployment: Deployment,
    framework: ServingFramework,
    *,
    prompt: int,
    output: int,
    concurrency: int,
    num_prompts: int | None = None,
    spread: float | None = None,
    seed: int = 0,
) -> Means:
    """What those users see: lengths in tokens; num_prompts of all together, PROMPTS_PER_USER of each where not said.

    Raises Infeasible where the weights do not fit.
    """
    memory = num_blocks(model, cluster, deployment, framework)
    goes_by = settings(deployment, framework, model, cluster, num_blocks=memory.num_blocks)
    if spread is None:
        spread = 0.0 if framework.policy in EXACT else SPREAD
    requests = _requests(prompt, output, concurrency, num_prompts or PROMPTS_PER_USER * concurrency, spread, seed)
    costs = pass_costs(model, cluster, deployment, framework)
    replicas, dp = in_lock_step(1, deployment.layout.dp, has_experts=model.moe is not None)
    played = serve(requests, goes_by, costs, replicas=replicas, dp=dp, way_seconds=framework.request_seconds)
    record = as_seen(played, framework.request_seconds)
    if len(record.refused) == len(requests):
        raise Infeasible(f"no request can be served: {record.refused[0]}")
    further = np.maximum(1, requests.output - 1)
    return Means(
        ttft=float(np.nanmean(record.first_token - record.sent)),
        tpot=float(np.nanmean((record.finished - record.first_token) / further)),
        output_throughput=float(requests.output[~np.isnan(record.finished)].sum()) / record.duration,
        spans=basis.spans(model, cluster, deployment, framework, costs, record),
    )


def _requests(prompt: int, output: int, concurrency: int, num: int, spread: float, seed: int) -> Requests:
    drawn = np.random.default_rng(seed).normal(output, spread * output, num)
    return Requests(
        arrival=np.zeros(num),
        prompt=np.full(num, prompt),
        output=np.maximum(1, np.round(drawn)).astype(np.int64),
        concurrency=concurrency,
    )
