"""``roofline predict | validate | calibrate``: tables of kernels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from viewer.cli.common import OUTPUT_OPTIONS, command_with, console, emit, note
from viewer.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from viewer.calibration.store import Calibration

Data = Annotated[
    list[Path],
    typer.Option(help="kernels, repeatable: CSV or Parquet, Nsight Compute CSV, torch trace, bench result"),
]
From = Annotated[
    str, typer.Option("--from", help="format of DATA: auto, neutral, aiconfigurator, ncu, torch, bench")
]
Device = Annotated[str | None, typer.Option("--hardware", help="device of every row (replaces the column)")]
Files = Annotated[
    list[Path] | None, typer.Option("--calibration", help="calibration files on top of the shipped")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("predict")(command_with(OUTPUT_OPTIONS, predict))
    app.command("validate")(command_with(OUTPUT_OPTIONS, validate))
    app.command("calibrate")(command_with(OUTPUT_OPTIONS, calibrate))


def _read(data: list[Path], form: str, hardware: str | None) -> pd.DataFrame:
    import pandas as pd

    from viewer.calibration.importers import read_kernels

    frames = []
    for path in data:
        frame, notes = read_kernels(path, form, hardware)
        frames.append(frame)
        for text in notes:
            note(text)
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def _book(files: list[Path] | None) -> dict[str, Calibration] | None:
    if not files:
        return None
    from viewer.calibration.store import merged, read, shipped

    return merged([*shipped(), *(read(path) for path in files)])


def predict(
    data: Data,
    out: Annotated[Path, typer.Option(help="where to write: .csv, .csv.gz, .tsv or .parquet")],
    hardware: Device = None,
    form: From = "auto",
    calibration: Files = None,
    rung: Annotated[
        str, typer.Option(help="M0: bound only; M2: physics; M3: with the measured correction")
    ] = "M3",
    options: Any = None,
) -> int:
    """Predict a table of kernels: rows, order and columns kept; bound, estimate and interval added.

    Example: roofline predict --data kernels.csv --out predicted.csv
    """
    from viewer.calibration.frames import predict_frame
    from viewer.calibration.tables import write_frame

    if rung not in ("M0", "M2", "M3"):
        raise InputError(f"unknown rung {rung!r} (allowed: M0, M2, M3)")
    frame = predict_frame(
        _read(data, form, hardware), calibrations=_book(calibration), hardware=hardware, rung=rung
    )
    write_frame(frame, out)
    empty = int(frame["bound_us"].isna().sum())
    note(
        f"{len(frame) - empty} of {len(frame)} rows predicted"
        + (", the others say why in 'note'" if empty else "")
    )
    emit(options, lambda: frame, lambda: frame.to_dict("records"), lambda: None)
    return 0


def validate(
    data: Data,
    hardware: Device = None,
    form: From = "auto",
    calibration: Files = None,
    max_mape: Annotated[
        float | None, typer.Option(help="exit 1 when the mean error in percent is above")
    ] = None,
    rows_out: Annotated[
        Path | None, typer.Option(help="also write one row a kernel, with every rung")
    ] = None,
    options: Any = None,
) -> int:
    """Score predictions against measured times, with M0 (datasheet roofline) and M1 (three constants) beside.

    Example: roofline validate --data kernels.csv --max-mape 15
    """
    from viewer.calibration.tables import write_frame
    from viewer.validate import validate_frame

    if max_mape is not None and not max_mape >= 0:
        raise InputError(f"--max-mape {max_mape} is not a percentage of at least 0")
    result = validate_frame(_read(data, form, hardware), calibrations=_book(calibration), hardware=hardware)
    for why, count in result.skipped.items():
        note(f"{count} rows not scored: {why}")
    if rows_out is not None:
        write_frame(result.rows, rows_out)

    def payload() -> dict[str, Any]:
        return {
            "schema": 1,
            "rows": len(result.rows),
            "mape": result.mape,
            "skipped": dict(result.skipped),
            "beats_bound": result.beats.head(200).to_dict("records"),
            "scores": result.scores.to_dict("records"),
        }

    emit(options, lambda: result.scores, payload, lambda: _score_table(result))
    if max_mape is not None and not 100 * result.mape <= max_mape:
        note(f"mean error {100 * result.mape:.2f} % is over the limit of {max_mape:g} %")
        return 1
    return 0


def _score_table(result: Any) -> None:
    from rich.table import Table

    scores = result.scores
    chosen = scores[(scores["regime"].isin(["non_tiny", "tiny"]))]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("kernels", "regime", "rows"):
        table.add_column(name, justify="right" if name == "rows" else "left", overflow="fold")
    for name in ("M0 %", "M1 %", "M2 %", "est %", "bias", "p90", "cover", "beat"):
        table.add_column(name, justify="right")
    for row in chosen.to_dict("records"):
        parts = [str(row[c]) for c in ("hardware", "op", "format", "library") if row[c] != "all"]
        values = [
            row[c]
            for c in ("m0_mape", "m1_mape", "m2_mape", "mape", "bias", "p90", "coverage", "beats_bound")
        ]
        table.add_row(" ".join(parts) or "all", row["regime"].replace("_", " "), f"{row['rows']:,}",
                      *(f"{100 * v:.1f}" for v in values))  # fmt: skip
    console().print(table)


def calibrate(
    data: Data,
    hardware: Annotated[str, typer.Option(help="the device whose rows are fitted")],
    out: Annotated[Path | None, typer.Option(help="calibration file to write")] = None,
    form: From = "auto",
    folds: Annotated[
        int, typer.Option(min=2, max=50, help="folds of the left-out scores (whole shape groups)")
    ] = 5,
    keep_points: Annotated[bool, typer.Option(help="keep measured points, to return them exactly")] = True,
    comment: Annotated[str, typer.Option(help="a note kept in the file")] = "",
    options: Any = None,
) -> int:
    """Fit a device's kernels and say by leave-one-group-out what the calibration is worth.

    Example: roofline calibrate --data kernels.csv --hardware nvidia/a6000 --out a6000.json
    """
    import datetime
    from dataclasses import replace

    from viewer.calibration.frames import calibrate_frame
    from viewer.calibration.store import file_name, write

    frame = _read(data, form, hardware)
    points = "" if keep_points else " --no-keep-points"
    command = f"roofline calibrate {' '.join(f'--data {d.name}' for d in data)} --hardware {hardware}{points}"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    made, notes = calibrate_frame(frame, hardware, created=today, command=command, keep_points=keep_points,
                                  folds=folds, progress=_progress)  # fmt: skip
    for text in notes:
        note(text)
    if not made.classes:
        raise InputError(f"{data[0]}: no class of {hardware} can be fitted: " + "; ".join(notes)[:200])
    path = out or Path(file_name(made.hardware))
    write(replace(made, note=comment), path)
    rows = [
        {"op": fit.op, "key": fit.key, "points": fit.points, "groups": fit.groups, **_left_out(fit.scores)}
        for fit in made.classes
    ]

    def frame_of_fits() -> Any:
        import pandas as pd

        return pd.DataFrame(rows)

    def table() -> None:
        console().print(f"{len(rows)} classes of {made.hardware} -> {path}")

    data_out = {"schema": 1, "hardware": made.hardware, "file": str(path), "classes": rows}
    emit(options, frame_of_fits, lambda: data_out, table)
    return 0


def _left_out(scores: Any) -> dict[str, Any]:
    """Mean errors (percent) of every rung on shapes left out of the fit."""
    return {f"{rung.lower()}_mape_percent": scores[rung].get("non_tiny") for rung in sorted(scores)}


def _progress(line: object) -> None:
    """Progress goes to stderr: stdout carries data only."""
    print(line, file=sys.stderr, flush=True)
