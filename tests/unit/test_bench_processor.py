"""The sheet of a processor, from a first measurement."""

import pytest
import torch

from calibrate.bench import processor
from calibrate.bench.point import Ranks
from calibrate.bench.timing import timed
from calibrate.machines.machine import CPU_PREFIX
from topologies.document import Document
from topologies.sheets import gpu


@pytest.fixture
def sheet(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """One run each of what it is measured by."""
    monkeypatch.setattr(processor, "repeated_on_processor", lambda sample: timed([sample()]))
    return dict(processor.sheets(Ranks(rank=0, num_ranks=2, ranks_per_node=2, device=torch.device("cpu"))))


def test_a_processor_stands_where_a_gpu_would_and_nobody_takes_it_for_one(sheet: dict[str, object]) -> None:
    found = gpu(Document(name="processor", data=sheet, lines={}))  # type: ignore[arg-type]
    assert found.name.startswith(CPU_PREFIX)
    assert found.num_sms == 1


def test_no_rate_that_was_seen_is_above_the_peak(sheet: dict[str, object]) -> None:
    found = gpu(Document(name="processor", data=sheet, lines={}))  # type: ignore[arg-type]
    shares = [found.fit[name] for name in ("gemm_efficiency", "flash_forward_efficiency", "flash_backward_efficiency")]
    assert max(shares) <= 1 / processor.HEADROOM + 1e-3
    assert found.peak_flops["fp32"] <= found.peak_flops["bf16"]
