"""Scores, folds and intervals."""

from __future__ import annotations

import numpy as np
import pytest

from viewer.calibration import scores
from viewer.calibration.base import Work
from viewer.calibration.devices import device

CHIP = device("nvidia/a100-sxm-80gb")


def test_scores_of_known_errors() -> None:
    one = scores.score(
        np.array([1.1, 0.8, 1.0]), np.ones(3), np.full(3, 0.9), np.full(3, 1.05), np.array([1.1, 1, 1])
    )
    assert one is not None
    # errors 10, 20, 0 %: mean 10, median 10, bias -3.3; measured 1 in [0.9, 1.05]; 1 < 1.1 x 0.97
    assert (one.mape, one.median, one.bias) == pytest.approx((0.1, 0.1, -1 / 30))
    assert (one.coverage, one.beats_bound) == (1.0, pytest.approx(1 / 3))
    assert scores.score(np.array([np.nan]), np.ones(1)) is None


def test_folds_keep_groups_whole() -> None:
    groups = scores.group_ids(
        {"n": np.array([1, 1, 2, 2, 3, 4.0]), "k": np.array([5, 5, 5, 6, 5, 5.0])}, ("n", "k"), 6
    )
    assert len(set(groups.tolist())) == 5
    fold = scores.folds(groups, 3)
    assert fold[0] == fold[1]
    assert set(fold.tolist()) == {0, 1, 2}
    assert scores.folds(groups, 50).max() == 4


def test_m1_recovers_its_constants() -> None:
    rng = np.random.default_rng(0)
    work = Work(10 ** rng.uniform(7, 13, 300), 312e12, 10 ** rng.uniform(4, 9, 300))
    compute, memory = work.flops / 312e12, work.bytes_ / CHIP.dram_bandwidth  # type: ignore[operator]
    time = scores.m1_seconds((4e-6, 0.75, 0.85), compute, memory)
    assert scores.fit_m1(work, CHIP, time) == pytest.approx((4e-6, 0.75, 0.85), rel=1e-3)


def test_intervals_cover_what_they_say() -> None:
    rng = np.random.default_rng(5)
    time = np.exp(rng.normal(0, 0.1, 2000))
    found = scores.interval_quantiles(np.ones(2000), time, np.ones(2000, dtype=int))
    low, high = found["memory"]
    inside = np.mean((np.log(time) >= low) & (np.log(time) <= high))
    assert 0.89 < inside < 0.95
    few = scores.interval_quantiles(np.ones(12), time[:12], np.ones(12, dtype=int))
    assert few["memory"][1] - few["memory"][0] > 0.1
