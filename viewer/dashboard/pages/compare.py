"""The Compare page: the present scenario under other settings, beside what is pinned in the tray."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, html, no_update

from viewer.charts.base import amount, percent, seconds
from viewer.charts.compare_bars import compare_bars
from viewer.charts.memory_bar import memory_bar
from viewer.charts.pareto import pareto
from viewer.dashboard import tray
from viewer.dashboard.controls import compressions
from viewer.dashboard.state import field_of, texts
from viewer.dashboard.widgets import card, column, export_button, grid, plot
from viewer.errors import InputError

NAME, TITLE, PATH = "compare", "Compare", "/compare"
SHOWN = ["w8a8-int8", "w8a8-fp8", "w4a16-g128", "w4a16-g128+kv8"]


def layout() -> list[Any]:
    """What the page consists of."""
    return [
        html.H1("Compare"),
        html.P(
            "The present scenario under other compressions, and every scenario of the tray."
            " Pin more with “+ Tray”; the link holds them all.",
            className="lead",
        ),
        html.Div(
            [
                dmc.MultiSelect(
                    id="compare-with",
                    label="Other compressions",
                    data=[name for name in compressions() if name != "checkpoint"],
                    value=SHOWN,
                    searchable=True,
                    clearable=True,
                    clearButtonProps={"aria-label": "Remove all"},
                    maxValues=12,
                    size="xs",
                    className="wide",
                ),
                html.Button("Empty the tray", id="pins-clear", className="tool", n_clicks=0),
            ],
            className="row",
        ),
        html.P(id="compare-verdict", className="answer", role="status"),
        html.Div(
            [
                card("Time", [plot("compare-time", "plot-medium")]),
                card("Memory", [plot("compare-memory", "plot-medium")]),
            ],
            className="two",
        ),
        html.Div(
            [
                card("Time against memory", [plot("compare-pareto", "plot-medium")]),
                card("Time against error", [plot("compare-error", "plot-medium")]),
            ],
            className="two",
        ),
        card("Figures", [grid("compare-table", _columns())], export_button("compare-table")),
        card(
            "What changes, op by op, and why",
            [
                html.Div(id="compare-regimes", className="hint"),
                grid("compare-ops", _op_columns(), (), "420px"),
            ],
            export_button("compare-ops"),
        ),
    ]


def _columns() -> list[dict[str, Any]]:
    return [
        column("label", "scenario", pinned="left", minWidth=150),
        column("time_s", "time in all", "time", width=110),
        column("gain", "× gain", "number", width=90),
        column("ttft_s", "TTFT", "time", width=100),
        column("tpot_s", "TPOT", "time", width=100),
        column("tokens_per_s", "tokens/s", "number", width=100),
        column("total_bytes", "memory", "bytes", width=105),
        column("weight_bytes", "weights", "bytes", width=105),
        column("kv_cache_bytes", "KV cache", "bytes", width=105),
        column("fits", "fits", width=70),
        column("max_batch", "largest batch", "count", width=120),
        column("bitops", "bitops", "si", width=100),
        column("energy_j", "energy ≤ (J)", "number", width=115),
        column("risk", "error risk", width=110),
        column("stream_sqnr_db", "SQNR (dB)", "number", width=105),
        column("label_kind", "times are", width=120),
        column("notes", "notes", minWidth=160, flex=1, tooltipField="notes"),
    ]


def _op_columns() -> list[dict[str, Any]]:
    return [
        column("scenario", "scenario", minWidth=140),
        column("phase", "phase", width=90),
        column("name", "op", width=130),
        column("regime_name", "regime", minWidth=200),
        column("time_s_before", "before", "time", width=100),
        column("time_s_after", "after", "time", width=100),
        column("speedup", "× gain", "number", width=90),
        column("why", "why", minWidth=320, flex=1, tooltipField="why"),
    ]


def register(app: Dash) -> None:
    """The callbacks of the page."""
    app.callback(
        Output("compare-verdict", "children"),
        Output("compare-time", "figure"),
        Output("compare-memory", "figure"),
        Output("compare-pareto", "figure"),
        Output("compare-error", "figure"),
        Output("compare-table", "rowData"),
        Output("compare-ops", "rowData"),
        Output("compare-regimes", "children"),
        Output("errors", "data", allow_duplicate=True),
        Input("on-compare", "data"),
        Input("compare-with", "value"),
        State("files", "data"),
        prevent_initial_call=True,
    )(update)
    app.clientside_callback(
        ClientsideFunction("app", "clearPins"),
        Output("pins", "data", allow_duplicate=True),
        Input("pins-clear", "n_clicks"),
        prevent_initial_call=True,
    )


def update(on: Any, others: Any, files: Any) -> tuple[Any, ...]:
    """State in, comparison out."""
    if not isinstance(on, dict):
        return (no_update,) * 9
    flat, theme, pins = on.get("flat"), on.get("theme"), on.get("pins")
    tray_of = [on.get("base"), *(pins if isinstance(pins, list) else [])]
    kept = [pin for pin in tray_of if isinstance(pin, dict)][:12]
    names = texts(others, 12)
    try:
        if not isinstance(flat, dict):
            raise InputError("state: expected an object")
        entries = tray.entries_of(flat, names, kept, files)
        if entries[0].result is None:
            raise InputError(entries[0].complaint)
    except InputError as error:
        return (*(no_update,) * 8, {field_of(str(error)): str(error)})
    good = [(e.label, e.result) for e in entries if e.result is not None]
    first = good[0][1]
    phase = "decode" if first.phases["tpot_s"] is not None else None
    title = "time per decode step" if phase else "time of the prefill"
    bars = [
        (label, tray.by_bound(r, phase if any(p.phase == phase for p in r.parts) else None))
        for label, r in good
    ]
    rows, changes = tray.with_errors(tray.rows_of(entries), entries)
    look = str(theme)
    return (
        tray.verdict(entries),
        compare_bars(bars, title, look),
        memory_bar([(label, r.memory) for label, r in good], look),
        pareto(_points(good), "device memory (GB)", "time in all (s)", look),
        pareto(
            _errors(good, rows), "error of the residual stream (−SQNR, dB)", "time in all (s)", look, False
        ),
        rows,
        [_change(i, row) for i, row in enumerate(changes)],
        regimes(changes),
        {},
    )


#: Where a setting without any error stands on the axis of errors.
NO_ERROR_DB = -60.0
_CHANGE = ("scenario", "phase", "name", "regime_name", "time_s_before", "time_s_after", "speedup", "why")


def _change(index: int, row: dict[str, Any]) -> dict[str, Any]:
    return {"id": str(index), **{name: row[name] for name in _CHANGE}}


def regimes(changes: list[dict[str, Any]]) -> list[Any]:
    """Per scenario the share of the time before in each of the survey's regimes, as sentences."""
    shares: dict[str, dict[str, float]] = {}
    for row in changes:
        mine = shares.setdefault(row["scenario"], {})
        mine[row["regime_name"]] = mine.get(row["regime_name"], 0.0) + row["repeat"] * row["time_s_before"]
    lines = []
    for name, parts in shares.items():
        total = sum(parts.values()) or 1.0
        ordered = sorted(parts.items(), key=lambda item: -item[1])
        words = ", ".join(f"{percent(v / total)} {regime}" for regime, v in ordered if v > 0.005 * total)
        lines.append(html.Div(f"{name}: {words} (of the time before)"))
    return lines


def _errors(good: list[Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    by_label = {row["label"]: row for row in rows}
    points = []
    for label, result in good:
        row = by_label[label]
        sqnr = row.get("stream_sqnr_db")
        noise = NO_ERROR_DB if sqnr is None else max(NO_ERROR_DB, -sqnr)
        words = "no quantization error" if sqnr is None else f"SQNR {sqnr:.3g} dB, risk {row.get('risk')}"
        hover = f"<b>{html_escape(label)}</b><br>{seconds(result.totals.time_s)} · {words}"
        fits = result.memory.fits is not False
        points.append({"label": label, "x": noise, "y": result.totals.time_s, "fits": fits, "hover": hover})
    return points


def _points(good: list[Any]) -> list[dict[str, Any]]:
    return [
        {
            "label": label,
            "x": r.memory.total_bytes / 1e9,
            "y": r.totals.time_s,
            "fits": r.memory.fits is not False,
            "hover": f"<b>{html_escape(label)}</b><br>{seconds(r.totals.time_s)} · {amount(r.memory.total_bytes, 'B')}",
        }
        for label, r in good
    ]


def html_escape(text: str) -> str:
    """Text for a chart's hover."""
    from html import escape

    return escape(text)
