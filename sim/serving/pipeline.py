"""The GPUs of a replica: passes go through the pipeline's stages in order, each stage one pass at a time.

A stage begins when its work has come and the pass before is done: end[b][s] = max(end[b][s-1] + send, end[b-1][s]) + t.
No formula for the bubble: it is what this leaves.
"""

from collections.abc import Sequence

from sim.serving.attribution import Split
from sim.serving.passes import Stage

STRAGGLER = Stage._fields.index("straggler")
SEND = Stage._fields.index("send")


class Pipeline:
    """When each stage is `free`, and for how long each rank's stages were `busy`: ranks x stages. `is_serial`: the
    first stage begins when the last one is done with the pass before."""

    def __init__(self, num_ranks: int, num_stages: int, *, is_serial: bool = False) -> None:
        self.is_serial = is_serial
        self.free = [0.0] * num_stages
        self.busy = [[0.0] * num_stages for _ in range(num_ranks)]

    def run(self, ranks: Sequence[Sequence[Stage]], ready: float) -> float:
        """When a pass that is ready then leaves the last stage; every stage takes as long as its slowest rank."""
        free = self.free
        if self.is_serial:
            ready = max(ready, free[-1])
        for stage, begins in enumerate(free):
            longest = send = 0.0
            for busy, stages in zip(self.busy, ranks, strict=True):
                seconds = sum(stages[stage]) - stages[stage].send
                busy[stage] += seconds
                longest = max(longest, seconds)
                send = max(send, stages[stage].send)
            free[stage] = max(ready, begins) + longest
            ready = free[stage] + send
        return ready


def splits(ranks: Sequence[Sequence[Stage]]) -> list[Split]:
    """Each rank's seconds by the fields of Stage, its waiting for slower ranks among the straggler's."""
    if len(ranks) == 1:
        (stages,) = ranks
        return [total(stages)]
    longest = sum(max(stage.seconds for stage in column) for column in zip(*ranks, strict=True))
    return [waiting(total(stages), longest) for stages in ranks]


def waiting(split: Split, longest: float) -> Split:
    """A rank's pass in lock-step with others, the slowest stages of which take `longest` together."""
    compute, attention, prefill, tp, cp, ep, straggler, send = split
    own = sum(split) - send
    return compute, attention, prefill, tp, cp, ep, straggler + longest - own, send


def total(stages: Sequence[Split]) -> Split:
    """Seconds of all stages together."""
    if len(stages) == 1:
        return stages[0]
    compute, attention, prefill, tp, cp, ep, straggler, send = map(sum, zip(*stages, strict=True))
    return compute, attention, prefill, tp, cp, ep, straggler, send
