"""Statistics against values worked out by hand, and the stopping rules one by one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.bench.statistics import (
    STANDARD,
    Sampling,
    StopRule,
    collect,
    combine,
    median_ranks,
    quantile,
    summarize,
)


@pytest.mark.parametrize(
    ("n", "ranks"),
    [
        (5, None),  # P(all on one side) = 2/32 = 6.25 % > 5 %
        (6, (1, 6)),  # 2/64 = 3.1 %
        (10, (2, 9)),  # P(X <= 1) = 11/1024 = 1.07 %; P(X <= 2) = 56/1024 = 5.5 %
        (30, (10, 21)),  # the textbook row: 95.7 %
        (100, (40, 61)),  # 96.5 %
    ],
)
def test_median_ranks(n: int, ranks: tuple[int, int] | None) -> None:
    assert median_ranks(n) == ranks


def test_median_ranks_large_n_meets_the_normal_approximation() -> None:
    # lo = n/2 - 1.96 sqrt(n)/2: 2000 - 61.98 = 1938
    lo, hi = median_ranks(4000) or (0, 0)
    assert abs(lo - 1938) <= 1
    assert lo + hi == 4001


def test_summary_by_hand() -> None:
    # sorted 1 2 3 4 10: median 3, quartiles 2 and 4, mean 4, variance (9+4+1+0+36)/4 = 12.5
    s = summarize([10.0, 1.0, 4.0, 2.0, 3.0])
    assert (s.n, s.min, s.q1, s.median, s.q3, s.max, s.mean) == (5, 1, 2, 3, 4, 10, 4)
    assert s.std == pytest.approx(math.sqrt(12.5))
    assert s.rel_iqr == pytest.approx(2 / 3)
    assert (s.ci95_lo, s.ci95_hi) == (1, 10)  # too few for an interval: the range
    # thirds of one sample each: 10 first, 3 last
    assert s.drift == pytest.approx(-0.7)


def test_even_count_takes_the_middle_of_two() -> None:
    assert summarize([1.0, 2.0, 3.0, 4.0]).median == 2.5
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.25) == 1.75


def test_interval_is_order_statistics() -> None:
    s = summarize([float(i) for i in range(1, 31)])
    assert (s.ci95_lo, s.ci95_hi) == (10, 21)
    assert s.ci_half_width == pytest.approx(5.5 / 15.5)
    # thirds: median of 1..10 is 5.5, of 21..30 is 25.5
    assert s.drift == pytest.approx(25.5 / 5.5 - 1)


@pytest.mark.parametrize("bad", [[], [0.0], [-1.0], [float("nan")], [1.0, float("inf")]])
def test_bad_samples(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        summarize(bad)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=60), st.floats(0.1, 10))
def test_summary_is_ordered_and_scales(samples: list[float], factor: float) -> None:
    s, t = summarize(samples), summarize([x * factor for x in samples])
    assert s.min <= s.q1 <= s.median <= s.q3 <= s.max
    assert s.ci95_lo <= s.median <= s.ci95_hi
    assert t.median == pytest.approx(s.median * factor)
    assert t.rel_iqr == pytest.approx(s.rel_iqr, rel=1e-9, abs=1e-9)


def test_needs_both_samples_and_seconds() -> None:
    # 29 equal samples of 1 s: seconds are there, samples are not
    s = Sampling(StopRule(max_seconds=1000))
    for _ in range(29):
        s.add(1.0)
    assert s.verdict() == "more"
    s.add(1.0)
    assert s.verdict() == "converged"
    # 30 equal samples of 10 ms are 0.3 s: not yet 0.5
    t = collect(lambda: [0.01], StopRule(half_width=0.005))
    assert len(t.seconds) in (50, 51)
    assert t.verdict() == "converged"


def test_noise_settles() -> None:
    # two values in turn: the median's interval stays +-33 % wide, but std/mean settles at once
    values = iter([0.1, 0.2] * 100)
    s = collect(lambda: [next(values)], STANDARD)
    assert s.verdict() == "noise_settled"
    assert len(s.seconds) == 30


def test_gives_up_unconverged() -> None:
    # doubling samples: neither the interval nor the noise can settle
    values = iter(2.0**i for i in range(-20, 40))
    rule = StopRule(min_samples=8, min_seconds=0.0, noise_spread=0.001, max_seconds=15)
    s = collect(lambda: [next(values)], rule)
    assert s.verdict() == "not_converged"
    assert math.fsum(s.seconds) >= 15


def test_three_processes() -> None:
    # medians 10, 11, 12: headline 11, half range 1 -> 9.1 %; a wider interval inside a process wins
    assert combine([12.0, 10.0, 11.0], 0.01) == (11.0, pytest.approx(1 / 11))
    assert combine([10.0, 10.0, 10.0], 0.02) == (10.0, 0.02)
