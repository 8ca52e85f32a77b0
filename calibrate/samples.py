"""Samples: raw measurements of one operation on one part, as columns in SI units, each with the row it came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sim.costs.law import Array, Points
from topologies.document import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """`operation` as the laws name it ("gemm bf16"), `part` the GPU or link measured; `points` the inputs by name.

    `seconds` is what each point took, `rows` its line in the file, `source` where the measurements were published.
    A link is measured within a cluster: `gpu` and `fabric` say which, as `topologies.build` takes them, and the points
    have then the columns `num_nodes` and `gpus_per_node`. `hardware` holds the sheets of what no catalogue has, as
    `Machine.hardware` does.
    """

    operation: str
    part: str
    gpu: str = ""
    fabric: str = ""
    points: Points
    seconds: Array
    rows: NDArray[np.int64]
    source: str = ""
    hardware: Mapping[str, Value] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.seconds)

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Samples":
        """Those samples that an index array or mask picks."""
        points = {name: column[chosen] for name, column in self.points.items()}
        return replace(self, points=points, seconds=self.seconds[chosen], rows=self.rows[chosen])


def halves(samples: Samples, seed: int = 0, *, by: Sequence[str] = ()) -> tuple[Samples, Samples]:
    """Two random halves; points equal in the columns `by` (default: all inputs) stay together, so that a repeated shape
    is never fitted and scored."""
    names = tuple(by) or tuple(samples.points)
    table = np.column_stack([samples.points[name] for name in names])
    _, shape = np.unique(table, axis=0, return_inverse=True)
    shape = shape.reshape(-1)
    chosen = np.random.default_rng(seed).permutation(shape.max() + 1)[shape] % 2 == 0
    return samples.where(chosen), samples.where(~chosen)


def joined(parts: Sequence[Samples]) -> Samples:
    """Samples of one operation and part from several files in one, with the inputs that all of them tell."""
    first = parts[0]
    names = [name for name in first.points if all(name in part.points for part in parts)]
    points: Mapping[str, Array] = {name: np.concatenate([p.points[name] for p in parts]) for name in names}
    return replace(
        first,
        points=points,
        seconds=np.concatenate([p.seconds for p in parts]),
        rows=np.concatenate([p.rows for p in parts]),
        source="; ".join(dict.fromkeys(p.source for p in parts)),
    )
