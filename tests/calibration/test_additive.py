"""Additive models: the fit recovers what made the data, leaves lean on parents, parts sum to the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calibration.additive_support import gpu
from viewer.calibration import additive
from viewer.calibration.additive import Additive


def _terms(table: Any, _device: Any, structure: Any) -> dict[str, Any]:
    x = table["x"]
    return {"t0": np.ones_like(x), "line": np.ceil(x / structure["tile"]), "square": x * x / 1e3}


MODEL = Additive(
    _terms,
    lambda _table, _device: {"tile": (1.0, 16.0, 64.0)},
    lambda table, _device: np.where(table["y"] > 0, "b/1", "a/1"),
)


def _table(rows: int = 400, share_b: float = 0.5) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    return {"x": rng.uniform(1, 300, rows), "y": (rng.uniform(size=rows) < share_b) * 1.0}


def _truth(table: dict[str, Any]) -> Any:
    a = 5 + 0.7 * np.ceil(table["x"] / 16)
    b = 9 + 0.2 * np.ceil(table["x"] / 64) + 2.0 * table["x"] ** 2 / 1e3
    return np.where(table["y"] > 0, b, a) * 1e-6


def test_fit_recovers_the_constants_and_the_structure_of_each_leaf() -> None:
    table = _table()
    constants = additive.fit(MODEL, table, gpu(), _truth(table))
    _, structure, found = additive.node_of(constants, "a/1")
    assert structure == {"tile": 16.0}
    assert found["t0"] == pytest.approx(5, rel=0.02)
    assert found["line"] == pytest.approx(0.7, rel=0.02)
    assert additive.node_of(constants, "b/1")[1] == {"tile": 64.0}
    assert additive.predict(MODEL, table, gpu(), constants) == pytest.approx(_truth(table), rel=0.01)


def test_constants_are_never_negative() -> None:
    table = _table()
    falling = np.exp(-table["x"] / 100) * 1e-5  # no sum of growing terms can fall
    constants = additive.fit(MODEL, table, gpu(), falling)
    assert all(float(v) >= 0 for v in constants.values())


def test_an_unseen_leaf_takes_the_nearest_parent_and_then_the_root() -> None:
    table = {k: v[_table()["y"] == 0] for k, v in _table().items()}
    constants = additive.fit(MODEL, table, gpu(), _truth(table))
    assert additive.node_of(constants, "a/2")[0] == "a"
    assert additive.node_of(constants, "c/9")[0] == additive.ROOT
    assert additive.parents("gqa/128") == ["gqa", "any"]


def test_a_leaf_of_few_rows_stays_near_its_parent() -> None:
    table = _table(rows=200, share_b=0.04)  # about eight rows of b
    time_s = _truth({**table, "y": np.zeros(200)}) * np.where(table["y"] > 0, 1.3, 1.0)
    constants = additive.fit(MODEL, table, gpu(), time_s)
    b = additive.node_of(constants, "b/1")[2]
    assert 5 * 0.9 < b["t0"] + b["line"] * 8 < (5 + 0.7 * 8) * 1.3 * 1.1  # between the parent's and its own
    estimate = additive.predict(MODEL, table, gpu(), constants)
    rows = table["y"] > 0
    assert np.all(np.abs(estimate[rows] / time_s[rows] - 1) < 0.3)


def test_too_few_rows_raise_with_the_counts() -> None:
    with pytest.raises(ValueError, match="3 rows are too few"):
        additive.fit(MODEL, _table(3), gpu(), _truth(_table(3)))


def test_constants_without_any_node_raise_by_name() -> None:
    with pytest.raises(ValueError, match="a/1"):
        additive.node_of({"b.t0": 1.0}, "a/1")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(1, 1000), min_size=1, max_size=20))
def test_the_parts_of_a_time_sum_to_it(lengths: list[float]) -> None:
    constants = {"any.#tile": 16.0, "any.t0": 3.0, "any.line": 0.5, "any.square": 0.1}
    table = {"x": np.array(lengths), "y": np.zeros(len(lengths))}
    parts = additive.breakdown(MODEL, table, gpu(), constants)
    assert sum(parts.values()) == pytest.approx(additive.predict(MODEL, table, gpu(), constants))


def test_weights_decide_between_rows_that_disagree() -> None:
    columns = np.ones((20, 1))
    time_us = np.r_[np.full(10, 10.0), np.full(10, 20.0)]
    heavy_first = additive.nonnegative_fit(columns, time_us, weight=np.r_[np.full(10, 50.0), np.ones(10)])
    assert heavy_first[0] == pytest.approx(10, rel=0.05)
