"""Who waits for whom among the ranks of a replica."""

from dataclasses import replace

import numpy as np
import pytest

import topologies
from sim import models
from sim.deployment import Deployment, Layout
from sim.frameworks import serving
from sim.serving.costs.forward import pass_costs
from sim.serving.defaults import settings
from sim.serving.memory import num_blocks
from sim.serving.record import Record
from sim.serving.simulation import Server
from tests.served import alike

CLUSTER, FRAMEWORK = topologies.load("dgx-h100"), serving.load("vllm")


def played(model_name: str, deployment: Deployment) -> Record:
    """A short prompt for the first rank, a long one for the second."""
    model = models.load(model_name)
    asked = model, CLUSTER, deployment, FRAMEWORK
    memory = num_blocks(*asked)
    server = Server(
        settings=settings(deployment, FRAMEWORK, model, CLUSTER, num_blocks=memory.num_blocks), memory=memory,
        costs=pass_costs(*asked), deployment=deployment, request_seconds=0.0, has_experts=model.moe is not None,
    )  # fmt: skip
    return server.play(replace(alike(2, 100, 50), prompt=np.array([100, 8000])))


def test_ranks_without_experts_are_as_good_as_replicas() -> None:
    ranks = played("llama3-8b", Deployment(layout=Layout(dp=2)))
    assert ranks.finished == pytest.approx(played("llama3-8b", Deployment(replicas=2)).finished)
    alone = played("llama3-8b", Deployment())
    assert ranks.finished[0] < alone.finished[0], "alone, the long prompt is in its way"


def test_ranks_that_share_experts_wait_for_the_longest_prompt() -> None:
    short, long = played("mixtral-8x7b", Deployment(layout=Layout(dp=2, tp=2, ep=4))).first_token
    assert short == pytest.approx(long, rel=0.5)
    short, long = played("mixtral-8x7b", Deployment(layout=Layout(tp=2, ep=2), replicas=2)).first_token
    assert short < 0.2 * long
