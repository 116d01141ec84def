"""The Plan page: formats per block of layers under a budget of memory or time, with the least error."""

from __future__ import annotations

import json
import math
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, html, no_update

from viewer.analysis import Analysis
from viewer.charts.base import amount, seconds
from viewer.dashboard.controls import compressions
from viewer.dashboard.files import key_of
from viewer.dashboard.state import scenario_of, texts
from viewer.dashboard.widgets import card, column, export_button, grid, plot
from viewer.errors import InputError

NAME, TITLE, PATH = "plan", "Plan", "/plan"
#: Settings that are tried for linear layers unless the visitor says otherwise; the first is "as it is".
CANDIDATES = ["w16a16", "w8a16", "w8a8-int8", "w4a16-g128", "w3a16-g128"]
MAX_CANDIDATES = 8
#: Without a budget: this share of the memory that the first setting needs, so that there is a plan to look at.
SHARE = 0.6
TITLES = {
    "layer_count": "count",
    "memory_bytes_change": "memory",
    "tpot_s_change": "time per token",
    "ttft_s_change": "time to first token",
}


def layout() -> list[Any]:
    """What the page consists of."""
    return [
        html.H1("Plan"),
        html.P(
            "Chooses formats per block of layers and for the cache, so that the budgets hold and the error is least."
            " Without a budget: 60 % of the memory that the first setting needs.",
            className="lead",
        ),
        card("Budgets", [_controls()]),
        html.P(id="plan-answer", className="answer", role="status"),
        html.Div(id="plan-notes", className="hint"),
        card("Speed against error, and what each layer gets", [plot("plan-chart", "plot-tall")]),
        card(
            "Choices",
            [grid("plan-table", _columns())],
            html.Div(
                [
                    html.Button(
                        "Use this plan", id="plan-use", className="tool primary", n_clicks=0, disabled=True
                    ),
                    export_button("plan-table"),
                ],
                className="row-tools",
            ),
        ),
        html.Pre(id="plan-file", className="code", hidden=True),
    ]


def _controls() -> Any:
    def number(name: str, label: str) -> Any:
        return dmc.NumberInput(id=name, label=label, size="xs", w=140, min=0, placeholder="none")

    return html.Div(
        [
            number("plan-memory", "memory (GB)"),
            number("plan-tpot", "time per token (ms)"),
            number("plan-ttft", "time to first token (ms)"),
            dmc.MultiSelect(
                id="plan-candidates",
                label="Settings to choose from (the first is what there is now)",
                data=[name for name in compressions() if name != "checkpoint"],
                value=CANDIDATES,
                searchable=True,
                maxValues=MAX_CANDIDATES,
                size="xs",
                className="wide",
            ),
            html.Button("Plan", id="plan-run", className="tool primary", n_clicks=0),
        ],
        className="row",
    )


def _columns() -> list[dict[str, Any]]:
    return [column("text", "choice", minWidth=260, flex=1)]


def register(app: Dash) -> None:
    """The callbacks of the page."""
    app.callback(
        Output("plan-answer", "children"),
        Output("plan-notes", "children"),
        Output("plan-chart", "figure"),
        Output("plan-table", "rowData"),
        Output("plan-table", "columnDefs"),
        Output("plan-file", "children"),
        Output("plan-use", "disabled"),
        Input("plan-run", "n_clicks"),
        Input("on-plan", "data"),
        State("plan-memory", "value"),
        State("plan-tpot", "value"),
        State("plan-ttft", "value"),
        State("plan-candidates", "value"),
        State("files", "data"),
        prevent_initial_call=True,
        running=[(Output("plan-run", "disabled"), True, False)],
    )(update)
    app.callback(
        Output("files", "data", allow_duplicate=True),
        Output("compression", "value", allow_duplicate=True),
        Input("plan-use", "n_clicks"),
        State("plan-file", "children"),
        State("files", "data"),
        prevent_initial_call=True,
    )(use)


def update(
    _clicks: Any, on: Any, memory: Any, tpot: Any, ttft: Any, candidates: Any, files: Any
) -> tuple[Any, ...]:
    """The plan for the state's scenario under the budgets given."""
    from viewer.whatif import plan

    if not isinstance(on, dict):
        return (no_update,) * 7
    try:
        budgets: dict[str, Any] = {
            "memory_bytes": _budget("memory", memory, 1e9),
            "tpot_s": _budget("time per token", tpot, 1e-3),
            "ttft_s": _budget("time to first token", ttft, 1e-3),
        }
        chosen = texts(candidates, MAX_CANDIDATES)
        if not chosen:
            raise InputError("choose at least one setting")
        scenario = scenario_of(on.get("flat"), files)
        if not any(budgets.values()):
            budgets["memory_bytes"] = (
                SHARE * Analysis(scenario.with_(compression=chosen[0])).memory.total_bytes
            )
        found = plan(scenario, candidates=chosen, blocks=8, front=8, **budgets)
    except InputError as error:
        return html.Span(str(error), className="guard stop"), "", no_update, [], no_update, "", True
    rows = [{**_plain(row), "id": str(i)} for i, row in enumerate(found.rows)]
    names = [name for name in (rows[0] if rows else {}) if name != "id"]
    columns = [column(name, TITLES.get(name, name), **_form(name)) for name in names]
    return (
        sentence(found),
        [html.Div(note) for note in (*_asked(found.budgets), *found.notes)],
        found.chart(str(on.get("theme"))),
        rows,
        columns or _columns(),
        json.dumps(found.compression, indent=1),
        not found.feasible,
    )


def _budget(name: str, value: Any, factor: float) -> float | None:
    if value in (None, ""):
        return None
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise InputError(f"{name}: a number above 0, or nothing")
    return value * factor


def _asked(budgets: dict[str, float]) -> list[str]:
    """The budgets in words."""
    words = [
        f"{name.split('_')[0]} ≤ {amount(v, 'B') if 'bytes' in name else seconds(v)}"
        for name, v in budgets.items()
    ]
    return [f"Planned for {', '.join(words)}."] if words else []


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Values that a table can show."""
    out = {}
    for name, value in row.items():
        bad = isinstance(value, float) and not math.isfinite(value)
        out[name] = None if bad else value if isinstance(value, str | int | float) else str(value)
    return out


def _form(name: str) -> dict[str, Any]:
    if "bytes" in name:
        return {"form": "bytes"}
    if name.endswith(("_s", "_s_change")):
        return {"form": "time"}
    return {"form": "number"} if name == "noise" else {"minWidth": 110, "flex": 1}


def sentence(found: Any) -> str:
    """The plan in a sentence."""
    if not found.feasible:
        return "Nothing among these settings meets the budgets."
    words = {"memory_bytes": "memory", "tpot_s": "TPOT", "ttft_s": "TTFT", "energy_j": "energy"}
    changes = []
    for name, after in found.after.items():
        before = found.before[name]
        pair = (
            (amount(before, "B"), amount(after, "B"))
            if "bytes" in name
            else (seconds(before), seconds(after))
        )
        changes.append(f"{words.get(name, name)} {pair[0]} → {pair[1]}")
    risk = f"; risk {found.error.risk}" if found.error is not None else ""
    proven = " (proven least error)" if found.proven else ""
    return f"{', '.join(changes)}{risk}{proven}."


def use(_clicks: Any, text: Any, files: Any) -> tuple[Any, Any]:
    """Makes the plan the scenario's compression, as if its file had been dropped."""
    if not text:
        return no_update, no_update
    key = key_of("plan.json", str(text))
    return {**(files if isinstance(files, dict) else {}), key: str(text)}, key
