"""Fit one kernel class: constants, measured correction, intervals and scores on left-out shape groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viewer.calibration import scores
from viewer.calibration.base import (
    TINY_S,
    Constants,
    Device,
    FloatArray,
    KernelModel,
    Table,
    bound,
    datasheet_roofline,
    regime,
)
from viewer.calibration.smoother import ANCHORS, CLIP, RIDGE, Relative, correction, fit_correction
from viewer.calibration.store import ClassFit, Smoothing

TINY_WEIGHT = 0.5
FOLDS = 5
FEW_GROUPS = 3
MOST_ROWS = 1800


@dataclass(frozen=True, slots=True)
class ClassData:
    """The measured rows of one class: a table (text columns one value each) and seconds."""

    op: str
    key: str
    table: Table
    time_s: FloatArray
    sources: tuple[str, ...] = ()


def take_rows(table: Table, rows: NDArray[Any]) -> dict[str, Any]:
    """Some rows of a table; single values stay."""
    return {k: v[rows] if isinstance(v, np.ndarray) and v.ndim else v for k, v in table.items()}


def _features(
    model: KernelModel, table: Table, device: Device, constants: Constants
) -> tuple[FloatArray, FloatArray]:
    both = getattr(model, "m2_and_coordinates", None)
    if both is not None:
        m2_s, x = both(table, device, constants)
        return m2_s, x
    m2_s = model.m2(table, device, constants)
    return m2_s, model.coordinates(table, device, constants, m2_s)


@dataclass(frozen=True, slots=True)
class Lender:
    """Another class whose deviations from physics resemble this one's: its rows, fit, device, and share."""

    data: ClassData
    device: Device
    constants: Constants
    share: float


def _lent(
    model: KernelModel, lenders: Sequence[Lender], forbidden: NDArray[np.float64] | None
) -> tuple[list[Relative], list[FloatArray]]:
    """Rows of the lenders without the shape groups that are left out, and their anchor columns."""
    lent, shapes = [], []
    for one in lenders:
        groups = _group_values(one.data.table, model.GROUP, len(one.data.time_s))
        keep = np.ones(len(groups), dtype=bool)
        if forbidden is not None:
            keep = ~(groups[:, None, :] == forbidden[None, :, :]).all(axis=2).any(axis=1)
        table = take_rows(one.data.table, np.flatnonzero(keep))
        time_s = one.data.time_s[keep]
        if not len(time_s):
            continue
        m2_s, x = _features(model, table, one.device, one.constants)
        weight = np.where(regime(model.work(table, one.device), one.device) == 0, TINY_WEIGHT, 1.0)
        lent.append(Relative(x, np.log(time_s / m2_s), weight, one.share))
        shapes.append(_shape(model, table, len(time_s)))
    return lent, shapes


def _group_values(table: Table, columns: tuple[str, ...], rows: int) -> FloatArray:
    return np.stack([np.broadcast_to(np.asarray(table[c], dtype=float), rows) for c in columns], axis=1)


def _shape(model: KernelModel, table: Table, rows: int) -> FloatArray:
    return _group_values(table, tuple(getattr(model, "ANCHOR_COLUMNS", model.REQUIRED)), rows)


def _smooth(
    model: KernelModel, x: FloatArray, m2_s: FloatArray, time_s: FloatArray, tiny: NDArray[np.bool_],
    relatives: Sequence[Relative] = (),
) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:  # fmt: skip
    settings: Mapping[str, float] = getattr(model, "SMOOTHING", {})
    weight = np.where(tiny, TINY_WEIGHT, 1.0)
    keep = np.arange(len(x))
    if len(x) > MOST_ROWS:  # the cost is cubic in the rows
        keep = np.sort(np.random.default_rng(0).permutation(len(x))[:MOST_ROWS])
    ratio = np.log(time_s[keep] / m2_s[keep])
    anchors, alpha, rows = fit_correction(
        x[keep], ratio, weight[keep], anchors=int(settings.get("anchors", ANCHORS)),
        ridge=float(settings.get("ridge", RIDGE)), clip=float(settings.get("clip", CLIP)), relatives=relatives,
    )  # fmt: skip
    own = rows < len(keep)
    return anchors, alpha, np.where(own, keep[np.minimum(rows, len(keep) - 1)], rows - len(keep) + len(x))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Predictions of each row by fits that have not seen its shape group (seconds)."""

    m0_s: FloatArray
    m1_s: FloatArray
    m2_s: FloatArray
    m3_s: FloatArray
    bound_s: FloatArray
    regime: NDArray[np.int64]


def left_out(
    model: KernelModel, data: ClassData, device: Device, groups: NDArray[np.int64], count: int = FOLDS,
    start: Constants | None = None, lenders: Sequence[Lender] = (),
) -> LeftOut:  # fmt: skip
    """Out-of-fold predictions of every rung; ``start`` replaces a fit that has too few rows."""
    work = model.work(data.table, device)
    compute_s, memory_s = datasheet_roofline(work, device)
    bound_s = bound(work, device)[0]
    codes = regime(work, device)
    tiny = np.maximum(compute_s, memory_s) < TINY_S
    rows = len(data.time_s)
    m1_s, m2_s, m3_s = (np.full(rows, np.nan) for _ in range(3))
    fold = scores.folds(groups, count)
    for one in range(int(fold.max()) + 1 if rows else 0):
        test, train = np.flatnonzero(fold == one), np.flatnonzero(fold != one)
        if len(train) < 3:
            continue
        part = take_rows(data.table, train)
        m1 = scores.fit_m1(model.work(part, device), device, data.time_s[train])
        m1_s[test] = scores.m1_seconds(m1, compute_s[test], memory_s[test])
        constants = _constants(model, part, device, data.time_s[train], start)
        all_m2, x = _features(model, data.table, device, constants)
        unseen = np.unique(_group_values(data.table, model.GROUP, rows)[test], axis=0)
        lent, _ = _lent(model, lenders, unseen)
        anchors, alpha, _ = _smooth(model, x[train], all_m2[train], data.time_s[train], tiny[train], lent)
        m2_s[test] = all_m2[test]
        m3_s[test] = all_m2[test] * np.exp(correction(x[test], anchors, alpha))
    return LeftOut(np.maximum(compute_s, memory_s), m1_s, m2_s, np.maximum(m3_s, bound_s), bound_s, codes)


def _constants(
    model: KernelModel, table: Table, device: Device, time_s: FloatArray, start: Constants | None
) -> Constants:
    try:
        return model.fit(table, device, time_s)
    except ValueError:
        if start is None:
            raise
        return start


def fit_class(
    model: KernelModel, data: ClassData, device: Device, *, count: int = FOLDS, start: Constants | None = None,
    keep_points: bool = False, lenders: Sequence[Lender] = (),
) -> ClassFit:  # fmt: skip
    """The calibration of one class, with its scores on left-out groups.

    A measured correction that does not lower the left-out error is dropped; fewer than three shape groups
    are scored by leaving out rows. ``keep_points`` stores the measured rows too, so that they are returned
    exactly (a user's own data).
    Raises ValueError when the class has too few rows and no ``start`` constants.
    """
    rows = len(data.time_s)
    groups = scores.group_ids(data.table, model.GROUP, rows)
    found = int(groups.max()) + 1
    if found < FEW_GROUPS:
        groups = np.arange(rows, dtype=np.int64)  # rows are left out instead of groups; the intervals widen
    outside = left_out(model, data, device, groups, count, start, lenders)
    constants = _constants(model, data.table, device, data.time_s, start)
    m2_s, x = _features(model, data.table, device, constants)
    tiny = outside.regime == 0
    lent, shapes = _lent(model, lenders, None)
    _, alpha, anchors = _smooth(model, x, m2_s, data.time_s, tiny, lent)
    columns = tuple(getattr(model, "ANCHOR_COLUMNS", model.REQUIRED))
    shape = _shape(model, data.table, rows)
    everyone = np.concatenate([shape, *shapes])
    use = _mean_error(outside.m3_s, data.time_s) <= _mean_error(outside.m2_s, data.time_s)
    stretch = 1.05 if found >= FEW_GROUPS else 1.6
    quantiles = _quantiles(outside.m3_s if use else outside.m2_s, data.time_s, outside.regime, stretch)
    return ClassFit(
        key=data.key,
        op=data.op,
        constants=constants,
        m1=scores.fit_m1(model.work(data.table, device), device, data.time_s),
        points=rows,
        groups=found,
        sources=data.sources,
        intervals=quantiles,
        m2_intervals=_quantiles(outside.m2_s, data.time_s, outside.regime, stretch),
        ranges=_ranges(shape, columns),
        scores=_ladder(outside, data.time_s, quantiles),
        smoothing=Smoothing(columns, _rows(everyone[anchors]), tuple(float(f"{a:.5g}") for a in alpha))
        if use
        else None,
        exact=_rows(np.column_stack([shape, data.time_s])) if keep_points else (),
    )


def _rows(values: FloatArray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(f"{v:.6g}") for v in row) for row in np.nan_to_num(values, nan=-1.0))


def _mean_error(predicted_s: FloatArray, time_s: FloatArray) -> float:
    """Mean relative error of the rows that were left out once; infinite without any."""
    good = np.isfinite(predicted_s)
    return float(np.mean(np.abs(predicted_s[good] / time_s[good] - 1))) if good.any() else float("inf")


def _quantiles(
    predicted_s: FloatArray, time_s: FloatArray, codes: NDArray[np.int64], stretch: float
) -> dict[str, tuple[float, float]]:
    good = np.isfinite(predicted_s)
    if not good.any():
        return {}
    return scores.interval_quantiles(predicted_s[good], time_s[good], codes[good], stretch)


def _ranges(shape: FloatArray, columns: Sequence[str]) -> dict[str, tuple[float, float]]:
    out = {}
    for i, name in enumerate(columns):
        values = shape[:, i]
        values = values[np.isfinite(values) & (values > 0)]
        if len(values) and name != "weight_copies":
            out[name] = (float(values.min()), float(values.max()))
    return out


def _ladder(
    outside: LeftOut, time_s: FloatArray, quantiles: Mapping[str, tuple[float, float]]
) -> dict[str, dict[str, float]]:
    out = {}
    for name, predicted in (
        ("M0", outside.m0_s),
        ("M1", outside.m1_s),
        ("M2", outside.m2_s),
        ("M3", outside.m3_s),
    ):
        good = np.isfinite(predicted)
        if good.any():
            out[name] = scores.as_percent(
                scores.by_regime(predicted[good], time_s[good], outside.regime[good])
            )
    if "M3" in out and quantiles:
        beats = float(np.mean(time_s < outside.bound_s * (1 - scores.BEATS)))
        out["M3"]["beats_bound"] = round(100 * beats, 2)
    return out


def renamed(fit: ClassFit, key: str) -> ClassFit:
    """The same fit under another class key."""
    return replace(fit, key=key)
