"""Predictions of many kernels at once: bound, estimate, interval, label and note of every row.

Rows are grouped by hardware, op and the key columns of the op's model; each group is one vectorised call.
The class of a group is looked up in steps, each with its label and a wider interval:

    this device, this class            calibrated
    this device, a class alike         calibrated   (another version or library, or a format that runs alike)
    a device of the family             family       (its constants and its correction, this device's rates)
    no class                           uncalibrated (the defaults of the kernel model)

An estimate is never below the bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from viewer.calibration.base import BOUNDS, REGIMES, Device, FloatArray, KernelModel, Table, bound, regime
from viewer.calibration.lookup import Match, find_class
from viewer.calibration.smoother import correction
from viewer.calibration.store import Calibration, ClassFit

# Half width (log) of the 5-95 % interval where no class gives one, by label: from leave-one-device-out scores
# (family: mean error 5-11 %, 95th percentile about 25 %) and from M0 of untuned devices (uncalibrated).
DEFAULT_INTERVAL = {"calibrated": (-0.2, 0.25), "family": (-0.25, 0.3), "uncalibrated": (-0.6, 0.9)}
SISTER_WIDENING = 1.35  # another device with the same chip (H100 -> H200: 88 % of the rows inside)
FAMILY_WIDENING = 2.2  # another chip of the family (A100 -> RTX 3090: 44 % inside at 1.35)
OCTAVE_WIDENING = 0.25


@dataclass(frozen=True, slots=True)
class Estimates:
    """Arrays over rows: seconds, the code in BOUNDS, the code in REGIMES, the M2 rung; and what it rests on."""

    bound_s: FloatArray
    bound_code: NDArray[np.int64]
    regime: NDArray[np.int64]
    m2_s: FloatArray
    time_s: FloatArray
    low_s: FloatArray
    high_s: FloatArray
    label: str
    basis: str
    outside: NDArray[np.bool_]


def bounds_only(model: KernelModel, table: Table, device: Device) -> tuple[FloatArray, NDArray[np.int64]]:
    """Bound seconds and BOUNDS code of each row: rung M0 with maximum clocks and the L2."""
    return bound(model.work(table, device), device)


def _anchor_table(model: KernelModel, table: Table, fit: ClassFit) -> dict[str, object]:
    smoothing = fit.smoothing
    assert smoothing is not None
    rows = np.array(smoothing.anchors, dtype=float).reshape(len(smoothing.anchors), len(smoothing.columns))
    columns = {name: rows[:, i] for i, name in enumerate(smoothing.columns)}
    keys = {name: value for name, value in table.items() if not isinstance(value, np.ndarray)}
    measured = getattr(model, "anchor_keys", None)
    own = measured(fit.key, fit.constants) if measured is not None else {}
    return {"l2": np.full(len(rows), "cold"), **keys, **own, **columns}


def _physics(
    model: KernelModel, table: Table, device: Device, fit: ClassFit, want_features: bool
) -> tuple[FloatArray, FloatArray | None]:
    both = getattr(model, "m2_and_coordinates", None)
    if want_features and both is not None:
        m2_s, features = both(table, device, fit.constants)
        return m2_s, features
    m2_s = model.m2(table, device, fit.constants)
    return m2_s, model.coordinates(table, device, fit.constants, m2_s) if want_features else None


def corrected(
    model: KernelModel, table: Table, device: Device, fit: ClassFit, anchor_device: Device | None = None
) -> tuple[FloatArray, FloatArray]:
    """(M2, M3 before the cap at the bound) seconds; equal when the class has no measured correction.

    ``anchor_device`` is where the anchors were measured (a correction may be carried within a family).
    """
    if fit.smoothing is None or not fit.smoothing.alpha or not same_chip(device, anchor_device):
        m2_s, _ = _physics(model, table, device, fit, False)
        return m2_s, m2_s
    m2_s, features = _physics(model, table, device, fit, True)
    assert features is not None
    anchors = _physics(model, _anchor_table(model, table, fit), anchor_device or device, fit, True)[1]
    assert anchors is not None
    if anchors.shape[1] != features.shape[1]:
        return m2_s, m2_s  # stands in for a kernel of another kind: its deviations say nothing here
    return m2_s, m2_s * np.exp(correction(features, anchors, np.array(fit.smoothing.alpha)))


def _exact(table: Table, fit: ClassFit, columns: Sequence[str], time_s: FloatArray) -> FloatArray:
    """Replace rows that equal a measured point of the user's own calibration by its time."""
    if not fit.exact:
        return time_s
    known = {row[:-1]: row[-1] for row in fit.exact}
    shape = np.stack([np.asarray(table[name], dtype=float) for name in columns], axis=1)
    hits = [known.get(tuple(float(f"{v:.6g}") for v in row)) for row in shape]
    found = np.array([np.nan if hit is None else hit for hit in hits])
    return np.where(np.isnan(found), time_s, found)


def octaves_outside(table: Table, ranges: Mapping[str, tuple[float, float]], rows: int) -> FloatArray:
    """How many octaves each row lies outside the fitted range of its numeric columns (the largest one)."""
    worst = np.zeros(rows)
    for name, (low, high) in ranges.items():
        value = np.asarray(table.get(name, np.nan), dtype=float)
        with np.errstate(divide="ignore", invalid="ignore"):
            below = np.log2(low / value) if low > 0 else np.zeros_like(value)
            above = np.log2(value / high) if high > 0 else np.zeros_like(value)
        worst = np.fmax(worst, np.where(value > 0, np.fmax(below, above), 0.0))
    return worst


def same_chip(device: Device, other: Device | None) -> bool:
    """Equal architecture and core count: waves fall alike, so deviations from physics carry over."""
    return other is None or (device.architecture, device.core_count) == (other.architecture, other.core_count)


def interval(
    match: Match, codes: NDArray[np.int64], octaves: FloatArray, device: Device
) -> tuple[FloatArray, FloatArray]:
    """log(low / time) and log(high / time) of each row from its class, regime and distance from the data.

    From a device with the same chip x 1.35, from another of the family x 2.2, from another class of this
    device x 1.2; each octave outside the measured range adds 25 %.
    """
    fallback = DEFAULT_INTERVAL[match.label]
    table = match.fit.intervals if match.fit is not None else {}
    default = table.get("all", fallback)
    pairs = np.array([table.get(name, default) for name in REGIMES])
    widen = {"calibrated": 1.0 if match.exact_class else 1.2, "family": SISTER_WIDENING}.get(match.label, 1.0)
    if match.label == "family" and not same_chip(device, match.device):
        widen = FAMILY_WIDENING
    if match.label == "uncalibrated" or not match.same_formats:
        fallback = DEFAULT_INTERVAL["uncalibrated"]
        pairs = np.array([[min(p[0], fallback[0]), max(p[1], fallback[1])] for p in pairs])
    scale = widen * (1.0 + OCTAVE_WIDENING * octaves)
    return pairs[codes, 0] * scale, pairs[codes, 1] * scale


def power_limited(device: Device, measured: Device | None) -> Device:
    """The device as a transferred estimate should see it: peaks lowered where it has less power an operation.

    Constants measured on a sister hold her share of the peak at her watts. With fewer watts per peak
    operation the clock drops; power goes as clock^2 near the limit (voltage follows the clock), so

        peak' = peak sqrt(min(1, (tdp / peak) / (tdp / peak of the sister)))

    A30 after A100: (165 W / 165 TFLOP/s) / (400 / 312) -> 0.88. Bounds keep the full peak. An approximation.
    """
    if measured is None or measured.name == device.name or device.tdp_w <= 0 or measured.tdp_w <= 0:
        return device
    common = [t for t in ("bf16", "fp16", "fp8") if t in device.tensor_peak and t in measured.tensor_peak]
    if not common:
        return device
    watts = device.tdp_w / device.tensor_peak[common[0]]
    share = min(1.0, watts / (measured.tdp_w / measured.tensor_peak[common[0]])) ** 0.5
    return replace(device, tensor_peak={t: share * peak for t, peak in device.tensor_peak.items()})


def estimate_group(
    model: KernelModel, op: str, table: Table, device: Device, calibrations: Mapping[str, Calibration],
    smooth: bool = True,
) -> Estimates:  # fmt: skip
    """Estimates of the rows of one class (numeric columns are arrays of one length, text columns one value).

    ``smooth`` off stops at rung M2, with the intervals of that rung.
    """
    work = model.work(table, device)
    bound_s, code = bound(work, device)
    codes = regime(work, device)
    key = model.class_key(table)
    if not isinstance(key, str):
        raise TypeError(f"the {op} model must give one class a group, not {len(key)}")
    match = find_class(model, op, key, device, calibrations)
    if match.fit is not None and not smooth:
        plain = replace(match.fit, smoothing=None, exact=(), intervals=match.fit.m2_intervals)
        match = replace(match, fit=plain)
    fit = match.fit
    if fit is not None and "library" in table:
        table = {**table, "library": fit.key.split("|")[1]}  # its kernels, so its menu of tiles
    if fit is None:
        m2_s = model.m2(table, device, match.constants)
        time_s = m2_s
        octaves = np.zeros(len(bound_s))
    else:
        m2_s, time_s = corrected(model, table, power_limited(device, match.device), fit, match.device)
        octaves = octaves_outside(table, fit.ranges, len(bound_s))
    time_s = np.maximum(time_s, bound_s)
    if fit is not None and fit.exact:
        columns = getattr(model, "ANCHOR_COLUMNS", model.REQUIRED)
        time_s = _exact(table, fit, columns, time_s)
    low, high = interval(match, codes, octaves, device)
    low_s = np.minimum(np.maximum(time_s * np.exp(low), bound_s), time_s)
    return Estimates(bound_s, code, codes, m2_s, time_s, low_s, time_s * np.exp(high),
                     match.label, match.basis, octaves > 0.5)  # fmt: skip


def bound_names(codes: NDArray[np.int64]) -> NDArray[np.object_]:
    """BOUNDS names of codes."""
    return np.array(BOUNDS, dtype=object)[codes]
