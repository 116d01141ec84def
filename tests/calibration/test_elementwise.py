"""Elementwise kernels: bytes by hand, kinds, a fit of known constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calibration.additive_support import gpu
from viewer.calibration import elementwise


def _table(kind: str, rows: Any, width: Any) -> dict[str, Any]:
    r, w = np.broadcast_arrays(np.asarray(rows, dtype=float), np.asarray(width, dtype=float))
    texts = {"kind": kind, "act_format": "fp16", "launch": "in_model", "library": "", "l2": "cold"}
    return {"rows": np.atleast_1d(r).copy(), "width": np.atleast_1d(w).copy(), **texts}


def test_bytes_of_kinds() -> None:
    # 10 rows of 100 values of 2 bytes: add reads two and writes one (6000), a norm 4000
    assert elementwise.moved_bytes(_table("add", 10, 100)) == pytest.approx([6000])
    assert elementwise.moved_bytes(_table("rmsnorm", 10, 100)) == pytest.approx([4000])
    assert elementwise.moved_bytes({**_table("silu_mul", 10, 100), "act_format": "fp32"}) == pytest.approx(
        [12000]
    )


def test_unknown_kind_is_named_with_the_allowed_ones() -> None:
    reason = elementwise.check(_table("rmsnrm", 1, 1), gpu())
    assert "rmsnrm" in reason
    assert "rmsnorm" in reason
    assert elementwise.check(_table("rmsnorm", 1, 1), gpu()) == ""


def test_terms_by_hand() -> None:
    # 900 rows of 1000 on 100 cores x 2: 5 waves; B = 3.6 MB: 3.6 us at 1 TB/s, 36 % of the L2: none lost
    terms = elementwise.terms(_table("rope", 900, 1000), gpu(), {"occ": 2, "ramp": 0.5})
    assert terms["wave"] == pytest.approx([5])
    assert terms["line"] == pytest.approx([5])
    assert terms["dram"] == pytest.approx([3.6])
    assert terms["miss"] == pytest.approx([0])
    assert "row" not in elementwise.terms(_table("rmsnorm", 900, 1000), gpu(), {"occ": 2, "ramp": 0.5})


def test_fit_recovers_a_bandwidth_and_a_floor() -> None:
    rng = np.random.default_rng(0)
    table = _table("add", rng.integers(1, 30000, 400), rng.choice([2048.0, 4096.0, 8192.0], 400))
    truth = 3e-6 + 1.25 * elementwise.moved_bytes(table) / 1e12
    found = elementwise.fit(table, gpu(), truth)
    unseen = _table("add", [5000, 20000], 5120)
    expected = 3e-6 + 1.25 * elementwise.moved_bytes(unseen) / 1e12
    assert elementwise.m2(unseen, gpu(), found) == pytest.approx(expected, rel=0.03)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 10**6), st.integers(1, 10**5), st.sampled_from(sorted(elementwise.VECTOR_FLOPS)))
def test_defaults_grow_with_rows(rows: int, width: int, kind: str) -> None:
    table = _table(kind, [rows, 2 * rows], width)
    low, high = elementwise.m2(table, gpu(), elementwise.FAMILY_DEFAULTS["any"])
    assert 0 < low <= high
