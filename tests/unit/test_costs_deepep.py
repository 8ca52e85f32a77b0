"""DeepEP by hand: who gets a token, how many bytes it has, and what bounds the kernels."""

import itertools
from dataclasses import replace
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import topologies
from sim.costs.collectives import alone
from sim.costs.collectives.deepep import LAWS, MODES, NETWORK_LAWS, NODE_LAWS, PHASES, Tokens, combine, dispatch
from sim.costs.collectives.deepep_kernels import Mode, groups_hit, sms_of_experts, token_nbytes
from topologies.fabric import Wire
from topologies.hardware import Cluster

DEEPSEEK: Final = Tokens(num_tokens=4096, hidden=7168, topk=8, num_experts=256)


def h100s(nodes: int = 1) -> Cluster:
    return topologies.build(gpu="h100", fabric="ib-ndr400x8", nodes=nodes)


def test_groups_hit_are_those_of_all_choices_without_repetition() -> None:
    """4 groups of 2 experts, 3 chosen: over all 56 choices a token meets 2.571 groups; the formula says 2.542."""
    chosen = list(itertools.combinations(range(8), 3))
    met = sum(len({expert // 2 for expert in choice}) for choice in chosen) / len(chosen)
    assert groups_hit(4.0, 3.0, 8.0) == pytest.approx(met, rel=0.012)
    assert groups_hit(8.0, 1.0, 64.0) == pytest.approx(1.0)
    assert groups_hit(2.0, 8.0, 8.0) == pytest.approx(2.0, rel=0.01)


def test_a_token_of_fp8_has_a_scale_for_every_128_values() -> None:
    """7168 + 56 x 4 bytes, 16 more before it with low latency; 2 x 7168 back."""
    assert token_nbytes("normal", "dispatch", 7168) == 7168 + 224
    assert token_nbytes("low-latency", "dispatch", 7168) == 7168 + 224 + 16
    assert token_nbytes("low-latency", "combine", 7168) == 14336


def test_few_experts_use_few_sms() -> None:
    """On 132 SMs: one expert each up to 132, then two each."""
    assert sms_of_experts(8.0, 132) == 8
    assert sms_of_experts(160.0, 132) == 80
    assert sms_of_experts(256.0, 132) == 128


def test_low_latency_kernels_send_a_token_to_each_of_its_experts() -> None:
    """2 nodes of 8: 8 copies of 14,336 bytes of 128 tokens, half of them to the other node by the NIC."""
    cluster = h100s(2)
    tokens = replace(DEEPSEEK, num_tokens=128)
    loads = dict(combine(cluster, range(16), tokens, mode="low-latency").loads)
    assert loads[Wire("nic", "out", 3)] == pytest.approx(128 * 8 * 14336 / 2)
    assert loads[Wire("nvlink", "out", 3)] == pytest.approx(128 * 8 * 14336 * 7 / 16)


def test_normal_kernels_send_a_token_to_a_node_once() -> None:
    """2 nodes: nearly every token of 8 experts meets both, so half of 2 goes by the NIC: 4096 x 7392 bytes, 30 MB."""
    loads = dict(dispatch(h100s(2), range(16), DEEPSEEK).loads)
    assert loads[Wire("nic", "out", 5)] == pytest.approx(4096 * 7392, rel=0.005)


def test_combine_of_bf16_takes_twice_the_bytes_of_dispatch() -> None:
    cluster = h100s()
    there, back = (dict(phase(cluster, range(8), DEEPSEEK).loads) for phase in (dispatch, combine))
    wire = Wire("nvlink", "in", 0)
    assert back[wire] / there[wire] == pytest.approx(14336 / 7392)


def test_the_normal_kernels_hold_the_sms_they_are_given_and_few_of_them_are_slow() -> None:
    cluster = h100s()
    few, usual = (dispatch(cluster, range(8), DEEPSEEK, num_sms=count) for count in (4, 20))
    assert (few.num_sms, usual.num_sms) == (4, 20)
    assert alone(cluster, few) > 3 * alone(cluster, usual)


@pytest.mark.parametrize("mode", MODES)
def test_the_law_and_the_activity_say_the_same(mode: Mode) -> None:
    for nodes, laws in ((1, NODE_LAWS), (2, NETWORK_LAWS)):
        cluster = h100s(nodes)
        link = cluster.node.scale_up if nodes == 1 else cluster.node.nic
        assert link is not None
        for phase, call in zip(PHASES, (dispatch, combine), strict=True):
            law = laws[mode, phase]
            fit = link.fits.get(law.operation)
            values = fit.values if fit else {name: p.start for name, p in law.parameters.items()}
            facts = {"num_tokens": 512, "hidden": 7168, "topk": 8, "num_experts": 256, "num_sms": 20}
            points = {n: np.array([float(v)]) for n, v in (facts | {"num_gpus": 8 * nodes, "num_nodes": nodes}).items()}
            activity = call(cluster, range(8 * nodes), replace(DEEPSEEK, num_tokens=512), mode=mode)
            assert alone(cluster, activity) == pytest.approx(law.seconds(cluster, values, points)[0], rel=0.05)


@given(st.floats(1, 1e5), st.floats(1, 4), st.sampled_from(MODES), st.sampled_from([1, 2, 8]))
def test_more_tokens_never_take_less_time(num_tokens: float, factor: float, mode: Mode, nodes: int) -> None:
    cluster = h100s(nodes)
    for call in (dispatch, combine):
        less, more = (
            alone(cluster, call(cluster, range(8 * nodes), replace(DEEPSEEK, num_tokens=count), mode=mode))
            for count in (num_tokens, factor * num_tokens)
        )
        assert less <= more * (1 + 1e-9)


def test_no_token_costs_nothing() -> None:
    assert dispatch(h100s(), range(8), replace(DEEPSEEK, num_tokens=0)).loads == ()
    assert combine(h100s(), [3], DEEPSEEK).loads == ()


def test_no_law_has_too_many_parameters() -> None:
    assert len({law.operation for law in LAWS}) == 8
    assert max(len(law.parameters) for law in LAWS) <= 12
