"""How much of a pass rests on what, and how sure the means of a load are."""

import math

import pytest

import topologies
from sim import models
from sim.deployment import Deployment, Layout
from sim.frameworks import serving
from sim.serving import basis
from sim.serving.costs.forward import pass_costs
from sim.uncertainty import Share


def shares(cluster: str) -> list[Share]:
    asked = models.load("llama3-70b"), topologies.load(cluster), Deployment(layout=Layout(tp=8)), serving.load("vllm")
    return basis.bases(*asked, pass_costs(*asked))


def test_a_pass_on_measured_gpus_rests_on_measurements() -> None:
    found = shares("dgx-h100")
    assert sum(one.share for one in found) == pytest.approx(1)
    assert basis.origins(found)["datasheet"] < 0.1
    low, high = basis.interval(found, "mean_tpot_ms")
    assert 0.8 < low < 1 < high < 1.25


def test_means_are_no_surer_than_measured_servers_were() -> None:
    """Without an error of any kernel, what is left is e^-0.36 and e^0.40 of a TTFT, e^-0.10 and e^0.12 of a TPOT."""
    assert basis.interval([], "mean_ttft_ms") == pytest.approx((math.exp(-0.36), math.exp(0.40)))
    assert basis.interval([], "mean_tpot_ms") == pytest.approx((math.exp(-0.10), math.exp(0.12)))


def test_a_queue_multiplies_errors_of_the_capacity() -> None:
    """Half of the TTFT waits, and 1 % less capacity makes the wait 10 % longer: e^0.1 of a pass is e^0.5 of the TTFT,
    beside what servers show, hypot(0.5, 0.40)."""
    added = basis.queueing((math.exp(-0.2), math.exp(0.1)), share=0.5, elasticity=10.0)
    assert added == pytest.approx((-1.0, 0.5))
    assert basis.interval([], "mean_ttft_ms", added)[1] == pytest.approx(math.exp(math.hypot(0.5, 0.40)))


def test_a_gpu_that_nobody_measured_is_less_sure() -> None:
    known, unknown = (basis.interval(shares(cluster), "mean_tpot_ms") for cluster in ("dgx-h100", "h800-node"))
    assert unknown[1] / unknown[0] > known[1] / known[0]
