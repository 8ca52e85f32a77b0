"""Laws of what is read from a played load, whatever the server is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from sim.requests import Requests
from sim.serving.passes import Shape, Stage, Steady
from sim.serving.record import Record
from sim.serving.results import series, summarize
from sim.serving.service import serve
from sim.serving.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Toy:
    """Passes of 10 ms a stage, longer by 10 us for each token of a prompt, and 100 us of the host."""

    num_stages: int

    def host(self, num_seqs: int) -> float:
        return 1e-4

    def stages(self, shape: Shape) -> Sequence[Stage]:
        prefill = 1e-5 * sum(new for new, _ in shape.prefills)
        sends = [5e-4] * (self.num_stages - 1) + [0.0]
        return [Stage(0.01, 0.0, prefill, 0.0, 0.0, 0.0, 0.0, send) for send in sends]

    def together(self, shapes: Sequence[Shape]) -> Sequence[Sequence[Stage]]:
        return [self.stages(shape) for shape in shapes]

    def decodes(self, num_decodes: int, context: int, num_passes: int, longest: int = 0) -> Steady:
        return Steady(self.stages(Shape(num_decodes, context)), [[0.0] * num_passes] * self.num_stages)


@pytest.fixture(params=[(1, 1, 400), (2, 2, 200), (4, 1, 2000)], ids=["one", "short of memory", "deep"])
def played(request: pytest.FixtureRequest) -> Record:
    """200 requests, ten a second, on so many stages and replicas with so many blocks."""
    stages, replicas, num_blocks = request.param
    draw = np.random.default_rng(0)
    requests = Requests(
        arrival=np.sort(draw.uniform(0, 20, 200)), prompt=draw.integers(10, 800, 200), output=draw.integers(1, 100, 200)
    )
    settings = Settings(
        policy="vllm", max_num_seqs=64, max_num_batched_tokens=2048, max_model_len=4096, chunked_prefill=True,
        asynchronous=False, prefix_caching=False, block_size=16, num_blocks=num_blocks, depth=stages,
    )  # fmt: skip
    return serve(requests, settings, Toy(num_stages=stages), replicas=replicas)


def test_every_millisecond_has_a_cause_and_every_token_a_time(played: Record) -> None:
    found, over_time = summarize(played, num_gpus=1), series(played, num_gpus=1)
    assert found["completed"] == 200
    for key in ("breakdown", "first_token_breakdown"):
        parts = found[key]
        assert isinstance(parts, dict)
        assert sum(parts.values()) == pytest.approx(1.0)
        assert min(parts.values()) > -1e-9
    tokens = over_time.columns["output_tokens_per_s"].sum() * over_time.window
    assert tokens == pytest.approx(found["total_output_tokens"]) == pytest.approx(played.requests.output.sum())
    assert played.gap_counts.sum() == played.requests.output.sum() - 200


def test_requests_in_the_server_are_rate_times_latency(played: Record) -> None:
    """Little's law, exact over the whole run; the gauges are read once in 50 ms, at passes' starts: within 5 %."""
    over_time = series(played, num_gpus=1, window=0.05)
    inside = (over_time.columns["running"] + over_time.columns["waiting"]).mean()
    latency = (played.finished - played.sent).sum() / (len(over_time.columns["t_s"]) * over_time.window)
    assert inside == pytest.approx(latency, rel=0.05)
