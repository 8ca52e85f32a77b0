"""What a user waits for: the whole process, from the interpreter's start to the last byte of the report."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import Show

ROOT = Path(__file__).parents[1]
ROUNDS = 5
GPT_1T = (
    "train gpt-1t dgx-a100 --gpus {gpus} --tp 8 --pp 64 --dp {dp} --global-batch {batch} --recompute full"
    " --framework megatron-lm --precision fp16 --detail {detail} --format json"
)
LLAMA_405B = "train llama3-405b dgx-h100 --gpus 16384 --tp 8 --pp 16 --dp 128 --format json"
COMMANDS = {
    "GPT-1T on 512 GPUs, stage detail": (GPT_1T.format(gpus=512, dp=1, batch=512, detail="stage"), 1.5),
    "GPT-1T on 3,072 GPUs, stage detail": (GPT_1T.format(gpus=3072, dp=6, batch=3072, detail="stage"), 1.5),
    "GPT-1T on 512 GPUs, layer detail": (GPT_1T.format(gpus=512, dp=1, batch=512, detail="layer"), 10.0),
    "GPT-1T on 3,072 GPUs, layer detail": (GPT_1T.format(gpus=3072, dp=6, batch=3072, detail="layer"), 10.0),
    "Llama-3-405B on 16,384 GPUs": (LLAMA_405B, 1.5),
    "shardsim --help": ("--help", 0.3),
}


def run(arguments: str) -> None:
    command = [sys.executable, "-m", "sim.cli", *arguments.split()]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_whole_process_ends_in_time(benchmark: BenchmarkFixture, show: Show, name: str) -> None:
    """Wall time, best of five. CPU time is shown beside it: where wall is much more, the machine was busy elsewhere."""
    arguments, bar = COMMANDS[name]
    before = cpu_of_children()
    benchmark.pedantic(run, args=(arguments,), rounds=ROUNDS)  # type: ignore[no-untyped-call]
    cpu = (cpu_of_children() - before) / ROUNDS
    assert benchmark.stats is not None
    best = benchmark.stats.stats.min
    show(f"{name:<36} {best:>6.2f} s, bar {bar:>4.1f} s, CPU {cpu:>5.2f} s{'' if best < bar else '  MISSED'}")
    assert best < bar


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
