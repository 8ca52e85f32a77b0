"""The pipeline's messages: an action waits for its input, and hands its output to the rank of the stage that takes it.

Activations go forward, their gradients backward; of weight gradients nothing goes anywhere. Between two stages of one
rank nothing is sent: it does them in the right order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from sim.instructions import Block, Record, Transfer, Wait
from sim.layers.context import Pass
from sim.program import COMPUTE
from sim.schedules import Kind, Schedule

_FLOW: Mapping[Kind, str] = {"F": "F", "B": "B", "I": "B"}
"""Which way the output of an action goes."""


@dataclass(frozen=True, kw_only=True)
class Messages:
    """Messages of `nbytes`, to the rank at the same place of another pipeline rank, `stride` ranks further for each.

    `may_overlap`: the framework can send beside its compute.
    """

    schedule: Schedule
    stride: int
    nbytes: float
    may_overlap: bool

    def awaited(self, kind: Kind, stage: int) -> Block:
        """What an action waits for before it computes."""
        flow = _FLOW.get(kind)
        source = self._previous(flow, stage) if flow else None
        if source is None or self._is_own(source, stage):
            return ()
        return (Wait(f"input {flow}{stage}"),)

    def handed_over(self, rank: int, kind: Kind, stage: int) -> Pass:
        """What the rank does with an action's output: its compute stream sends it, or a stream of its own does."""
        flow = _FLOW.get(kind)
        target = self._next(flow, stage) if flow else None
        if flow is None or target is None or self._is_own(target, stage):
            return {}
        send = Transfer(
            name=f"send {flow}",
            axis="pp",
            peer=rank % self.stride + self.schedule.homes[target] * self.stride,
            flag=f"input {flow}{target}",
            nbytes=self.nbytes,
        )
        if not self.beside:
            return {COMPUTE: (send,)}
        ready = f"output {flow}{stage}"
        return {COMPUTE: (Record(ready),), f"send {flow}": (Wait(ready), send)}

    @cached_property
    def beside(self) -> bool:
        """Where a rank has one stage, and whole backward passes (GPipe, 1F1B), it goes on once the message is gone."""
        halves = any(action.kind == "I" for action in self.schedule.rows[0])
        several = len(self.schedule.homes) > self.schedule.num_ranks
        return self.may_overlap and (halves or several)

    def _is_own(self, one: int, other: int) -> bool:
        return self.schedule.homes[one] == self.schedule.homes[other]

    def _next(self, flow: str, stage: int) -> int | None:
        """The stage that takes the output: the next one forward, the one before backward."""
        return self.schedule.after(stage) if flow == "F" else self.schedule.before(stage)

    def _previous(self, flow: str, stage: int) -> int | None:
        return self.schedule.before(stage) if flow == "F" else self.schedule.after(stage)
