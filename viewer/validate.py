"""Predicted against measured: errors by hardware, op, format and regime, with the lower rungs beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from viewer.calibration import scores
from viewer.calibration.base import REGIMES, bound, datasheet_roofline, regime
from viewer.calibration.grouping import Group, Problem, groups
from viewer.calibration.lookup import find_class, shipped_by_hardware
from viewer.calibration.predict import bound_names, estimate_group
from viewer.calibration.store import Calibration
from viewer.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

GROUPS = ("hardware", "op", "format", "library")
NON_TINY = "non_tiny"


@dataclass(frozen=True, slots=True)
class Validation:
    """Scores of a table of measured kernels.

    ``rows``: one row a measured kernel (measured and predicted seconds of every rung, interval, bound,
    regime, class). ``scores``: one row a group (hardware, op, format, library, or ``all``) and regime.
    ``beats``: the rows that beat the bound by more than 3 %. ``skipped``: notes and their row counts.
    """

    rows: pd.DataFrame
    scores: pd.DataFrame
    beats: pd.DataFrame
    skipped: Mapping[str, int]

    @property
    def mape(self) -> float:
        """Mean absolute relative error of the rows that are not tiny (of all rows when all are)."""
        rows = self.rows[self.rows["regime"] != "tiny"]
        return _mape(rows if len(rows) else self.rows)


def _mape(rows: pd.DataFrame) -> float:
    if not len(rows):
        return float("nan")
    return float((rows["estimate_s"] / rows["time_s"] - 1).abs().mean())


def validate_frame(
    frame: pd.DataFrame, *, calibrations: Mapping[str, Calibration] | None = None, hardware: str | None = None
) -> Validation:
    """Score predictions of a kernel table with its ``time_us``.

    Raises InputError when the column is missing or no row can be scored.
    """
    import pandas as pd

    if "time_us" not in frame:
        raise InputError("the table has no column 'time_us' to score against")
    time = pd.to_numeric(frame["time_us"], errors="coerce").to_numpy(float) * 1e-6
    good = np.isfinite(time) & (time > 0)
    skipped: dict[str, int] = {}
    if not good.all():
        skipped["time_us is not a positive number"] = int((~good).sum())
    measured = frame[good].reset_index(drop=True)
    time = time[good]
    book = shipped_by_hardware() if calibrations is None else calibrations
    parts = []
    for group in groups(measured, hardware):
        if isinstance(group, Problem):
            skipped[group.note] = skipped.get(group.note, 0) + len(group.rows)
            continue
        parts.append(_scored(group, time[group.rows], book))
    if not parts:
        raise InputError(
            "no row can be scored: " + "; ".join(f"{n} rows: {why}" for why, n in skipped.items())
        )
    rows = pd.concat(parts, ignore_index=True).sort_values("row", ignore_index=True)
    beats = rows[rows["time_s"] < rows["bound_s"] * (1 - scores.BEATS)]
    return Validation(rows, _score_table(rows), beats, skipped)


def _scored(group: Group, time_s: np.ndarray, book: Mapping[str, Calibration]) -> pd.DataFrame:
    import pandas as pd

    model, table, device = group.model, group.table, group.device
    work = model.work(table, device)
    compute_s, memory_s = datasheet_roofline(work, device)
    e = estimate_group(model, group.op, table, device, book)
    key = str(model.class_key(table))
    fit = find_class(model, group.op, key, device, book).fit
    m1_s = (
        scores.m1_seconds(fit.m1, compute_s, memory_s) if fit is not None else np.maximum(compute_s, memory_s)
    )
    formats, _, rest = key.partition("|")
    return pd.DataFrame(
        {
            "row": group.rows,
            "hardware": device.name,
            "op": group.op,
            "format": formats,
            "library": rest.partition("|")[0],
            "class": key,
            "regime": np.array(REGIMES)[regime(work, device)],
            "time_s": time_s,
            "bound_s": bound(work, device)[0],
            "bound": bound_names(e.bound_code),
            "m0_s": np.maximum(compute_s, memory_s),
            "m1_s": m1_s,
            "m2_s": np.maximum(e.m2_s, e.bound_s),
            "estimate_s": e.time_s,
            "low_s": e.low_s,
            "high_s": e.high_s,
            "label": e.label,
            "basis": e.basis,
        }
    )


def _score_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a group and regime, then the same over everything; errors are fractions."""
    import pandas as pd

    out: list[dict[str, Any]] = []
    levels: list[tuple[str, ...]] = [(), ("hardware",), ("op",), ("hardware", "op"), GROUPS]
    for level in levels:
        blocks = [((), rows)] if not level else rows.groupby(list(level), sort=True)
        for key, block in blocks:
            names = dict(zip(level, key, strict=True)) if level else {}
            head = {name: names.get(name, "all") for name in GROUPS}
            for part in (*REGIMES, NON_TINY, "all"):
                chosen = _part(block, part)
                if len(chosen):
                    out.append({**head, "regime": part, **_numbers(chosen)})
    return pd.DataFrame(out)


def _part(block: pd.DataFrame, part: str) -> pd.DataFrame:
    if part == "all":
        return block
    return block[block["regime"] != "tiny"] if part == NON_TINY else block[block["regime"] == part]


def _numbers(rows: pd.DataFrame) -> dict[str, float]:
    time = rows["time_s"].to_numpy(float)
    one = scores.score(
        *(rows[c].to_numpy(float) for c in ("estimate_s", "time_s", "low_s", "high_s", "bound_s"))
    )
    assert one is not None
    lower = {
        f"{r}_mape": float(np.mean(np.abs(rows[f"{r}_s"].to_numpy(float) / time - 1)))
        for r in ("m0", "m1", "m2")
    }
    return {
        "rows": one.rows,
        "mape": one.mape,
        "median": one.median,
        "p90": one.p90,
        "bias": one.bias,
        "coverage": one.coverage if one.coverage is not None else float("nan"),
        "beats_bound": one.beats_bound if one.beats_bound is not None else float("nan"),
        **lower,
    }
