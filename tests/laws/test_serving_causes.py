"""Laws of where a request's time goes: what load adds to a latency is other requests' work, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from sim.deployment import Policy
from sim.requests import Requests
from sim.serving.record import CAUSES
from sim.serving.service import serve
from tests.pass_costs import Linear
from tests.served import SMALL, ahead, alike

INTERFERENCE = CAUSES.index("interference")


@pytest.mark.parametrize("policy", ["vllm", "sarathi", "sglang"])
@pytest.mark.parametrize("is_ahead", [False, True], ids=["one by one", "ahead"])
def test_a_long_prompt_stalls_who_decodes_by_interference_alone(policy: Policy, is_ahead: bool) -> None:
    """Whether its chunks make the passes of the decode longer, or have passes of their own that come first. A host
    that works between passes is waited for before each of these, too; one that works ahead may be hidden in the stall,
    which nobody sees: to within its millisecond."""
    config = replace(SMALL, policy=policy, max_model_len=4096, num_blocks=401)
    costs = Linear(fixed=0.01, per_token=1e-4, host_seconds=0.001)
    load = Requests(arrival=np.array([0.0, 0.25]), prompt=np.array([10, 3000]), output=np.array([100, 1]))
    alone, beside = (serve(each, ahead(config) if is_ahead else config, costs) for each in (alike(1, 10, 100), load))
    stall = beside.finished[0] - alone.finished[0]
    assert stall > 0.25
    added = beside.causes[0] - alone.causes[0]
    assert added == pytest.approx(np.eye(len(CAUSES))[INTERFERENCE] * stall, abs=costs.host_seconds + 1e-9)
    np.testing.assert_allclose(beside.causes.sum(axis=1), beside.finished - beside.sent, atol=1e-9)
