"""Which of many processes this one is: torchrun, mpirun and srun start them, and each tells it in its own variables.

One process for each GPU; rank 0 listens at an address where all others find it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from topologies.document import InputError, shorten

LOOPBACK_ADDRESS: Final = "127.0.0.1"
_FIRST_PORT, _NUM_PORTS = 20_000, 10_000
"""Below those that Linux gives to clients; a job takes the one that its number says."""
_RANGE = re.compile(r"\[([^\],-]+)[^\]]*\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`local_rank` counts the processes of this node; rank 0 listens at `address` and `port`."""

    launcher: str
    rank: int
    num_ranks: int
    local_rank: int
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class _Names:
    """What a launcher calls a process's rank, the number of ranks, and the rank within its node; `is_sure` where a rank
    alone says that it started the process."""

    launcher: str
    rank: str
    num_ranks: str
    local_rank: str
    is_sure: bool = True


_TORCHRUN: Final = _Names("torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK")
_OTHERS: Final = (
    _Names("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    _Names("mpirun", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
    _Names("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", is_sure=False),
)


def rank_from_environment(environ: Mapping[str, str]) -> Place | None:
    """The place that a launcher gave this process; None where none did, or it started this one alone.

    The innermost launcher counts: torchrun within srun, mpirun within a Slurm job. A batch script of Slurm has a
    SLURM_PROCID too, though nobody started it as a rank: only steps of srun have a number of tasks of their own.

    Raises InputError where only some variables of a launcher are set, or they contradict each other.
    """
    if any(name in environ for name in (_TORCHRUN.rank, _TORCHRUN.num_ranks, _TORCHRUN.local_rank)):
        rank, num_ranks, local_rank = _numbers(environ, _TORCHRUN)
        port = _number(environ, "MASTER_PORT", _TORCHRUN)
        return Place(
            launcher=_TORCHRUN.launcher,
            rank=rank,
            num_ranks=num_ranks,
            local_rank=local_rank,
            address=_text(environ, "MASTER_ADDR", _TORCHRUN),
            port=port,
        )
    names = _launcher(environ)
    if names is None or environ.get(names.num_ranks, "").strip() == "1":
        return None
    return _joined(environ, names)


def _launcher(environ: Mapping[str, str]) -> _Names | None:
    """The first that set all of its variables; else one that set some: srun sets PMI's too, but for one of them."""
    found = [names for names in _OTHERS if names.num_ranks in environ or (names.is_sure and names.rank in environ)]
    whole = (names for names in found if {names.rank, names.num_ranks, names.local_rank} <= environ.keys())
    return next(whole, found[0] if found else None)


def _joined(environ: Mapping[str, str], names: _Names) -> Place:
    """By a launcher that leaves the meeting point to its programs."""
    rank, num_ranks, local_rank = _numbers(environ, names)
    given = "MASTER_PORT" in environ
    return Place(
        launcher=names.launcher,
        rank=rank,
        num_ranks=num_ranks,
        local_rank=local_rank,
        address=environ.get("MASTER_ADDR") or _first_host(environ, names, num_ranks),
        port=_number(environ, "MASTER_PORT", names) if given else _port(environ),
    )


def _numbers(environ: Mapping[str, str], names: _Names) -> tuple[int, int, int]:
    """Rank, number of ranks, rank within the node."""
    rank, num_ranks, local = (_number(environ, name, names) for name in (names.rank, names.num_ranks, names.local_rank))
    if not (rank < num_ranks and local <= rank):
        raise InputError(
            f"{names.rank}={rank}, {names.num_ranks}={num_ranks} and {names.local_rank}={local} contradict each other; "
            f"let {names.launcher} set them, or unset all three to start without it"
        )
    return rank, num_ranks, local


def _number(environ: Mapping[str, str], name: str, names: _Names) -> int:
    text = _text(environ, name, names)
    if not text.isdecimal():
        raise InputError(f"{name}={shorten(text)} is not a number; let {names.launcher} set it, or unset it")
    return int(text)


def _text(environ: Mapping[str, str], name: str, names: _Names) -> str:
    text = environ.get(name, "").strip()
    if text:
        return text
    found = [n for n in (names.rank, names.num_ranks, names.local_rank, "MASTER_ADDR", "MASTER_PORT") if n in environ]
    raise InputError(
        f"{', '.join(found)} set, but not {name}; {names.launcher} sets all of them: "
        f"start by it, or unset {'it' if len(found) == 1 else 'them'} to start without"
    )


def _first_host(environ: Mapping[str, str], names: _Names, num_ranks: int) -> str:
    """Where rank 0 runs: on the first host of a Slurm step or job; on this one where all ranks do.

    mpirun starts the first host's ranks itself and lets srun start its daemons on the others, so that only these have a
    step, whose list lacks the first host [open-mpi/ompi#3999]: its ranks go by the job's list.
    """
    lists = ("SLURM_STEP_NODELIST",) * (names.launcher == "srun") + ("SLURM_JOB_NODELIST", "SLURM_NODELIST")
    hosts = next((environ[name] for name in lists if environ.get(name)), "")
    if hosts:
        return first_host(hosts)
    if environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == str(num_ranks) or environ.get("MPI_LOCALNRANKS") == str(num_ranks):
        return LOOPBACK_ADDRESS
    raise InputError(f"{names.launcher}: on which host rank 0 runs is not known; set MASTER_ADDR to its name")


def first_host(hosts: str) -> str:
    """The first name of a list as Slurm writes it: `n001` of `n[001-004,007],m1`."""
    return _RANGE.sub(r"\1", hosts).split(",")[0]


def _port(environ: Mapping[str, str]) -> int:
    """One for each job, so that two on one host do not meet; the same on all its ranks."""
    job = environ.get("SLURM_JOB_ID") or environ.get("OMPI_MCA_ess_base_jobid") or environ.get("PMIX_NAMESPACE") or ""
    return _FIRST_PORT + int("".join(filter(str.isdecimal, job)) or 0) % _NUM_PORTS
