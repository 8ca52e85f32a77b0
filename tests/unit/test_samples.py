"""Samples: halves, joins, and our own layout on disk."""

import numpy as np

import topologies
from calibrate.importers.table import table_of
from calibrate.importers.written import read, write
from calibrate.samples import Samples, halves, joined
from tests.samples import toy_samples

H100 = topologies.gpu("h100-80gb-sxm")


def test_halves_are_about_equal_disjoint_and_together_everything() -> None:
    samples = toy_samples(H100, count=101)
    one, other = halves(samples, seed=4)
    assert sorted([*one.rows, *other.rows]) == sorted(samples.rows)
    assert abs(len(one) - len(other)) <= 1


def test_joined_samples_are_all_of_them_and_name_every_source() -> None:
    samples = toy_samples(H100, count=10)
    both = joined([samples, samples])
    assert len(both) == 20
    assert both.source == "toy"


def test_samples_written_and_read_again_are_the_same() -> None:
    samples = toy_samples(H100, noise=0.1, count=20)
    table = table_of(write([samples]), "samples.csv")
    (again,) = read(table, None)
    assert (again.operation, again.part, again.source) == (samples.operation, samples.part, samples.source)
    np.testing.assert_allclose(again.seconds, samples.seconds, rtol=1e-5)
    for name, column in samples.points.items():
        np.testing.assert_array_equal(again.points[name], column)


def test_joined_samples_have_the_inputs_that_all_of_them_tell() -> None:
    """A run tells which kernel attended, a trace does not."""
    told, untold = (
        Samples(
            operation="attention forward", part="h200-sxm", points={name: np.ones(1) for name in names},
            seconds=np.ones(1), rows=np.ones(1, np.int64),
        )
        for names in (("batch", "kernel"), ("batch",))
    )  # fmt: skip
    for parts in ([told, untold], [untold, told]):
        assert {name: len(column) for name, column in joined(parts).points.items()} == {"batch": 2}
