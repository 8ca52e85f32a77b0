"""Laws of where a request's time goes: what load adds to a latency is other requests' work, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

import topologies
from sim import models
from sim.deployment import Deployment, Layout, Policy
from sim.frameworks import serving
from sim.requests import Requests
from sim.serving.costs.forward import pass_costs
from sim.serving.record import CAUSES
from sim.serving.service import serve
from tests.pass_costs import Linear
from tests.served import SMALL, ahead, alike, staged

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


@pytest.mark.parametrize(
    ("name", "layout"),
    [("llama3-70b", Layout(tp=8)), ("llama3-70b", Layout(tp=4, pp=2)), ("mixtral-8x7b", Layout(tp=8, ep=8))],
    ids=["tp", "pp", "ep"],
)
def test_a_prompt_takes_by_kind_under_load_what_it_takes_alone(name: str, layout: Layout) -> None:
    """Beside 20 who decode: all that is longer is waiting, and interference."""
    costs = pass_costs(models.load(name), topologies.load("dgx-h100"), Deployment(layout=layout), serving.load("vllm"))
    config = replace(SMALL, max_num_seqs=64, max_num_batched_tokens=8192, max_model_len=8192, num_blocks=4001)
    config = staged(config, layout.pp)
    crowd = Requests(
        arrival=np.append(np.zeros(20), 1.0),
        prompt=np.append(np.full(20, 100), 4000),
        output=np.append(np.full(20, 300), 1),
    )
    alone, crowded = (serve(each, config, costs).first_causes[-1] for each in (alike(1, 4000, 1), crowd))
    own = [CAUSES.index(kind) for kind in ("compute", "attention", "tp", "cp", "ep", "straggler", "transfer")]
    assert alone[CAUSES.index("tp")] > 0.05 * alone.sum()
    assert crowded[own] == pytest.approx(alone[own], rel=1e-9)
    assert crowded[INTERFERENCE] > 0


def test_prompts_of_one_pass_have_their_parts_of_each_kind() -> None:
    """Two alike take a little less than twice as long together; the share of tp is that of one, within 5 %."""
    costs = pass_costs(
        models.load("llama3-70b"), topologies.load("dgx-h100"), Deployment(layout=Layout(tp=8)), serving.load("vllm")
    )
    config = replace(SMALL, max_num_batched_tokens=8192, max_model_len=8192, num_blocks=4001)
    one, two = (serve(alike(count, 3000, 1), config, costs).first_causes[0] for count in (1, 2))
    tp, compute = CAUSES.index("tp"), CAUSES.index("compute")
    assert two[tp] / two[compute] == pytest.approx(one[tp] / one[compute], rel=0.05)
    assert two[INTERFERENCE] == pytest.approx(two.sum() / 2, rel=0.02)
