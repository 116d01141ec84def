"""The Validation page: measured kernels against predictions, by device, kind of op, format and regime."""

from __future__ import annotations

import io
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, dcc, html, no_update

from viewer.charts.ladder import RUNGS, ladder
from viewer.charts.residuals import residuals
from viewer.dashboard import scores
from viewer.dashboard.dialogs import decoded
from viewer.dashboard.widgets import aria, card, column, export_button, grid, plot
from viewer.errors import InputError

NAME, TITLE, PATH = "validation", "Validation", "/validation"
#: Rows of a dropped table that are scored.
MAX_ROWS = 50_000
GROUP_NAMES = ("hardware", "op", "format", "library", "regime")


def layout() -> list[Any]:
    """What the page consists of."""
    return [
        html.H1("Validation"),
        html.P(
            "How far predictions are from measurements: the calibrations that ship, scored on shapes that were left"
            " out, and your own measurements.",
            className="lead",
        ),
        card(
            "Shipped calibrations",
            [
                html.P(id="calibrated-answer", className="answer", role="status"),
                plot("calibrated-chart", "plot-tall"),
                grid("calibrated-table", _class_columns(), (), "320px"),
            ],
            html.Div([*_selects(), export_button("calibrated-table")], className="row-tools"),
        ),
        card(
            "Your measurements",
            [
                html.P(
                    "A table of measured kernels (CSV: hardware, op, shapes, time_us): each prediction beside its"
                    " measurement. Nothing of it is kept.",
                    className="hint",
                ),
                dcc.Upload(
                    html.Div("Drop or choose a CSV of measured kernels", className="drop"),
                    id="measurements",
                    max_size=4 * 2**20,
                    className="upload",
                ),
                html.P(id="validation-note", className="answer", role="status"),
            ],
        ),
        html.Div(
            [
                card("Measured against predicted", [plot("validation-chart", "plot-medium")]),
                card("Scores", [grid("validation-scores", _columns())], export_button("validation-scores")),
            ],
            id="validation-dropped",
            hidden=True,
        ),
    ]


def _selects() -> list[Any]:
    names = scores.devices()
    first = names[0] if names else ""
    ops = scores.ops_of(first) if first else ()
    return [
        dmc.Select(
            id="calibrated-device",
            data=list(names),
            value=first,
            allowDeselect=False,
            size="xs",
            w=190,
            **aria(label="Calibrated device"),
        ),
        dmc.Select(
            id="calibrated-op",
            data=list(ops),
            value=ops[0] if ops else "",
            allowDeselect=False,
            size="xs",
            w=170,
            **aria(label="Kind of op"),
        ),
    ]


def _class_columns() -> list[dict[str, Any]]:
    rungs = [column(rung, f"{rung} {word}", "share", width=150) for rung, (word, _, _) in RUNGS.items()]
    return [
        column("label", "kernel class", minWidth=230, flex=1),
        column("points", "points", "count", width=90),
        column("groups", "shapes", "count", width=90),
        *rungs,
        column("median", "M3 median", "share", width=110),
        column("p90", "M3 90 %", "share", width=100),
        column("bias", "M3 bias", "share", width=100),
        column("created", "made", width=110),
        column("source", "measured by", minWidth=170, tooltipField="source"),
    ]


def _columns() -> list[dict[str, Any]]:
    return [
        *[column(name, name, width=130) for name in GROUP_NAMES],
        column("rows", "rows", "count", width=80),
        column("mape", "mean error", "share", width=125),
        column("median", "median", "share", width=95),
        column("p90", "90 %", "share", width=90),
        column("bias", "bias", "share", width=90),
        column("coverage", "in interval", "share", width=110),
        column("beats_bound", "beats bound", "share", width=115),
        column("m0_mape", "roofline alone", "share", width=125),
        column("m1_mape", "3 constants", "share", width=115),
    ]


def register(app: Dash) -> None:
    """The callbacks of the page."""
    app.callback(
        Output("validation-note", "children"),
        Output("validation-chart", "figure"),
        Output("validation-scores", "rowData"),
        Output("validation-dropped", "hidden"),
        Input("measurements", "contents"),
        Input("on-validation", "data"),
        prevent_initial_call=True,
    )(update)
    app.callback(
        Output("calibrated-answer", "children"),
        Output("calibrated-chart", "figure"),
        Output("calibrated-table", "rowData"),
        Output("calibrated-op", "data"),
        Output("calibrated-op", "value"),
        Input("on-validation", "data"),
        Input("calibrated-device", "value"),
        Input("calibrated-op", "value"),
        prevent_initial_call=True,
    )(calibrated)


def update(contents: Any, on: Any) -> tuple[Any, ...]:
    """Scores of a dropped table."""
    theme = on.get("theme") if isinstance(on, dict) else "light"
    if not contents:
        return "", no_update, [], True
    try:
        found = scored(decoded(contents))
    except InputError as error:
        return html.Span(str(error), className="guard stop"), no_update, [], True
    rows = [
        {
            "group": row["op"],
            "measured_s": float(row["time_s"]),
            "predicted_s": float(row["estimate_s"]),
            "label": " ".join(str(row[n]) for n in ("hardware", "op", "format") if n in row),
        }
        for row in found.rows.to_dict("records")
    ]
    skipped = sum(found.skipped.values())
    note = f"{len(rows):,} kernels scored: mean error {100 * found.mape:.1f} % (without tiny ones)."
    if skipped:
        note += f" {skipped:,} rows skipped: {', '.join(list(found.skipped)[:3])}."
    return note, residuals(rows, str(theme)), score_rows(found.scores), False


def scored(text: str) -> Any:
    """The validation of a CSV; InputError for what is not a table of kernels."""
    import pandas as pd

    from viewer.validate import validate_frame

    try:
        frame = pd.read_csv(io.StringIO(text), nrows=MAX_ROWS)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError):
        raise InputError("not a CSV table with one header line") from None
    return validate_frame(frame)


def score_rows(scores: Any) -> list[dict[str, Any]]:
    """Rows of the score table; missing scores are None."""
    rows = []
    for index, record in enumerate(scores.to_dict("records")):
        clean = {k: (None if isinstance(v, float) and v != v else v) for k, v in record.items()}
        rows.append(clean | {"id": str(index)})
    return rows


def calibrated(on: Any, device: Any, op: Any) -> tuple[Any, ...]:
    """Left-out errors of the classes of a device that ships with a calibration."""
    if not isinstance(on, dict):
        return (no_update,) * 5
    if not scores.devices():
        empty = "No device ships with a calibration in this version: times are bounds."
        return empty, no_update, [], [], None
    name = device if device in scores.devices() else scores.devices()[0]
    ops = scores.ops_of(name)
    kind = op if op in ops else ops[0]
    rows = scores.score_rows(name, kind)
    return (
        scores.sentence(rows),
        ladder(rows, str(on.get("theme")), bool(on.get("compact"))),
        rows,
        list(ops),
        kind,
    )
