"""What came of running real blocks: whether each equals its reference, how long it took, how long it was to take."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from calibrate.machines.machine import Machine
from calibrate.records import machine_record
from calibrate.verification.sizes import Sizes
from calibrate.verification.spans import RealSpan
from sim.reports.tables import Row, table
from sim.timeline import Timeline
from topologies.quantity import percent, seconds

COLUMNS = ("block", "equal", "measured", "predicted", "error", "spread", "largest error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One block as the ranks ran it. `errors` are the largest of any tensor on any rank by precision, relative to the
    tensor's largest number; `tolerances` what they may be at most.

    `times` are the repetitions at `sizes`, each its slowest rank's, in seconds; `spans` are of another, recorded one.
    """

    name: str
    summary: str
    errors: Mapping[str, float]
    tolerances: Mapping[str, float]
    sizes: Sizes
    times: tuple[float, ...]
    spans: tuple[RealSpan, ...]

    @property
    def equal(self) -> bool:
        """Whether it gives what the reference gives, in every precision."""
        return all(error <= self.tolerances[precision] for precision, error in self.errors.items())

    @property
    def why(self) -> str:
        """By how much it does not: "fp32: 2e-02 off, 1e-05 allowed"."""
        beyond = {name: error for name, error in self.errors.items() if not error <= self.tolerances[name]}
        return "; ".join(
            f"{name}: {told(error)}, {self.tolerances[name]:.0e} allowed" for name, error in beyond.items()
        )

    @property
    def max_error(self) -> float:
        """In the finest precision, which is checked first."""
        return next(iter(self.errors.values()))

    @property
    def measured(self) -> float:
        """Seconds: the median."""
        return median(self.times)


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A block that so many ranks cannot run, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A block that ran, beside the same run as the simulator plays it."""

    ran: Ran
    played: Timeline

    @property
    def error(self) -> float:
        """predicted/measured - 1."""
        return self.played.duration / self.ran.measured - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """All blocks on one machine; `profile` is the file that the predictions rest on. Where ranks share a GPU, equality
    counts, and times do not."""

    machine: Machine
    profile: str
    num_ranks: int
    blocks: tuple[Verified, ...]
    skipped: tuple[Skipped, ...] = field(default=())
    shares_gpu: bool = False

    @property
    def unequal(self) -> tuple[Ran, ...]:
        """The blocks that do not give what their reference gives."""
        return tuple(one.ran for one in self.blocks if not one.ran.equal)


def record(verification: Verification) -> Mapping[str, object]:
    """Everything as data, in SI units."""
    return {
        "machine": machine_record(verification.machine),
        "profile": verification.profile,
        "ranks": verification.num_ranks,
        "shares_gpu": verification.shares_gpu,
        "blocks": [block_record(one) for one in verification.blocks],
        "skipped": [{"name": one.name, "reason": one.reason} for one in verification.skipped],
    }


def block_record(one: Verified) -> Mapping[str, object]:
    """One block as data."""
    ran = one.ran
    return {
        "name": ran.name,
        "equal": ran.equal,
        "max_error": _finite(ran.max_error),
        "measured_s": ran.measured,
        "predicted_s": one.played.duration,
        "error": one.error,
        "spread_s": [min(ran.times), max(ran.times)],
        "repeats": len(ran.times),
        "max_errors": {precision: _finite(error) for precision, error in ran.errors.items()},
    }


def _finite(error: float) -> float | None:
    """None where the two sides cannot be compared: a tensor is missing, or no number."""
    return error if math.isfinite(error) else None


def render(verification: Verification, width: int | None) -> str:
    """As text: a line for each block, then what they come to."""
    rows = [Row(cells=cells(one), record={}) for one in verification.blocks]
    skipped = "".join(f"left out: {one.name}: {one.reason}\n" for one in verification.skipped)
    return table(COLUMNS, rows, width) + skipped + "".join(f"\n{line}\n" for line in sentences(verification))


def cells(one: Verified) -> tuple[str, ...]:
    """A block's line of a table."""
    ran = one.ran
    return (
        ran.name,
        "yes" if ran.equal else "NO",
        seconds(ran.measured),
        seconds(one.played.duration),
        signed(one.error),
        f"{seconds(min(ran.times))} to {seconds(max(ran.times))}",
        told(ran.max_error),
    )


def told(error: float) -> str:
    """How far a tensor is off, relative to its largest number."""
    return f"{error:.2g}" if math.isfinite(error) else "not comparable"


def signed(error: float) -> str:
    """An error with its sign: +3.1 %."""
    return ("+" if error >= 0 else "") + percent(error)


def sentences(verification: Verification) -> Sequence[str]:
    """What the table says, and what it rests on."""
    blocks, machine = verification.blocks, verification.machine
    equal = sum(one.ran.equal for one in blocks)
    said = [f"{equal} of {len(blocks)} blocks equal their reference, forward and backward."]
    if verification.shares_gpu:
        return [*said, f"The {verification.num_ranks} ranks share GPUs, so that their times say nothing."]
    if blocks:
        errors = [abs(one.error) for one in blocks]
        said.append(f"Predicted times are {percent(median(errors))} off in the median, {percent(max(errors))} at most.")
    who = f"{verification.num_ranks} processes on a processor" if machine.is_cpu else f"{verification.num_ranks} GPUs"
    precision = "fp32" if machine.is_cpu else "bf16"
    said.append(
        f"Measured in {precision} on {who} ({machine.device}), the slowest rank, the median of the repetitions; "
        f"predicted by the simulator with {verification.profile}, which was measured on this machine."
    )
    return said
