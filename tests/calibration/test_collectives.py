"""Collectives: ring bytes by hand, limits of the curve, ranks between fitted ones, a known fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calibration.additive_support import gpu
from viewer.calibration import base, collectives

TRUTH = {
    "2.a0": 6.0,
    "2.a1": 5.0,
    "2.e1": 0.3,
    "2.a2": 15.0,
    "2.e2": 0.7,
    "8.a0": 12.0,
    "8.a1": 9.0,
    "8.e1": 0.25,
    "8.a2": 30.0,
    "8.e2": 0.75,
}


def _table(op: str, ranks: Any, size: Any) -> dict[str, Any]:
    r, s = np.broadcast_arrays(np.asarray(ranks, dtype=float), np.asarray(size, dtype=float))
    return {
        "op": op,
        "library": "nccl-2.27.3",
        "ranks": np.atleast_1d(r).copy(),
        "bytes": np.atleast_1d(s).copy(),
    }


def test_ring_bytes() -> None:
    # 8 ranks, 800 bytes: all-reduce 2*7/8*800 = 1400, the others 700
    eight, size = np.array([8.0]), np.array([800.0])
    assert collectives.ring_bytes("all_reduce", eight, size) == pytest.approx([1400])
    assert collectives.ring_bytes("all_gather", eight, size) == pytest.approx([700])


def test_bound_of_a_large_gather_is_the_link() -> None:
    # 8e9 bytes over 8 ranks: 7e9 through a link of 100e9: 70 ms
    bound_s, code = base.bound(collectives.work(_table("all_gather", 8, 8e9), gpu()), gpu())
    assert bound_s == pytest.approx([0.07])
    assert base.BOUNDS[int(code[0])] == "link"


def test_in_switch_reduction_lowers_the_bound_of_all_reduce_only_where_it_exists() -> None:
    ring = collectives.work(_table("all_reduce", 8, 8e9), gpu("ampere")).link_bytes
    switch = collectives.work(_table("all_reduce", 8, 8e9), gpu("hopper")).link_bytes
    assert ring == pytest.approx([14e9])
    assert switch == pytest.approx([8e9])


def test_large_messages_reach_the_fitted_share_of_the_link() -> None:
    # 7e9 bytes at 0.75 * 100 GB/s = 93.33 ms and 39 us of start
    assert collectives.m2(_table("all_gather", 8, 8e9), gpu(), TRUTH) == pytest.approx([7e9 / 75e9 + 39e-6])


def test_small_messages_cost_the_floor() -> None:
    # (12^4 + 9^4)^(1/4) = (20736 + 6561)^(1/4) = 12.854 us
    assert collectives.m2(_table("all_gather", 8, 8), gpu(), TRUTH) == pytest.approx([12.854e-6], rel=1e-3)


def test_four_ranks_lie_between_two_and_eight() -> None:
    two, four, eight = collectives.m2(_table("all_gather", [2, 4, 8], 1024), gpu(), TRUTH)
    assert two < four < eight
    assert collectives.m2(_table("all_gather", 16, 8), gpu(), TRUTH) == pytest.approx([12.854e-6], rel=1e-2)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(collectives.OPS), st.integers(2, 16), st.floats(1, 1e10), st.floats(1.01, 10))
def test_more_bytes_never_take_less_time(op: str, ranks: int, size: float, factor: float) -> None:
    low, high = collectives.m2(_table(op, ranks, [size, size * factor]), gpu(), TRUTH)
    assert 0 < low <= high


def test_fit_recovers_the_curve() -> None:
    sizes = 2.0 ** np.arange(9, 30)
    table = _table("all_gather", np.repeat([2.0, 8.0], len(sizes)), np.tile(sizes, 2))
    time_s = collectives.m2(table, gpu(), TRUTH)
    found = collectives.fit(table, gpu(), time_s)
    between = _table("all_gather", 8, 2.0 ** np.arange(9.5, 29))
    assert collectives.m2(between, gpu(), found) == pytest.approx(
        collectives.m2(between, gpu(), TRUTH), rel=0.03
    )


def test_too_few_sizes_and_a_device_without_links_are_said() -> None:
    with pytest.raises(ValueError, match="five sizes"):
        collectives.fit(_table("all_gather", 8, [1e3, 1e6]), gpu(), np.array([1e-5, 1e-4]))
    assert "no link" in collectives.check(_table("all_gather", 8, 1), gpu(links={}))
