"""Passes that cost what a reader can add up: a fixed time, and so much per token and per key in the cache."""

from collections.abc import Sequence
from dataclasses import dataclass

from sim.serving.passes import Shape, Stage, Steady


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """Each of `num_stages` stages takes fixed + per_token x tokens + per_key x keys, all times `speed`."""

    fixed: float = 0.01
    per_token: float = 0.0
    per_key: float = 0.0
    host_seconds: float = 0.0
    send: float = 0.0
    num_stages: int = 1
    speed: float = 1.0

    def host(self, num_seqs: int) -> float:
        return self.host_seconds * self.speed

    def stages(self, shape: Shape) -> tuple[Stage, ...]:
        alone = 0 if shape.num_decodes else shape.num_tokens
        prefill = self.per_token * (shape.num_tokens - shape.num_decodes - alone) * self.speed
        compute = (self.fixed + self.per_token * (shape.num_decodes + alone)) * self.speed
        attention = self.per_key * shape.context * self.speed
        last = self.num_stages - 1
        return tuple(
            Stage(compute, attention, prefill, 0.0, 0.0, 0.0, 0.0, self.send * self.speed if stage < last else 0.0)
            for stage in range(self.num_stages)
        )

    def together(self, shapes: Sequence[Shape]) -> list[tuple[Stage, ...]]:
        return [self.stages(shape) for shape in shapes]

    def decodes(self, num_decodes: int, context: int, num_passes: int, longest: int = 0) -> Steady:
        contexts = [context + num_decodes * step for step in range(num_passes)]
        attention = [self.per_key * each * self.speed for each in contexts]
        return Steady(self.stages(Shape(num_decodes, context)), [attention] * self.num_stages)


def one_by_one(steady: Steady) -> list[list[Stage]]:
    """The stages of each pass."""
    return [
        [stage._replace(attention=seconds) for stage, seconds in zip(steady.stages, column, strict=True)]
        for column in zip(*steady.attention, strict=True)
    ]
