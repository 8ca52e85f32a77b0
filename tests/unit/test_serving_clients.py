"""The way between a client and the scheduler counts once, wherever a load is played from."""

from dataclasses import replace

import numpy as np
import pytest

import topologies
from sim import models
from sim.deployment import Deployment
from sim.frameworks import serving
from sim.requests import Requests
from sim.serving.closed_loop import Means, closed_loop
from sim.serving.costs.forward import pass_costs
from sim.serving.defaults import settings
from sim.serving.memory import num_blocks
from sim.serving.record import Record
from sim.serving.simulation import Server

MODEL, CLUSTER, DEPLOYMENT = models.load("llama3-8b"), topologies.load("dgx-h100"), Deployment()
FRAMEWORK = serving.load("vllm")
USERS, WAY = 2, 0.5


def measured(request_seconds: float) -> Means:
    """Two users, four prompts, as tables of measured servers are played."""
    framework = replace(FRAMEWORK, request_seconds=request_seconds)
    asked = {"prompt": 200, "output": 5, "concurrency": USERS, "num_prompts": 2 * USERS}
    return closed_loop(MODEL, CLUSTER, DEPLOYMENT, framework, **asked, spread=0.0)


def simulated(request_seconds: float) -> Record:
    """The same load as `shardsim serve` plays it."""
    asked = MODEL, CLUSTER, DEPLOYMENT, FRAMEWORK
    memory = num_blocks(*asked)
    goes_by = settings(DEPLOYMENT, FRAMEWORK, MODEL, CLUSTER, num_blocks=memory.num_blocks)
    server = Server(
        settings=goes_by, memory=memory, costs=pass_costs(*asked), deployment=DEPLOYMENT,
        request_seconds=request_seconds,
    )  # fmt: skip
    rows = 2 * USERS
    prompt, output = np.full(rows, 200), np.full(rows, 5)
    return server.play(Requests(arrival=np.zeros(rows), prompt=prompt, output=output, concurrency=USERS))


def test_the_way_there_and_back_lengthens_the_first_token_once_and_no_further_one() -> None:
    near, far = measured(0.0), measured(WAY)
    assert far.ttft - near.ttft == pytest.approx(WAY)
    assert far.tpot == pytest.approx(near.tpot)


def test_a_served_load_and_a_measured_server_see_the_same_latencies() -> None:
    record, means = simulated(WAY), measured(WAY)
    assert np.mean(record.first_token - record.sent) == pytest.approx(means.ttft)
    assert np.mean(record.finished - record.first_token) / 4 == pytest.approx(means.tpot)
    assert record.first_causes.sum(axis=1) == pytest.approx(record.first_token - record.sent)
