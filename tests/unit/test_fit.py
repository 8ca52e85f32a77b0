"""Fitting finds what made the samples, bears outliers, and says honestly how wide it is."""

from dataclasses import replace

import numpy as np
import pytest

import topologies
from calibrate.fit import best_values, cross_validated, fit, fitted, half_widths
from calibrate.fitting import Fitted, Left, fit_all
from calibrate.samples import Samples, halves
from sim.costs.law import fit_of
from sim.costs.laws import KERNEL_LAWS
from tests.samples import TOY, TRUTH, toy_samples
from topologies.document import InputError
from topologies.hardware import Fit

H100 = topologies.gpu("h100-80gb-sxm")


def test_without_noise_the_parameters_that_made_the_samples_are_found() -> None:
    found = best_values(H100, TOY, toy_samples(H100))
    assert found == pytest.approx(TRUTH, rel=1e-3)


def test_one_sample_in_ten_that_took_ten_times_as_long_moves_nothing() -> None:
    samples = toy_samples(H100, noise=0.02)
    samples.seconds[::10] *= 10
    assert best_values(H100, TOY, samples) == pytest.approx(TRUTH, rel=0.03)


def test_the_truth_lies_in_the_intervals_of_the_parameters_four_times_in_five() -> None:
    """80 % of 40 is 32; a binomial count lies between 24 and 39 with a probability above 99 %."""
    inside = 0
    for seed in range(20):
        samples = toy_samples(H100, noise=0.05, seed=seed)
        values = best_values(H100, TOY, samples)
        widths = half_widths(H100, TOY, samples, values)
        inside += sum(abs(values[name] - TRUTH[name]) <= widths[name] for name in TRUTH)
    assert 24 <= inside <= 39


def test_the_spread_holds_four_fifths_of_new_points() -> None:
    made = fit(H100, TOY, toy_samples(H100, noise=0.05, count=1000))
    fresh = toy_samples(H100, noise=0.05, count=1000, seed=7)
    off = np.log(fresh.seconds / TOY.seconds(H100, made.values, fresh.points))
    assert made.spread is not None
    assert 0.75 < np.mean((off >= made.spread[0]) & (off <= made.spread[1])) < 0.85


def test_a_shape_measured_twice_is_never_fitted_and_scored() -> None:
    samples = toy_samples(H100, count=50)
    twice = samples.where(np.repeat(np.arange(50), 2))
    one, other = halves(twice, by=TOY.inputs)
    shapes = [{tuple(row) for row in np.column_stack(list(half.points.values()))} for half in (one, other)]
    assert not shapes[0] & shapes[1]
    assert len(one) + len(other) == 100


def test_the_same_seed_gives_the_same_fit() -> None:
    samples = toy_samples(H100, noise=0.05)
    assert fit(H100, TOY, samples, seed=3) == fit(H100, TOY, samples, seed=3)


def test_left_out_points_are_all_there_once() -> None:
    samples = toy_samples(H100, noise=0.05)
    assert len(cross_validated(H100, TOY, samples)) == len(samples)
    assert len(fitted(H100, TOY, samples)[1]) == len(samples)


def test_what_has_no_law_or_few_points_is_left_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = toy_samples(H100, count=30)
    assert isinstance(next(fit_all([samples])), Left)
    monkeypatch.setitem(KERNEL_LAWS, TOY.operation, TOY)  # type: ignore[arg-type]
    assert isinstance(next(fit_all([samples])), Fitted)
    few = next(fit_all([toy_samples(H100, count=5)]))
    assert isinstance(few, Left)
    assert "too few" in few.reason


def test_gradients_are_fitted_after_the_forward_products_that_they_rest_on() -> None:
    """A run's own forward fit is laid over the GPU first: here it is 20 % slower than the shipped one."""
    random = np.random.default_rng(0)
    points = {name: np.exp2(random.integers(9, 13, 24)).astype(np.float64) for name in ("m", "n", "k")}
    layouts = {**points, "layout": 1.0 + np.arange(24) % 2}
    forward, gradients = KERNEL_LAWS["gemm bf16"], KERNEL_LAWS["gemm gradients"]
    slower = {**fit_of(H100, forward).values, "rate": fit_of(H100, forward)["rate"] / 1.2}
    gpu = replace(H100, fits={"gemm bf16": replace(fit_of(H100, forward), values=slower)})
    truth = {"input_gradient": 0.9, "weight_gradient": 0.7}
    samples = [
        Samples(operation=law.operation, part=H100.name, points=columns, seconds=law.seconds(gpu, values, columns),
                rows=np.arange(24))
        for law, values, columns in ((gradients, truth, layouts), (forward, slower, points))
    ]  # fmt: skip
    first, second = fit_all(samples)
    assert isinstance(first, Fitted)
    assert isinstance(second, Fitted)
    assert (first.operation, second.operation) == ("gemm bf16", "gemm gradients")
    assert second.fit.values == pytest.approx(truth, rel=0.02)


def test_a_fit_of_another_version_is_refused_in_words() -> None:
    old = Fit(values={"rate": 0.7}, sources={}, origin="interpolated", part="h100-80gb-sxm")
    with pytest.raises(InputError, match="the fit of gemm toy has no launch: another version made it"):
        fit_of(replace(H100, fits={TOY.operation: old}), TOY)


def test_a_parameter_that_samples_say_nothing_of_stays_where_it_was() -> None:
    """Products of 8 x 8 x 8 take a millionth of a launch: they tell of the launch alone."""
    samples = toy_samples(H100)
    points = {name: np.full(len(samples), 8.0) for name in ("m", "n", "k")}
    tiny = replace(samples, points=points, seconds=TOY.seconds(H100, TRUTH, points))
    found = best_values(H100, TOY, tiny, start={"rate": 0.5, "launch": 20.0})
    assert found == pytest.approx({"rate": 0.5, "launch": TRUTH["launch"]}, rel=1e-3)


def test_a_curve_along_a_size_is_not_told_by_few_values_of_it() -> None:
    """Six weights say how the sizes of the tokens bend a product, not how those of the weights do."""
    law, tokens = KERNEL_LAWS["gemm bf16"], np.tile(np.geomspace(1, 4096, 20).round(), 6)
    points = {"m": tokens, "n": np.repeat([1024.0, 2048, 3072, 4096, 6144, 8192], 20), "k": np.full(120, 4096.0)}
    seconds = law.seconds(H100, {**fit_of(H100, law).values, "n": 1.2, "m": 1.1}, points)
    samples = Samples(operation=law.operation, part=H100.name, points=points, seconds=seconds, rows=np.arange(120))
    start = {**fit_of(H100, law).values, "n": 1.0, "m": 1.0}
    found = best_values(H100, law, samples, start=start)
    assert found["n"] == pytest.approx(1.0, abs=1e-3)
    assert abs(found["m"] - 1.0) > 0.01
    assert list(found) == list(law.parameters)
