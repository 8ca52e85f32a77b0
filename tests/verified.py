"""Blocks as if they had been run: the ranks did what the simulator plays, a tenth more slowly."""

from collections.abc import Iterator

from calibrate.machines.machine import cluster_of
from calibrate.verification.ladder import LADDER, fitted
from calibrate.verification.predicted import predicted
from calibrate.verification.spans import RealSpan
from calibrate.verification.verified import Ran, Skipped, Verification, Verified
from sim.timeline import KINDS, NO_ACTION, Timeline
from tests.processor import CPU

SLOWER = 1.1
LAYER, PIPELINE = "tensor-parallel mlp", "pipeline 1f1b"


def verification(*names: str, error: float = 3e-7) -> Verification:
    """These blocks on two processes of a processor, each so far from its reference; one more fits nowhere."""
    return Verification(
        machine=CPU,
        profile="calibration-cpu/profile.yaml",
        num_ranks=2,
        blocks=tuple(verified(name, error=error) for name in names),
        skipped=(Skipped(name="ulysses", reason="3 ranks do not divide heads=4"),),
    )


def verified(name: str, error: float = 3e-7) -> Verified:
    sizes, cluster = fitted(LADDER[0], 2), cluster_of(CPU, {})
    played = predicted(name, sizes, cluster)
    time = SLOWER * played.duration
    ran = Ran(
        name=name,
        summary="what it is",
        errors={"fp32": error, "bf16": 1e-2},
        tolerances={"fp32": 1e-5, "bf16": 4e-2},
        sizes=sizes,
        times=(0.9 * time, time, 1.2 * time),
        spans=tuple(spans_of(played)),
    )
    return Verified(ran=ran, played=played)


def spans_of(played: Timeline) -> Iterator[RealSpan]:
    """Each action of a pipeline as one span, as its blocks record it; kernels and collectives as they are."""
    actions: dict[tuple[int, str], tuple[float, float]] = {}
    for row, start in enumerate(played.start.tolist()):
        label, track, end = played.labels[played.label[row]], played.tracks[played.track[row]], played.end[row].item()
        if label.is_stall:
            continue
        stage, kind, microbatch = played.stage[row], played.kind[row], played.microbatch[row]
        if stage.max() == played.stage.max() == 0 or kind == NO_ACTION or track.stream != "compute":
            yield RealSpan(track.rank, track.stream, label.name, SLOWER * start, SLOWER * end)
        else:
            key = track.rank, f"{stage}{KINDS[kind]}{microbatch}"
            first, _ = actions.get(key, (start, end))
            actions[key] = first, end
    for (rank, name), (start, end) in actions.items():
        yield RealSpan(rank, "compute", name, SLOWER * start, SLOWER * end)
