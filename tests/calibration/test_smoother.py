"""The measured correction: it follows the data, forgets far away, ignores outliers, stays small."""

from __future__ import annotations

import numpy as np
import pytest

from viewer.calibration.smoother import Relative, correction, fit_correction, matern


def test_matern_is_a_correlation() -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    gram = matern(x, x)
    assert np.diag(gram) == pytest.approx(np.ones(40))
    assert np.linalg.eigvalsh(gram).min() > 0
    # distance 1: (1 + sqrt 3) exp(-sqrt 3) = 0.4834
    assert matern(np.zeros((1, 1)), np.ones((1, 1)))[0, 0] == pytest.approx(0.4833577, abs=1e-6)


def _data(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(1).uniform(-2, 2, size=(n, 2))
    return x, 0.2 * np.sin(2 * x[:, 0]) + 0.1 * x[:, 1]


def test_it_predicts_left_out_points_and_fades_far_away() -> None:
    x, z = _data()
    anchors, alpha, rows = fit_correction(x[:250], z[:250], np.ones(250), ridge=0.05)
    left_out = correction(x[250:], anchors, alpha)
    assert np.abs(left_out - z[250:]).mean() < 0.02
    assert abs(correction(np.array([[60.0, 60.0]]), anchors, alpha)[0]) < 1e-6
    assert len(rows) == len(alpha) <= 250


def test_few_anchors_lose_little() -> None:
    x, z = _data()
    full = correction(x[250:], *fit_correction(x[:250], z[:250], np.ones(250), ridge=0.05)[:2])
    few = correction(x[250:], *fit_correction(x[:250], z[:250], np.ones(250), ridge=0.05, anchors=60)[:2])
    assert np.abs(few - full).max() < 0.05


def test_an_outlier_does_not_bend_its_neighbours() -> None:
    x, z = _data()
    bent = z.copy()
    bent[7] += 0.45
    plain = correction(x, *fit_correction(x, z, np.ones(len(z)))[:2])
    robust = correction(x, *fit_correction(x, bent, np.ones(len(z)))[:2])
    assert np.abs(robust - plain)[np.arange(len(z)) != 7].max() < 0.1


def test_a_relative_helps_where_the_class_has_no_points() -> None:
    x, z = _data()
    near, far = x[:, 0] < 0, x[:, 0] >= 0.3
    own = (x[near], z[near], np.ones(near.sum()))
    alone = correction(x[far], *fit_correction(*own)[:2])
    lender = Relative(x, z, np.ones(len(z)), 0.9)
    lent = correction(x[far], *fit_correction(*own, relatives=[lender])[:2])
    assert np.abs(lent - z[far]).mean() < 0.6 * np.abs(alone - z[far]).mean()
