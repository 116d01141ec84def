"""The Sweep & solve page: a figure along an axis for several settings, where each stops helping, what fits,
which resource to upgrade, and the inverse questions."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, html, no_update

from viewer.charts.feasibility import feasibility
from viewer.charts.sweep_lines import sweep_lines
from viewer.charts.tornado import tornado
from viewer.dashboard import studies
from viewer.dashboard.controls import compressions
from viewer.dashboard.price import Priced, priced
from viewer.dashboard.state import field_of, scenario_of, texts
from viewer.dashboard.widgets import aria, card, column, export_button, grid, plot, select
from viewer.errors import InputError

NAME, TITLE, PATH = "sweep", "Sweep & solve", "/sweep"
SHOWN = ["w16a16", "w8a16", "w4a16-g128", "w2a16-g128"]


def layout() -> list[Any]:
    """What the page consists of."""
    return [
        html.H1("Sweep & solve"),
        html.P(
            "Where does a setting stop helping, what fits, and what would have to change?", className="lead"
        ),
        card("Along an axis", [_sweep_controls(), *_sweep_charts()]),
        html.Div(
            [
                card(
                    "What fits: batch × length",
                    [
                        plot("map", "plot-medium"),
                        html.P("A click sets batch and length of the scenario.", className="hint"),
                    ],
                    dmc.NumberInput(
                        id="map-target",
                        placeholder="target (ms)",
                        size="xs",
                        w=120,
                        min=0,
                        **aria(label="Target time in milliseconds"),
                    ),
                ),
                card(
                    "What to upgrade next",
                    [html.P(id="upgrade", className="answer"), plot("tornado", "plot-medium")],
                ),
            ],
            className="two",
        ),
        card("Solve for", [_solve_controls(), *_solve_results()]),
    ]


def _sweep_controls() -> Any:
    return html.Div(
        [
            select("sweep-axis", "Along", list(studies.AXES), "batch", w=110),
            dmc.NumberInput(
                id="sweep-from", label="from", value=1, min=1, size="xs", w=100, thousandSeparator=","
            ),
            dmc.NumberInput(
                id="sweep-to", label="to", value=1024, min=2, size="xs", w=120, thousandSeparator=","
            ),
            select("sweep-figure", "Figure", studies.figure_options(), "tpot_s", w=190),
            dmc.MultiSelect(
                id="sweep-settings",
                label="Settings (gains are against the first)",
                data=compressions(),
                value=SHOWN,
                searchable=True,
                maxValues=7,
                size="xs",
                className="wide",
            ),
        ],
        className="row",
    )


def _sweep_charts() -> list[Any]:
    return [
        html.Div(
            [plot("sweep-lines", "plot-medium"), plot("sweep-gain", "plot-medium")],
            className="two",
        ),
        html.Div(id="sweep-crossings", className="hint", role="status"),
    ]


def _solve_controls() -> Any:
    return html.Div(
        [
            select("solve-unknown", "Largest or smallest", list(studies.UNKNOWNS), "batch", w=150),
            select("solve-condition", "so that", studies.condition_options(), "fits", w=230),
            dmc.NumberInput(id="solve-value", label="value (ms, × or $)", value=50, min=0, size="xs", w=150),
            dmc.NumberInput(
                id="solve-price", label="price ($ per device and hour)", value=2, min=0, size="xs", w=170
            ),
            dmc.Autocomplete(
                id="solve-against",
                label="against (for pay-off)",
                data=compressions(),
                value="w16a16",
                size="xs",
                w=170,
                debounce=200,
            ),
        ],
        className="row",
    )


def _solve_results() -> list[Any]:
    columns = [
        column("condition", "condition", minWidth=220, flex=1),
        column("holds", "holds", minWidth=200, flex=1),
        column("answer", "answer", "number", width=120),
        column("unit", "unit", width=90),
    ]
    return [
        html.P(id="solve-answer", className="answer", role="status"),
        html.Div(id="solve-notes", className="hint"),
        html.Div(
            [
                plot("solve-chart", "plot-medium"),
                html.Div([export_button("solve-table"), grid("solve-table", columns)]),
            ],
            className="two",
        ),
    ]


def register(app: Dash) -> None:
    """The callbacks of the page."""
    scenario = (Input("on-sweep", "data"), State("files", "data"))
    app.callback(
        Output("sweep-lines", "figure"),
        Output("sweep-gain", "figure"),
        Output("sweep-crossings", "children"),
        Input("sweep-axis", "value"),
        Input("sweep-from", "value"),
        Input("sweep-to", "value"),
        Input("sweep-figure", "value"),
        Input("sweep-settings", "value"),
        *scenario,
        prevent_initial_call=True,
    )(lines)
    app.callback(
        Output("map", "figure"),
        Output("tornado", "figure"),
        Output("upgrade", "children"),
        Output("errors", "data", allow_duplicate=True),
        Input("map-target", "value"),
        *scenario,
        prevent_initial_call=True,
    )(maps)
    app.callback(
        Output("solve-answer", "children"),
        Output("solve-notes", "children"),
        Output("solve-chart", "figure"),
        Output("solve-table", "rowData"),
        Input("solve-unknown", "value"),
        Input("solve-condition", "value"),
        Input("solve-value", "value"),
        Input("solve-against", "value"),
        Input("solve-price", "value"),
        *scenario,
        prevent_initial_call=True,
    )(answer)
    app.clientside_callback(
        ClientsideFunction("app", "jump"),
        Output("batch", "value", allow_duplicate=True),
        Output("prompt", "value", allow_duplicate=True),
        Output("context", "value", allow_duplicate=True),
        Input("map", "clickData"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("app", "sweepRange"),
        Output("sweep-from", "value"),
        Output("sweep-to", "value"),
        Input("sweep-axis", "value"),
        prevent_initial_call=True,
    )


def lines(
    axis: Any,
    low: Any,
    high: Any,
    figure: Any,
    settings: Any,
    on: Any,
    files: Any,
) -> tuple[Any, ...]:
    """The figure along the axis, the gain over the first setting, and where gains end."""
    if not isinstance(on, dict):
        return (no_update,) * 3
    try:
        scenario = scenario_of(on.get("flat"), files)
        study = studies.along(scenario, str(axis), (low, high), str(figure), texts(settings, 7))
    except InputError as error:
        return no_update, no_update, html.Span(str(error), className="guard stop")
    look = str(on.get("theme"))
    gains = sweep_lines(
        study.gains, study.x_title, "× faster than the first", look, (True, False), study.marks
    )
    found = [html.Div(text) for text in study.sentences]
    return sweep_lines(study.series, study.x_title, study.y_title, look), gains, found


def maps(target: Any, on: Any, files: Any) -> tuple[Any, ...]:
    """The map of what fits, and the sensitivity to each resource."""
    if not isinstance(on, dict):
        return (no_update,) * 4
    try:
        scenario = scenario_of(on.get("flat"), files)
        grid_data, title = studies.feasibility_grid(scenario)
        rows, sentence = studies.sensitivities(scenario)
    except InputError as error:
        return no_update, no_update, no_update, {field_of(str(error)): str(error)}
    wanted = float(target) if isinstance(target, int | float) and target > 0 else None
    return (
        feasibility(grid_data, title, str(on.get("theme")), wanted),
        tornado(rows, str(on.get("theme"))),
        sentence,
        {},
    )


def answer(
    unknown: Any,
    condition: Any,
    value: Any,
    against: Any,
    price: Any,
    on: Any,
    files: Any,
) -> tuple[Any, ...]:
    """The inverse question: answer in a sentence, notes, curve, table."""
    if not isinstance(on, dict):
        return (no_update,) * 4
    try:
        scenario = scenario_of(on.get("flat"), files)
        if condition == "cost":
            return _priced(priced(scenario, price, value), str(on.get("theme")))
        found = studies.solved(scenario, str(unknown), str(condition), value, str(against))
    except InputError as error:
        return "", html.Span(str(error), className="guard stop"), {"data": [], "layout": {}}, []
    rows = [row | {"id": str(i)} for i, row in enumerate(found.rows)]
    return (
        studies.sentence_of(found),
        [html.Div(n) for n in found.notes],
        found.chart(str(on.get("theme"))),
        rows,
    )


def _priced(found: Priced, theme: str) -> tuple[Any, ...]:
    rows = [row | {"id": str(i)} for i, row in enumerate(found.rows)]
    return found.sentence, [html.Div(n) for n in found.notes], found.chart(theme), rows
