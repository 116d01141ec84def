"""Runs of a margin: exact ends, several stretches, open ends; against a plain loop on random margins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.whatif.roots import real_root, real_runs, whole_runs


def test_one_end_above_the_dense_part():
    # n <= 1e6 + 0.25 holds up to 1 000 000; only 1..100 are looked at one by one
    found = whole_runs(lambda n: 1e6 + 0.25 - n, 1, 10**9, dense=100)
    (run,) = found.runs
    assert (run.first, run.last, run.stop) == (1, 1_000_000, 1_000_000.25)
    assert run.open_low
    assert not run.open_high
    assert found.monotone
    assert found.scanned == 100


def test_two_stretches_are_two():
    # (n - 3)(n - 7) >= 0 below 3 and above 7
    found = whole_runs(lambda n: (n - 3) * (n - 7), 0, 50)
    assert [(r.first, r.last) for r in found.runs] == [(0, 3), (7, 50)]
    assert not found.monotone


def test_nowhere_and_everywhere():
    assert whole_runs(lambda n: -1.0 - n, 0, 10**9).runs == ()
    (run,) = whole_runs(lambda n: n + 0.0, 0, 10**9).runs
    assert run.open_low
    assert run.open_high


def test_real_root_is_the_float_that_holds():
    # x^2 >= 2 from below: the smallest float with x * x >= 2
    root = real_root(lambda x: x * x - 2.0, 1.0, 2.0)
    assert root * root >= 2.0
    below = np.nextafter(root, 0.0)
    assert below * below < 2.0


def test_real_runs_of_a_hyperbola():
    # 5/x <= 0.1 from x = 50 on
    (run,) = real_runs(lambda x: 0.1 - 5.0 / x, 1e-6, 1e6).runs
    assert run.start == pytest.approx(50.0, rel=1e-15)
    assert run.open_high


@given(st.lists(st.integers(0, 400), min_size=1, max_size=6, unique=True), st.integers(1, 200), st.booleans())
def test_equals_a_plain_loop(roots, low, flip):
    roots = sorted(roots)

    def margin(values):
        sign = np.ones_like(values)
        for root in roots:
            sign = sign * np.where(values > root + 0.5, -1.0, 1.0)
        return -sign if flip else sign

    found = whole_runs(margin, low, 600)
    held = {n for n in range(low, 601) if float(margin(np.array([float(n)]))[0]) >= 0}
    covered = {n for r in found.runs for n in range(int(r.first), int(r.last) + 1)}
    assert covered == held
