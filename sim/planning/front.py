"""The Pareto front: what is best in no way worse than anything else."""

from collections.abc import Sequence

Point = tuple[float, ...]
"""Of each candidate what it takes, in every way that counts; less is better."""


def front(points: Sequence[Point]) -> list[bool]:
    """Of each point, whether no other is as good in everything and better in something."""
    return [not any(_dominates(other, point) for other in points) for point in points]


def _dominates(one: Point, other: Point) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
