"""The command line as tests run it, and small files for it to read."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
STEP = ("llama3-8b", "dgx-h100", "--gpus", "8", "--tp", "4", "--global-batch", "8")
FREE = ("llama3-70b", "dgx-h100", "--gpus", "64")
NUMBERS = ("tp", "pp", "vpp", "dp", "cp", "ep", "zero", "gpus", "micro-batch", "global-batch", "seq-len")
SCENARIO = "kind: training\nmodel: llama3-8b\ncluster: dgx-h100\ngpus: 8\n"
MODEL = "{name: a, num_layers: 2, hidden: 64, num_heads: 4, ffn: 128, vocab: 100, max_seq_len: 32}"
CLUSTER = """\
name: mine
gpu: h100-80gb-sxm
gpus_per_node: 8
nvlink: {name: wire, bandwidth: 450 GB/s, latency: 1 us, \
achievable: {bandwidth_efficiency: 0.8, launch_latency: 8 us}}
nic: ib-ndr400
nics_per_node: 8
nodes: 4
wiring: rail-optimised
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command came to: its exit code, stdout, stderr."""

    code: int
    out: str
    err: str


Shardsim = Callable[..., Answer]


def process(*arguments: str, **options: object) -> "subprocess.Popen[str]":
    """Runs the command in a process of its own."""
    command = [sys.executable, "-m", "sim.cli", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(command, env=environment, text=True, preexec_fn=heed_interrupts, **streams)  # type: ignore[call-overload,no-any-return]


def heed_interrupts() -> None:
    """For a process that a test interrupts: a shell lets what it starts in the background ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def assert_refused(answer: Answer, message: str) -> None:
    assert (answer.code, answer.out) == (2, ""), answer
    assert re.search(message, answer.err), answer.err
    assert answer.err.startswith("shardsim: ")
    assert answer.err.count("\n") <= 2
    assert len(answer.err) < 400
    assert "Traceback" not in answer.err
