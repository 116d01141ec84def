"""The Analyze page: headline figures, roofline, memory, the layer's graph, and the table of ops."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update

from viewer.analysis import Analysis
from viewer.charts.base import percent
from viewer.charts.memory_bar import memory_bar
from viewer.charts.palette import BOUND_LABELS
from viewer.charts.roofline import roofline
from viewer.dashboard import view
from viewer.dashboard.layer_graph import layer_graph
from viewer.dashboard.paths import op_paths
from viewer.dashboard.state import companions, field_of, scenario_of
from viewer.dashboard.widgets import aria, card, column, data, grid, plot, select
from viewer.errors import InputError

NAME, TITLE, PATH = "analyze", "Analyze", "/"
#: Formats that the painter offers; a link may name any other.
WEIGHTS = (
    *("bf16", "fp16", "fp8_e4m3", "fp8_e4m3_b128", "int8", "int4_g128", "int4_g128_asym", "int3_g128"),
    *("int2_g128", "nvfp4", "mxfp4", "mxfp8", "nf4", "gguf_q4_k", "gguf_q6_k", "ternary"),
)
ACTIVATIONS = ("bf16", "fp16", "fp8_e4m3", "int8", "int8_tensor", "int4", "nvfp4", "mxfp4", "mxfp8")
SHAPES = (("●", "linear"), ("◆", "attention"), ("■", "element-wise"), ("▼", "embedding"), ("★", "experts"))


def layout() -> list[Any]:
    """What the page consists of."""
    return [
        html.Div(html.H1(id="headline"), className="headline"),
        html.Div(id="figures", className="figures"),
        html.Div(id="guards", className="guards"),
        html.Div(
            [
                card(
                    "Roofline",
                    [
                        plot("roofline", "plot-roofline"),
                        html.Div(
                            [html.Span([html.B(mark), " ", word]) for mark, word in SHAPES]
                            + [
                                html.Span("area: share of the phase’s time"),
                                html.Span("grey band: measured"),
                            ],
                            className="legend-shapes",
                        ),
                    ],
                    html.Div([_path_switch(), _show_switch()], className="row-tools"),
                    "card-roofline",
                ),
                _side(),
            ],
            className="grid-main",
        ),
        card("Paint precision", [_paint_controls(), html.Div(id="paint-rules", className="chips")]),
        card("Ops", [table()], _table_tools(), "card-table"),
        dcc.Store(id="graph-data"),
    ]


def _side() -> Any:
    return html.Div(
        [
            card("Memory", [plot("memory", "plot-memory")]),
            card(
                "Layer",
                [
                    html.Div(
                        id="graph",
                        className="graph",
                        role="group",
                        **aria(label="Ops of a layer"),
                    )
                ],
                dmc.SegmentedControl(
                    id="graph-colour",
                    value="bound",
                    size="xs",
                    data=["bound", "time"],
                    **aria(label="Colour of the graph"),
                ),
            ),
        ],
        className="side",
    )


def _paint_controls() -> Any:
    targets = [
        {"value": "selected", "label": "the selected op"},
        {"value": "@linear", "label": "all linear layers"},
        {"value": "*", "label": "everything"},
    ]
    keep = [{"value": "", "label": "unchanged"}]
    weights = keep + [{"value": name, "label": name} for name in WEIGHTS]
    others = keep + [{"value": name, "label": name} for name in ACTIVATIONS]
    layers = dmc.TextInput(
        id="paint-layers", label="Layers", value="all", size="xs", w=120, placeholder="all, 0-3, last2"
    )
    return html.Div(
        [
            select("paint-target", "Paint", targets, "selected", w=150),
            layers,
            select("paint-w", "Weights", weights, "int4_g128", w=140, searchable=True),
            select("paint-a", "Activations", others, "", w=130),
            select("paint-kv", "KV cache", others, "", w=130),
            html.Button("Paint", id="paint", className="tool primary", n_clicks=0),
            html.Button("Undo", id="paint-undo", className="tool", n_clicks=0),
            html.Button("Clear", id="paint-clear", className="tool", n_clicks=0),
        ],
        className="row",
    )


def _show_switch() -> Any:
    return dmc.SegmentedControl(
        id="show",
        value="both",
        size="xs",
        data=[
            {"value": "both", "label": "both phases"},
            {"value": "prefill", "label": "prefill"},
            {"value": "decode", "label": "decode"},
        ],
        **aria(label="Phases in the chart"),
    )


def _path_switch() -> Any:
    return dmc.Switch(
        id="paths",
        label="batch 1 → 1024",
        checked=False,
        size="xs",
        **aria(label="Paths of the main ops as the batch goes from 1 to 1024"),
    )


def _table_tools() -> Any:
    links = [
        html.A("CSV", id="link-csv", href="/data.csv", className="tool"),
        html.A("JSON", id="link-json", href="/data.json", className="tool"),
        html.A("Chart as HTML", id="link-html", href="/chart.html", className="tool"),
    ]
    search = dmc.TextInput(
        id="table-search", placeholder="filter ops  ( / )", size="xs", **aria(label="Filter ops")
    )
    return html.Div([search, *links], className="row-tools")


def table() -> Any:
    """The table of ops: sortable, filterable; a row selects its op everywhere."""
    columns = [
        column("name", "op", minWidth=120, width=140),
        column("phase", "phase", width=90),
        column("total_s", "time in all", "time", sort="desc", width=135),
        column("share", "share", "share", width=90),
        column("bound", "bound", width=140, cellClassRules=_bound_rules()),
        column("layers", "layers", width=112),
        column("repeat", "×", "count", width=95),
        column("time_s", "time each", "time", width=115),
        column("arithmetic_intensity", "FLOP/B", "number", width=95),
        column("matmul_flops", "matmul FLOP", "flop", width=135),
        column("dram_bytes", "DRAM traffic", "bytes", width=115),
        column("weight_bytes", "weights", "bytes", width=115),
        column("kv_read_bytes", "KV read", "bytes", width=115),
        column("math", "math", width=100),
        column("notes", "notes", minWidth=160, flex=1, tooltipField="notes"),
    ]
    key = "params.data.phase + '/' + params.data.layers + '/' + params.data.name"
    return grid("ops", columns, key=key)


def _bound_rules() -> dict[str, str]:
    return {f"bound-{word}": f"params.value === '{word}'" for word in BOUND_LABELS}


def register(app: Dash) -> None:
    """The callbacks of the page."""
    app.callback(
        Output("headline", "children"),
        Output("figures", "children"),
        Output("guards", "children"),
        Output("roofline", "figure"),
        Output("memory", "figure"),
        Output("ops", "rowData"),
        Output("graph-data", "data"),
        Output("errors", "data"),
        Input("on-analyze", "data"),
        Input("show", "value"),
        Input("paths", "checked"),
        State("files", "data"),
        prevent_initial_call=True,
    )(update)
    app.clientside_callback(
        ClientsideFunction("app", "drawGraph"),
        Output("graph", "data-drawn"),
        Input("graph-data", "data"),
        Input("graph-colour", "value"),
        Input("selected", "data"),
    )
    app.clientside_callback(
        ClientsideFunction("app", "select"),
        Output("selected", "data"),
        Input("roofline", "clickData"),
        Input("ops", "selectedRows"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("app", "mark"),
        Output("graph", "data-marked"),
        Input("selected", "data"),
        Input("roofline", "figure"),
    )
    _register_paint(app)
    app.clientside_callback(
        ClientsideFunction("app", "filterTable"),
        Output("ops", "dashGridOptions"),
        Input("table-search", "value"),
        State("ops", "dashGridOptions"),
        prevent_initial_call=True,
    )


def _register_paint(app: Dash) -> None:
    app.clientside_callback(
        ClientsideFunction("app", "paint"),
        Output("extra", "data", allow_duplicate=True),
        Input("paint", "n_clicks"),
        Input("paint-undo", "n_clicks"),
        Input("paint-clear", "n_clicks"),
        State("paint-target", "value"),
        State("paint-layers", "value"),
        State("paint-w", "value"),
        State("paint-a", "value"),
        State("paint-kv", "value"),
        State("selected", "data"),
        State("extra", "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("app", "showPaint"),
        Output("paint-rules", "data-shown"),
        Input("extra", "data"),
    )


def update(on: Any, show: Any, paths: Any, files: Any) -> tuple[Any, ...]:
    """State in, page out. A complaint leaves the last good page and shows one line beside its control."""
    keep = (no_update,) * 7
    if not isinstance(on, dict):
        return (*keep, no_update)
    try:
        result = Analysis(scenario_of(on.get("flat"), files))
        others = [row for other in companions(result.scenario) for row in Analysis(other).rows]
        old = _baseline(on.get("base"), files, show)
        look = {"theme": str(on.get("theme")), "compact": bool(on.get("compact"))}
        ways = [path for path in op_paths(result) if show in ("both", path["phase"])] if paths is True else []
        return (*_page(result, others, old, str(show), look | {"paths": ways}), {})
    except InputError as error:
        return (*keep, {field_of(str(error)): str(error)})


def _baseline(base: Any, files: Any, show: str) -> tuple[list[Any], Analysis | None]:
    if not base:
        return [], None
    pinned = Analysis(scenario_of(base, files))
    rows = [*pinned.rows, *(row for other in companions(pinned.scenario) for row in Analysis(other).rows)]
    return [row for row in rows if show in ("both", row["phase"])], pinned


def _page(
    result: Analysis,
    others: list[Any],
    old: tuple[list[Any], Analysis | None],
    show: str,
    look: dict[str, Any],
) -> tuple[Any, ...]:
    ghosts, pinned = old
    rows = [row for row in [*result.rows, *others] if show in ("both", row["phase"])]
    chart = roofline(rows, view.roofs_for(result, others), baseline=ghosts, **look)
    accounts = [("now", result.memory)] + ([("baseline", pinned.memory)] if pinned else [])
    return (
        view.headline(result),
        figure_cards(view.figures(result), view.figures(pinned) if pinned else [], view.shares(result)),
        guard_lines(view.guards(result)),
        chart,
        memory_bar(accounts, look["theme"]),
        view.table_rows(result),
        layer_graph(result),
    )


def figure_cards(
    now: list[dict[str, str]], before: list[dict[str, str]], shares: list[dict[str, Any]]
) -> list[Any]:
    """The headline figures as buttons (a click explains), with the baseline's value below, and the bar of bounds."""
    old = {f["key"]: f["value"] for f in before}
    cards = []
    for item in now:
        below: list[Any] = [item["below"]]
        if item["key"] in old and old[item["key"]] != item["value"]:
            below.append(html.Span(f"was {old[item['key']]}", className="was"))
        cards.append(
            html.Button(
                [
                    html.Span(item["label"], className="figure-label"),
                    html.Span(item["value"], className="figure-value"),
                    html.Span(below if len(below) > 1 else below[0], className="figure-below"),
                ],
                className="figure",
                **data(explain=item["key"]),
            )
        )
    bar = [html.Span(style={"width": f"{100 * s['share']:.2f}%", "background": s["colour"]}) for s in shares]
    words = [
        html.Span([html.I(style={"background": s["colour"]}), f"{s['bound']} {percent(s['share'])}"])
        for s in shares
        if s["share"] >= 0.001
    ]
    mix = html.Div(
        [
            html.Span("Time by bound", className="figure-label"),
            html.Div(bar, className="mix-bar"),
            html.Div(words, className="mix-words"),
        ],
        className="figure mix",
    )
    return [*cards, mix]


def guard_lines(lines: list[dict[str, str]]) -> list[Any]:
    """Guards as lines; more than three notes fold away."""
    shown: list[Any] = [html.Div(line["text"], className=f"guard {line['level']}") for line in lines]
    loud = [s for s, line in zip(shown, lines, strict=True) if line["level"] != "note"]
    quiet = [s for s, line in zip(shown, lines, strict=True) if line["level"] == "note"]
    if len(quiet) > 2:
        quiet = [
            html.Details([html.Summary(f"{len(quiet)} notes on this result"), *quiet], className="guard-more")
        ]
    return [*loud, *quiet]
