"""One process for each GPU: where each stands, and that all end together, with words."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch

from calibrate.bench import joining
from calibrate.bench.watch import telling
from calibrate.bench.world import _slot
from calibrate.launching import launch as launching
from calibrate.launching.children import _environment
from calibrate.launching.interface import interface_to
from calibrate.launching.launch import is_told, launch, shares_gpu
from calibrate.launching.place import first_host, rank_from_environment
from calibrate.machines.machine import Backend
from tests import launched
from tests.command import ROOT, heed_interrupts
from topologies.document import Fault, InputError, Missing

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "16", "LOCAL_RANK": "3", "MASTER_ADDR": "n1", "MASTER_PORT": "29500"}
SRUN = {
    "SLURM_JOB_ID": "123456",
    "SLURM_PROCID": "9",
    "SLURM_STEP_NUM_TASKS": "16",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "n[007-008]",
}
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
MPICH = {"PMI_RANK": "5", "PMI_SIZE": "8", "MPI_LOCALRANKID": "1", "MASTER_ADDR": "n1", "MASTER_PORT": "4000"}

LATE = 1.5
"""Seconds after which both ranks have ended."""


def test_torchrun_says_all() -> None:
    place = rank_from_environment(TORCHRUN)
    assert place is not None
    assert (place.rank, place.num_ranks, place.local_rank, place.address, place.port) == (3, 16, 3, "n1", 29500)


def test_a_slurm_step_meets_on_its_first_host_at_a_port_of_its_job() -> None:
    place = rank_from_environment(SRUN)
    assert place is not None
    assert (place.rank, place.num_ranks, place.local_rank) == (9, 16, 1)
    assert (place.address, place.port) == ("n007", 23456)


def test_mpirun_in_a_slurm_job_meets_on_the_first_host_of_the_job() -> None:
    """On the first host mpirun forks the ranks; on the others a step of srun does, whose list lacks the first."""
    forked = {**OPEN_MPI, "SLURM_JOB_NODELIST": "n[007-008]", "SLURM_JOB_ID": "1"}
    started = {**forked, "OMPI_COMM_WORLD_LOCAL_RANK": "0", "SLURM_STEP_NODELIST": "n008"}
    places = [rank_from_environment(environment) for environment in (forked, started)]
    assert [place and place.address for place in places] == ["n007", "n007"]


def test_open_mpi_on_one_host_meets_there() -> None:
    place = rank_from_environment({**OPEN_MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "2"})
    assert place is not None
    assert (place.rank, place.num_ranks, place.address) == (1, 2, "127.0.0.1")


def test_mpich_is_known_too() -> None:
    place = rank_from_environment(MPICH)
    assert place is not None
    assert (place.launcher, place.rank, place.local_rank, place.port) == ("mpirun", 5, 1, 4000)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"PATH": "/bin", "MASTER_ADDR": "n1"},
        {"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "16", "SLURM_LOCALID": "0"},  # a batch script
        {**SRUN, "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_STEP_NUM_TASKS": "1"},  # srun --pty bash
    ],
)
def test_where_nobody_started_several_it_is_alone(environment: dict[str, str]) -> None:
    assert rank_from_environment(environment) is None


def test_the_innermost_launcher_counts() -> None:
    """torchrun, started by srun once on each node; mpirun, whose daemons srun started; srun --mpi=pmi2."""
    places = [
        rank_from_environment({**SRUN, **TORCHRUN}),
        rank_from_environment({**SRUN, **OPEN_MPI, "SLURM_JOB_NODELIST": "n[006-008]"}),
        rank_from_environment({**SRUN, "PMI_RANK": "9", "PMI_SIZE": "16"}),
    ]
    assert [place and place.launcher for place in places] == ["torchrun", "mpirun", "srun"]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "not LOCAL_RANK; torchrun sets all"),
        ({"LOCAL_RANK": "0"}, "LOCAL_RANK set, but not RANK"),
        ({**TORCHRUN, "MASTER_ADDR": ""}, "not MASTER_ADDR"),
        ({**TORCHRUN, "RANK": "first"}, "RANK='first' is not a number"),
        ({**TORCHRUN, "RANK": "16"}, "contradict each other"),
        ({**OPEN_MPI}, "set MASTER_ADDR"),
        ({"OMPI_COMM_WORLD_RANK": "0"}, "not OMPI_COMM_WORLD_SIZE"),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, "not MPI_LOCALRANKID"),
    ],
)
def test_what_is_set_by_halves_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rank_from_environment(environment)


@pytest.mark.parametrize(
    ("hosts", "first"),
    [("n1", "n1"), ("n1,n2", "n1"), ("n[001-004,007],m1", "n001"), ("r[1-2]n[3,5]", "r1n3"), ("a-b[2]", "a-b2")],
)
def test_the_first_host_of_a_list_as_slurm_writes_it(hosts: str, first: str) -> None:
    assert first_host(hosts) == first


@pytest.mark.parametrize(
    ("backend", "num_ranks", "shares"), [("nccl", 2, True), ("nccl", 1, False), ("gloo", 2, False)]
)
def test_more_ranks_than_gpus_share_them(
    monkeypatch: pytest.MonkeyPatch, backend: Backend, num_ranks: int, shares: bool
) -> None:
    monkeypatch.setattr(launching, "usual_number", lambda _: 1)
    assert shares_gpu(backend, num_ranks) is shares
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert not shares_gpu(backend, num_ranks), "a launcher gives each rank its GPU, or is told that it did not"


def test_ranks_that_share_a_gpu_are_of_different_hosts_to_nccl() -> None:
    hosts = [_environment(rank, shares_gpu=True)["NCCL_HOSTID"] for rank in range(2)]
    assert hosts[0] != hosts[1]
    assert "NCCL_HOSTID" not in _environment(0, shares_gpu=False)


def test_ranks_take_gpus_in_turn_where_they_share_them() -> None:
    assert [_slot(rank, 2, shares_gpu=True) for rank in range(4)] == [0, 1, 0, 1]
    assert _slot(3, 1, shares_gpu=False) == 0, "a launcher may show each process its own GPU only"
    with pytest.raises(InputError, match="2 GPUs, but a process 3; start one for each"):
        _slot(2, 2, shares_gpu=False)


def test_so_many_processes_that_they_only_fill_the_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching.os, "cpu_count", lambda: 2)
    with pytest.raises(InputError, match="--processes 17: here are 2 cores; start at most 16"):
        launch(launched.greet, "hello", backend="gloo", take=print, num_ranks=17)


def test_only_rank_0_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_told()
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert not is_told()


def test_without_a_gpu_nothing_is_started() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(Missing, match="--backend gloo"):
        launch(launched.greet, "hello", backend="nccl", take=print)


@pytest.mark.slow
def test_what_rank_0_tells_comes_in_order_and_its_result_at_the_end(capfd: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    assert launch(launched.greet, "hello", backend="gloo", take=told.append, num_ranks=2) == [0, 1]
    assert told == ["hello", "HELLO"]
    assert capfd.readouterr() == ("", "")


def test_errors_in_words_of_ours_stay_what_they_are() -> None:
    ours = InputError("model.yaml:3: no such model")
    assert telling(ours, 1) is ours
    theirs = telling(RuntimeError("CUDA error: an illegal memory access\nCompile with ..."), 1)
    assert isinstance(theirs, Fault)
    assert re.fullmatch(r"rank 1 on \S+: RuntimeError: CUDA error: an illegal memory access", str(theirs))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("killed", r"^rank 1 on \S+ was killed by SIGKILL"),
        ("error", r"^rank 1 on \S+: ZeroDivisionError: a gremlin$"),
        ("exit", r"^rank 1 on \S+ ended early: the last line$"),
    ],
)
def test_a_rank_that_ends_early_is_named_and_ends_all(how: str, message: str) -> None:
    """Also where both ranks have spoken before anybody listens: the one that felt the loss is read first."""
    told: list[str] = []

    def take(word: str) -> None:
        told.append(word)
        time.sleep(LATE)

    with pytest.raises(Fault, match=message):
        launch(launched.fail, how, backend="gloo", take=take, num_ranks=2)
    assert told == ["begun"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_rank_outlives_the_process_that_started_it(number: signal.Signals) -> None:
    script = (
        "from tests import launched; from calibrate.launching.launch import launch; from functools import partial;"
        "launch(launched.linger, None, backend='gloo', take=partial(print, flush=True), num_ranks=2)"
    )
    parent = _started("-c", script)
    assert parent.stdout is not None
    children = [int(parent.stdout.readline()) for _ in range(2)]
    os.kill(parent.pid, number)
    parent.wait(30)
    assert [_ends(child) for child in children] == [True, True]


@pytest.mark.slow
def test_under_torchrun_rank_0_prepares_what_all_are_asked_and_prints_what_is_told() -> None:
    out, err, code = _torchrun("repeat", "hello")
    assert code == 0, err
    said = ("hello of rank 0", "HELLO OF RANK 0", "result None", "result ['hello of rank 0', 'hello of rank 0']")
    assert [out.count(words) for words in said] == [3, 1, 1, 1], "two processes print: in any order, even within a line"


@pytest.mark.parametrize(("address", "name"), [("127.0.0.1", "lo"), ("nowhere.invalid", "")])
def test_the_interface_that_leads_to_an_address(address: str, name: str) -> None:
    assert interface_to(address) == name


def test_gloo_takes_the_interface_that_leads_to_rank_0_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "interface_to", lambda address: {"n1": "ib0"}.get(address, ""))
    for address, told, taken in (("n1", "", "ib0"), ("n1", "eth1", "eth1"), ("n2", "", "")):
        monkeypatch.setattr(joining.os, "environ", {"GLOO_SOCKET_IFNAME": told} if told else {})
        joining._lead_gloo_to(address)
        assert os.environ.get("GLOO_SOCKET_IFNAME", "") == taken


@pytest.mark.slow
def test_under_torchrun_rank_0_names_the_rank_that_was_killed() -> None:
    out, err, code = _torchrun("fail", "killed")
    assert code != 0
    assert "begun" in out
    assert re.search(r"Fault: rank 1 on \S+ was killed by SIGKILL", err), err


def _torchrun(work: str, argument: str) -> tuple[str, str, int | None]:
    module = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tests.launched"]
    process = _started(*module, work, argument)
    out, err = process.communicate(timeout=100)
    return out, err, process.returncode


def _started(*arguments: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )


def _ends(process: int, patience: float = 20.0) -> bool:
    """Whether it is gone soon."""
    end = time.monotonic() + patience
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < end:
            os.kill(process, 0)
            time.sleep(0.1)
        return False
    return True
