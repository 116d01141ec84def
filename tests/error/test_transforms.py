"""Bias correction, scale migration, channel splitting, rounding."""

from __future__ import annotations

import numpy as np
import pytest

from viewer.error.integers import quantize_integer
from viewer.error.transforms import (
    bias_correction,
    choose_rounding,
    feedback_round,
    hessian_sensitivity,
    migration_scales,
    split_outlier_channels,
    stochastic_round,
)
from viewer.errors import InputError


def _layer() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((24, 48))
    mixed = rng.standard_normal((256, 48)) @ (np.eye(48) + 0.5 * rng.standard_normal((48, 48)))
    return weight, mixed + 0.7


def test_bias_correction_restores_the_mean_output() -> None:
    weight, inputs = _layer()
    coarse = quantize_integer(weight, 3)
    shift = bias_correction(weight, coarse, inputs.mean(axis=0))
    before = (inputs @ weight.T).mean(axis=0)
    np.testing.assert_allclose((inputs @ coarse.T - shift).mean(axis=0), before, atol=1e-9)
    assert np.abs(shift).max() > 0.01


def test_migration_by_hand_and_without_change_of_the_product() -> None:
    # channel 0: sqrt(16 / 1) = 4, channel 1: sqrt(1 / 4) = 0.5, channel 2 has no range: 1
    weight = np.array([[1.0, -4.0, 0.0], [0.5, 2.0, 0.0]])
    scales = migration_scales(weight, np.array([16.0, 1.0, 3.0]), 0.5)
    np.testing.assert_allclose(scales, [4, 0.5, 1])
    x = np.array([[16.0, 1.0, 3.0]])
    np.testing.assert_allclose((x / scales) @ (weight * scales).T, x @ weight.T)
    # alpha 1/2 gives both sides the same range per channel: sqrt(16 * 1) = 4, sqrt(1 * 4) = 2
    np.testing.assert_allclose((np.abs(x) / scales)[0, :2], np.abs(weight * scales).max(axis=0)[:2])
    with pytest.raises(InputError, match="strength"):
        migration_scales(weight, np.ones(3), 1.5)


def test_migration_helps_when_a_channel_sticks_out() -> None:
    weight, inputs = _layer()
    inputs[:, 5] *= 50
    target = inputs @ weight.T

    def error(scales: np.ndarray) -> float:
        a, w = quantize_integer(inputs / scales, 8), quantize_integer(weight * scales, 8)
        return float(np.square(a @ w.T - target).mean())

    assert error(migration_scales(weight, np.abs(inputs).max(axis=0))) < error(np.ones(48)) / 3


def test_splitting_keeps_the_product_halves_the_range_and_costs() -> None:
    weight, inputs = _layer()
    weight[3, 7] = 40.0
    wide, sources, cost = split_outlier_channels(weight, 0.02)
    # ceil(0.02 * 48) = 1 channel more: 49 / 48
    assert wide.shape == (24, 49)
    assert cost == pytest.approx(49 / 48)
    assert np.abs(wide).max() == pytest.approx(20.0)
    np.testing.assert_allclose(inputs[:, sources] @ wide.T, inputs @ weight.T)
    # the same channel is split again while it is the largest: 40 / 3
    assert np.abs(split_outlier_channels(weight, 2 / 48)[0]).max() == pytest.approx(40 / 3)
    assert split_outlier_channels(weight, 0.0)[2] == 1.0


def test_stochastic_rounding_is_unbiased_and_twice_as_noisy() -> None:
    x = np.random.default_rng(0).uniform(0, 100, 400_000)
    y = stochastic_round(x, np.random.default_rng(1))
    assert (y - x).mean() == pytest.approx(0, abs=0.003)
    # E[f (1 - f)] = 1/6 against 1/12 for rounding to nearest
    assert np.square(y - x).mean() == pytest.approx(1 / 6, rel=0.01)
    assert np.square(np.rint(x) - x).mean() == pytest.approx(1 / 12, rel=0.01)


def test_feedback_rounding_lowers_the_output_error_not_the_weight_error() -> None:
    weight, inputs = _layer()
    nearest, fed = quantize_integer(weight, 3), feedback_round(weight, inputs, 3)

    def output_error(w: np.ndarray) -> float:
        return float(np.square(inputs @ (w - weight).T).sum())

    assert output_error(fed) < 0.7 * output_error(nearest)
    assert np.square(fed - weight).sum() > np.square(nearest - weight).sum()
    best, name = choose_rounding(weight, inputs, 3)
    assert name == "feedback"
    np.testing.assert_array_equal(best, fed)


def test_feedback_rounding_of_white_inputs_is_nearest() -> None:
    # H = I: nothing to compensate
    weight, _ = _layer()
    np.testing.assert_allclose(feedback_round(weight, np.eye(48), 4), quantize_integer(weight, 4), atol=1e-12)


def test_hessian_sensitivity_by_hand() -> None:
    # trace 3 * (0.5^2 + 1^2) = 3.75
    assert hessian_sensitivity(3.0, np.array([1.0, 2.0]), np.array([1.5, 1.0])) == pytest.approx(3.75)
