"""Whole tables: predict every row, calibrate a device from its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from viewer.calibration import fitting
from viewer.calibration.base import REGIMES, Constants, Device, KernelModel
from viewer.calibration.devices import device as device_by_name
from viewer.calibration.grouping import Group, Problem, groups
from viewer.calibration.lookup import find_class, shipped_by_hardware
from viewer.calibration.predict import bound_names, bounds_only, estimate_group
from viewer.calibration.registry import model_for
from viewer.calibration.store import Calibration, ClassFit
from viewer.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

ADDED = ("bound_us", "estimate_us", "low_us", "high_us", "bound")
"""Columns that predict adds; then ``label``, ``basis`` and ``note``."""


def predict_frame(
    frame: pd.DataFrame, *, calibrations: Mapping[str, Calibration] | None = None, hardware: str | None = None,
    rung: str = "M3",
) -> pd.DataFrame:  # fmt: skip
    """The table with rows, order and columns kept and the prediction added, in microseconds.

    Adds bound_us, estimate_us, low_us, high_us, bound (resource name), label, basis, regime and note. A row
    that cannot be predicted keeps empty cells and a note. ``rung`` "M0" stops at the bound, "M2" leaves the
    measured correction out. Raises InputError when the table has no ``op`` or ``hardware``.
    """
    book = shipped_by_hardware() if calibrations is None else calibrations
    rows = len(frame)
    numbers = {name: np.full(rows, np.nan) for name in ADDED[:4]}
    texts = {name: np.full(rows, "", dtype=object) for name in ("bound", "label", "basis", "regime", "note")}
    for group in groups(frame, hardware):
        if isinstance(group, Problem):
            texts["note"][group.rows] = group.note
            continue
        if rung == "M0":
            bound_s, codes = bounds_only(group.model, group.table, group.device)
            numbers["bound_us"][group.rows] = bound_s * 1e6
            texts["bound"][group.rows] = bound_names(codes)
            continue
        _fill(group, book, rung, numbers, texts)
    if "note" in frame:
        old = frame["note"].fillna("").astype(str).to_numpy(object)
        texts["note"] = np.where(texts["note"] == "", old, texts["note"])
    import pandas as pd

    # Object columns: letting pandas infer a string type costs more than the whole of rung M0.
    added: dict[str, Any] = {name: pd.Series(values, index=frame.index) for name, values in numbers.items()}
    added |= {name: pd.Series(values, index=frame.index, dtype=object) for name, values in texts.items()}
    return frame.assign(**added)


def _fill(
    group: Group, book: Mapping[str, Calibration], rung: str,
    numbers: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]],
    texts: dict[str, np.ndarray[tuple[int], np.dtype[np.object_]]],
) -> None:  # fmt: skip
    e = estimate_group(group.model, group.op, group.table, group.device, book, smooth=rung != "M2")
    time_s = e.time_s
    at = group.rows
    numbers["bound_us"][at], numbers["estimate_us"][at] = e.bound_s * 1e6, time_s * 1e6
    numbers["low_us"][at], numbers["high_us"][at] = e.low_s * 1e6, e.high_s * 1e6
    texts["bound"][at] = bound_names(e.bound_code)
    texts["regime"][at] = np.array(REGIMES, dtype=object)[e.regime]
    texts["label"][at], texts["basis"][at] = e.label, e.basis
    wide = "outside the measured range: interval widened"
    texts["note"][at] = np.where(e.outside, wide, "")


def class_data(frame: pd.DataFrame, hardware: str) -> tuple[list[fitting.ClassData], list[str]]:
    """The measured rows of a device by class (time_us > 0), and notes on what was left out."""
    if "time_us" not in frame:
        raise InputError("the table has no column 'time_us' to calibrate with")
    import pandas as pd

    time = pd.to_numeric(frame["time_us"], errors="coerce").to_numpy(float)
    good = np.isfinite(time) & (time > 0)
    measured = frame[good].reset_index(drop=True)
    time = time[good]
    if "hardware" in measured:
        from hardware_specs import resolve

        mine = measured["hardware"].map(_same(resolve, hardware)).to_numpy(bool)
        measured, time = measured[mine].reset_index(drop=True), time[mine]
    notes = [] if len(measured) else [f"no measured rows of {hardware}"]
    collected: dict[tuple[str, str], list[Group]] = {}
    for group in groups(measured, hardware):
        if isinstance(group, Problem):
            notes.append(f"{len(group.rows)} rows left out: {group.note}")
            continue
        key = group.model.class_key(group.table)
        name = key if isinstance(key, str) else str(key[0])
        collected.setdefault((group.op, name), []).append(group)
    return [_joined(op, key, parts, measured, time) for (op, key), parts in sorted(collected.items())], notes


def _same(resolve: Callable[[str], str], hardware: str) -> Callable[[object], bool]:
    known: dict[str, bool] = {}

    def check(name: object) -> bool:
        text = str(name)
        if text not in known:
            try:
                known[text] = text == hardware or resolve(text) == hardware
            except ValueError:
                known[text] = False
        return known[text]

    return check


def _joined(
    op: str, key: str, parts: Sequence[Group], measured: pd.DataFrame, time: np.ndarray
) -> fitting.ClassData:
    table = dict(parts[0].table)
    for name, value in table.items():
        if isinstance(value, np.ndarray):
            table[name] = np.concatenate([np.asarray(part.table[name]) for part in parts])
    rows = np.concatenate([part.rows for part in parts])
    sources: tuple[str, ...] = ()
    columns = [c for c in ("source", "series") if c in measured]
    if columns:
        names = measured.iloc[rows][columns].fillna("").astype(str).agg(" ".join, axis=1).str.strip()
        sources = tuple(sorted(set(names) - {""}))[:12]
    return fitting.ClassData(op, key, table, time[rows] * 1e-6, sources)


class _Lending:
    """Classes of a table that lend their rows to others, each fitted once."""

    def __init__(self, frame: pd.DataFrame, device: Device, own: Sequence[fitting.ClassData]) -> None:
        self.device = device
        self.pool: list[tuple[Device, fitting.ClassData]] = [(device, one) for one in own]
        self.fitted: dict[tuple[str, str, str], Constants | None] = {}
        names = set(frame["hardware"].astype(str)) if "hardware" in frame else set()
        for name in sorted(names):
            other = _sister(name, device)
            if other is not None:
                self.pool += [(other, one) for one in class_data(frame, other.name)[0]]

    def to(self, model: KernelModel, data: fitting.ClassData) -> list[fitting.Lender]:
        """The lenders of a class, by its model's ``share`` (a model without one borrows nothing)."""
        share = getattr(model, "share", None)
        out: list[fitting.Lender] = []
        for device, other in self.pool if share is not None else ():
            if other.op != data.op or (device.name == self.device.name and other.key == data.key):
                continue
            part = share(data.key, self.device, other.key, device) if share is not None else 0.0
            constants = self._constants(model, device, other) if part > 0 else None
            if constants is not None:
                out.append(fitting.Lender(other, device, constants, part))
        return out

    def _constants(self, model: KernelModel, device: Device, data: fitting.ClassData) -> Constants | None:
        name = (device.name, data.op, data.key)
        if name not in self.fitted:
            try:
                self.fitted[name] = model.fit(data.table, device, data.time_s)
            except ValueError:
                self.fitted[name] = None
        return self.fitted[name]


def _sister(name: str, device: Device) -> Device | None:
    """Another device of the same architecture, or None."""
    try:
        other = device_by_name(name)
    except ValueError:
        return None
    return other if other.name != device.name and other.architecture == device.architecture else None


def calibrate_frame(
    frame: pd.DataFrame, hardware: str, *, created: str, command: str, keep_points: bool = False,
    folds: int = fitting.FOLDS, progress: Callable[[str], None] | None = None,
) -> tuple[Calibration, list[str]]:  # fmt: skip
    """A calibration of one device from its measured rows, and notes (classes skipped, rows left out).

    A class of too few rows takes the constants of the class that stands for it and a measured correction.
    """
    device = device_by_name(hardware)
    data, notes = class_data(frame, device.name)
    lent = _Lending(frame, device, data)
    fits: list[ClassFit] = []
    for one in data:
        model = model_for(one.op)
        start = find_class(model, one.op, one.key, device, shipped_by_hardware()).constants
        try:
            fit = fitting.fit_class(
                model,
                one,
                device,
                count=folds,
                start=start,
                keep_points=keep_points,
                lenders=lent.to(model, one),
            )
        except (ValueError, np.linalg.LinAlgError) as error:
            notes.append(f"{one.op} {one.key}: not fitted ({error})")
            continue
        fits.append(fit)
        if progress is not None:
            m2, m3 = (fit.scores.get(r, {}).get("non_tiny", float("nan")) for r in ("M2", "M3"))
            progress(
                f"{one.op} {one.key}: {fit.points} points, {fit.groups} groups, left out M2 {m2} M3 {m3} %"
            )
    return Calibration(device.name, created, command, tuple(fits)), notes
