"""A first look at a device, here at a processor with small sizes: nothing in it needs to know which device it is."""

import pytest
import torch

from calibrate.bench import first_look
from calibrate.bench.point import Ranks
from calibrate.machines.own_gpu import gpu_sheet
from tests.unit.test_own_gpu import X1
from topologies import sheets
from topologies.document import Document
from topologies.quantity import MIB


def test_what_is_seen_makes_a_sheet_that_can_be_read() -> None:
    ranks = Ranks(rank=0, num_ranks=1, ranks_per_node=1, device=torch.device("cpu"))
    seen = first_look.seen(ranks, products=((64, 64, 64), (96, 64, 32)), attention=(1, 2, 64, 32), copied=int(MIB))
    assert {"bf16", "fp16", "fp32"} <= seen.rates.keys()
    figures = (*seen.rates.values(), seen.forward, seen.backward, seen.copied, seen.shortest)
    assert min(figures) > 0
    gpu = sheets.gpu(Document(name="gpu", data=gpu_sheet(X1, seen), lines={}))
    assert gpu.peak_flops.keys() == seen.rates.keys()


def test_a_precision_that_the_device_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As fp8 is before Ada: PyTorch refuses with a RuntimeError."""
    ranks = Ranks(rank=0, num_ranks=1, ranks_per_node=1, device=torch.device("cpu"))

    def refuse(*_: object) -> None:
        raise RuntimeError("torch._scaled_mm is only supported on devices of compute capability 8.9")

    monkeypatch.setattr(first_look, "_fp8", refuse)
    seen = first_look.seen(ranks, products=((64, 64, 64),), attention=(1, 2, 64, 32), copied=int(MIB))
    assert seen.rates.keys() == {"bf16", "fp16", "fp32"}
