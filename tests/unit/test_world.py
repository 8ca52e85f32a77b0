"""Groups of ranks: communicators of NCCL are made at once, and what cannot be made is told with the ranks it was of."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist

from calibrate.bench import world
from topologies.document import Fault


@pytest.fixture(autouse=True)
def nothing_is_kept() -> Iterator[None]:
    world.group_of.cache_clear()
    yield
    world.group_of.cache_clear()


@pytest.mark.parametrize(("device", "backend", "bound"), [("cuda:1", "nccl", True), ("cpu", "gloo", False)])
def test_a_group_of_gpus_is_bound_to_this_ranks_one(
    monkeypatch: pytest.MonkeyPatch, device: str, backend: str, bound: bool
) -> None:
    """Then NCCL connects it at once, and not in the first collective."""
    asked: dict[str, object] = {}
    monkeypatch.setattr(dist, "new_group", lambda ranks, **options: asked.update(options) or "the group")
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    assert world.group_of((0, 1), torch.device(device)) == "the group"
    assert asked["backend"] == backend
    assert asked["device_id"] == (torch.device(device) if bound else None)
    assert world.group_of((0, 2), torch.device(device)) is None, "rank 1 is no member"


def test_ranks_that_nccl_cannot_join_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise dist.DistBackendError(
            "NCCL error in: NCCLUtils.cpp:93, invalid usage\nLast error:\nDuplicate GPU detected\n"
        )

    monkeypatch.setattr(dist, "new_group", refuse)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    with pytest.raises(Fault, match=r"^rank 1 on \S+: cannot join 2 ranks from 0: Duplicate GPU detected; NCCL_DEBUG"):
        world.group_of((0, 1), torch.device("cuda:0"))
