"""A training run as it really goes: its steps, its checkpoints, what interrupts it, and how it comes back.

Time is counted in seconds of steps at full speed (*work*). Single steps are not told apart: what is lost is counted
from the last checkpoint to the failure, which is right to one step.
"""

from dataclasses import dataclass

from sim.frameworks import Framework
from sim.models import Transformer, num_parameters
from sim.reliability.failures import NONE, Failures, Fleet
from topologies.quantity import DAY, GB, MINUTE

HOST_COPY = 50 * GB
"""Bytes a second from one GPU to the host's memory: PCIe 5.0 x16 has 64 GB/s a direction, of which copies reach some
50. An assumption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpointing:
    """What is written, how often, and over which wires.

    nbytes: the whole state (see `state_nbytes`); interval: seconds of work from one checkpoint to the next.
    storage_bandwidth: bytes a second of the storage in total; node_bandwidth: of one node's way to it.
    asynchronous: training stands still only for the copy to the host's memory, at `host_bandwidth` of each GPU; the
    checkpoint counts when it is written, and a next one waits until then.
    """

    nbytes: float
    interval: float
    storage_bandwidth: float
    node_bandwidth: float
    asynchronous: bool = False
    host_bandwidth: float = HOST_COPY

    def transfer_time(self, fleet: Fleet) -> float:
        """Seconds to write the state, or to read it: every node moves its share, each byte once."""
        return self.nbytes / min(self.storage_bandwidth, fleet.num_nodes * self.node_bandwidth)

    def block_time(self, fleet: Fleet) -> float:
        """Seconds that training stands still for one checkpoint."""
        if self.asynchronous:
            return self.nbytes / (fleet.num_gpus * self.host_bandwidth)
        return self.transfer_time(fleet)

    def write_time(self, fleet: Fleet) -> float:
        """Seconds from when training goes on until the checkpoint counts."""
        return self.transfer_time(fleet) if self.asynchronous else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """How a job comes back. All times in seconds.

    crash_detection: a process that dies is missed by torchrun's rendezvous after three missed beats of 5 s each.
    hang_detection: a collective that hangs is given up after PyTorch's 10 minutes for NCCL [pull request 110947].
    startup: to schedule, load and warm up, without reading the checkpoint: 5 minutes, the lower end of the 5 to 20 that
    Kokolis et al. 2024 name for all of a restart. repair: mean time until a node is back, an assumption.
    spares: nodes that stand by and replace another at once.
    """

    crash_detection: float = 15.0
    hang_detection: float = 10 * MINUTE
    startup: float = 5 * MINUTE
    repair: float = DAY
    spares: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stragglers:
    """GPUs that become slow and hold up all others; `rate` per second and node.

    slowdown: how many times as long a step takes with one. found_after: seconds until it is found; it is then replaced
    if a spare stands by, after a checkpoint; else it is looked at again after as long.
    """

    rate: float
    slowdown: float = 1.1
    found_after: float = DAY


NO_STRAGGLERS = Stragglers(rate=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """So many tokens in steps of known time on a fleet whose parts fail; ValueError if a number makes no sense."""

    fleet: Fleet
    step_time: float
    tokens_per_step: int
    tokens: int
    checkpointing: Checkpointing
    failures: Failures = NONE
    recovery: Recovery = Recovery()
    stragglers: Stragglers = NO_STRAGGLERS

    def __post_init__(self) -> None:
        for what, value in (
            ("num_gpus", self.fleet.num_gpus),
            ("step_time", self.step_time),
            ("tokens_per_step", self.tokens_per_step),
            ("tokens", self.tokens),
            ("checkpoint interval", self.checkpointing.interval),
            ("storage_bandwidth", self.checkpointing.storage_bandwidth),
            ("node_bandwidth", self.checkpointing.node_bandwidth),
        ):
            if not value > 0:
                raise ValueError(f"{what}={value} must be greater than 0")
        if self.stragglers.slowdown < 1:
            raise ValueError(f"slowdown={self.stragglers.slowdown} must be at least 1: 1.1 is a tenth slower")
        if self.recovery.spares < 0:
            raise ValueError(f"spares={self.recovery.spares} must be at least 0")

    @property
    def steps(self) -> int:
        return -(-self.tokens // self.tokens_per_step)

    @property
    def work(self) -> float:
        """Seconds that the run takes if nothing ever stops it."""
        return self.steps * self.step_time

    @property
    def start_time(self) -> float:
        """Seconds from a replaced node to the next step: start-up, and the checkpoint read."""
        return self.recovery.startup + self.checkpointing.transfer_time(self.fleet)


def state_nbytes(model: Transformer, framework: Framework) -> float:
    """Bytes of a checkpoint: weights and optimizer state of the whole model, each once, as the framework keeps them."""
    return num_parameters(model) * (framework.weight_nbytes + framework.optimizer_nbytes)
