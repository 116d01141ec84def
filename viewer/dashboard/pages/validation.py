"""The Validation page: measured kernels against predictions, by device, kind of op, format and regime."""

from __future__ import annotations

import io
from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update

from viewer.charts.residuals import residuals
from viewer.dashboard.dialogs import decoded
from viewer.dashboard.widgets import card, column, export_button, grid, plot
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
            "How far predictions are from measurements. Drop a table of measured kernels (CSV: hardware, op, shapes,"
            " time_us) and see each prediction beside its measurement; nothing of it is kept.",
            className="lead",
        ),
        dcc.Upload(
            html.Div("Drop or choose a CSV of measured kernels", className="drop"),
            id="measurements",
            max_size=4 * 2**20,
            className="upload",
        ),
        html.P(id="validation-note", className="answer", role="status"),
        card("Measured against predicted", [plot("validation-chart", "plot-medium")]),
        card("Scores", [grid("validation-scores", _columns())], export_button("validation-scores")),
        card("Calibrated devices", [html.Div(id="calibrated")]),
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
        Input("measurements", "contents"),
        Input("on-validation", "data"),
        prevent_initial_call=True,
    )(update)
    app.callback(
        Output("calibrated", "children"),
        Input("on-validation", "data"),
        State("calibrated", "children"),
        prevent_initial_call=True,
    )(calibrated)


def update(contents: Any, on: Any) -> tuple[Any, ...]:
    """Scores of a dropped table."""
    theme = on.get("theme") if isinstance(on, dict) else "light"
    if not contents:
        return "", residuals([], str(theme)), []
    try:
        found = scored(decoded(contents))
    except InputError as error:
        return html.Span(str(error), className="guard stop"), residuals([], str(theme)), []
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
    return note, residuals(rows, str(theme)), score_rows(found.scores)


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


def calibrated(_on: Any, shown: Any) -> Any:
    """Devices that ship with a calibration, and what it is worth by leave-one-group-out."""
    if shown:
        return no_update
    from viewer.calibration.lookup import shipped_by_hardware

    book = shipped_by_hardware()
    if not book:
        return html.P(
            "No device ships with a calibration in this version: times are bounds.", className="empty"
        )
    body = []
    for name, one in sorted(book.items()):
        ops: dict[str, int] = {}
        for fit in one.classes:
            ops[fit.op] = ops.get(fit.op, 0) + 1
        words = ", ".join(f"{op} ({count})" for op, count in sorted(ops.items()))
        body.append(html.Tr([html.Td(name), html.Td(words), html.Td(one.created), html.Td(one.note or "–")]))
    head = html.Thead(html.Tr([html.Th(w) for w in ("device", "kernels (classes)", "made", "note")]))
    return html.Table([head, html.Tbody(body)], className="plain")
