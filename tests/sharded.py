"""Real processes for tests of sharded blocks: started together, they talk by Gloo through a file, on no port."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import multiprocessing

from calibrate.sharded.block import Block, Recorder, Shard, Tensors
from calibrate.verification.sizes import Sizes

Result = TypeVar("Result")


def on_ranks(
    work: Callable[[Shard], Result], num_ranks: int, folder: Path, dtype: torch.dtype = torch.float32
) -> list[Result]:
    """What each of so many processes makes of `work`, a function of a module; `folder` is new for each call."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    multiprocessing.set_forkserver_preload([__name__])  # PyTorch is imported once, not by every rank
    arguments = (work, num_ranks, folder, dtype)
    multiprocessing.start_processes(_worker, arguments, nprocs=num_ranks, start_method="forkserver")
    return [torch.load(folder / f"{rank}", weights_only=False) for rank in range(num_ranks)]


def largest_difference(made: Tensors, expected: Tensors) -> float:
    """The largest difference over the largest value expected, of the worst tensor; both have the same tensors."""
    assert made.keys() == expected.keys()
    return max(relative_difference(made[name], expected[name]) for name in expected)


def relative_difference(made: torch.Tensor, expected: torch.Tensor) -> float:
    assert made.shape == expected.shape
    return float((made.double() - expected.double()).abs().max() / expected.double().abs().max())


def difference_of(block: Block, shard: Shard, sizes: Sizes) -> float:
    """How far the block is from its reference on this rank."""
    return largest_difference(block.run(shard, sizes), block.reference(shard, sizes))


def _worker(rank: int, work: Callable[[Shard], object], num_ranks: int, folder: Path, dtype: torch.dtype) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=num_ranks)
    device, group = torch.device("cpu"), dist.group.WORLD
    assert group is not None
    recorder = Recorder(rank=rank, device=device)
    shard = Shard(rank=rank, num_ranks=num_ranks, group=group, device=device, dtype=dtype, recorder=recorder)
    torch.save(work(shard), folder / f"{rank}")
    dist.destroy_process_group()
