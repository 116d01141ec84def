"""The Models page: the catalog with counted and published parameters, and the layers of the chosen model."""

from __future__ import annotations

from functools import cache
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, html, no_update

from viewer.dashboard.state import model_name
from viewer.dashboard.widgets import card, column, export_button, grid
from viewer.errors import InputError
from viewer.models import build_graph, load_model
from viewer.models.load import catalog_names

NAME, TITLE, PATH = "models", "Models", "/models"


def layout() -> list[Any]:
    """What the page consists of."""
    return [
        html.H1("Models"),
        html.P(
            "Parameters are counted from the structure and set against the published number."
            " A click on a model makes it the scenario’s; your own config.json can be dropped under Files.",
            className="lead",
        ),
        html.Div(
            [
                card("Chosen", [html.Div(id="model-facts")]),
                card("Groups of layers", [html.Div(id="model-layers")]),
            ],
            className="two",
        ),
        card("Catalog", [grid("model-table", _columns())], export_button("model-table")),
    ]


def _columns() -> list[dict[str, Any]]:
    return [
        column("name", "model", minWidth=190),
        column("model_type", "type", width=130),
        column("layers", "layers", "count", width=90),
        column("hidden", "hidden", "count", width=95),
        column("vocab", "vocabulary", "count", width=115),
        column("parameters", "parameters", "si", width=120),
        column("published", "published", "si", width=120),
        column("gap", "difference", "share", width=110),
        column("max_positions", "positions", "count", width=110),
        column("notes", "notes", minWidth=180, flex=1, tooltipField="notes"),
    ]


@cache
def model_rows() -> list[dict[str, Any]]:
    """One row per catalog model; one that this version cannot build says why."""
    rows: list[dict[str, Any]] = []
    for name in catalog_names():
        try:
            spec = load_model(name)
            count = build_graph(spec, "flash", "auto").parameter_count
        except InputError as error:
            rows.append({"id": name, "name": name, "notes": str(error)})
            continue
        rows.append(
            {
                "id": name,
                "name": name,
                "model_type": spec.model_type,
                "layers": len(spec.layers),
                "hidden": spec.hidden,
                "vocab": spec.vocab,
                "parameters": count,
                "published": spec.published,
                "gap": None if not spec.published else count / spec.published - 1,
                "max_positions": spec.max_positions,
                "notes": "; ".join(spec.notes),
            }
        )
    return rows


def register(app: Dash) -> None:
    """The callbacks of the page."""
    app.callback(
        Output("model-table", "rowData"),
        Input("on-models", "data"),
        State("model-table", "rowData"),
        prevent_initial_call=True,
    )(fill)
    app.callback(
        Output("model-facts", "children"),
        Output("model-layers", "children"),
        Input("on-models", "data"),
        State("files", "data"),
        prevent_initial_call=True,
    )(update)
    app.clientside_callback(
        ClientsideFunction("app", "chooseModel"),
        Output("model", "value", allow_duplicate=True),
        Input("model-table", "selectedRows"),
        prevent_initial_call=True,
    )


def fill(_on: Any, rows: Any) -> Any:
    """The catalog, once."""
    return no_update if rows else model_rows()


def update(on: Any, files: Any) -> tuple[Any, Any]:
    """Facts and layer groups of the chosen model."""
    if not isinstance(on, dict) or not isinstance(on.get("flat"), dict):
        return no_update, no_update
    try:
        spec = load_model(model_name(on["flat"].get("model"), files))
        graph = build_graph(spec, "flash", "auto")
    except InputError as error:
        return html.P(str(error), className="empty"), []
    count = graph.parameter_count
    pairs = [
        ("model", f"{spec.name} ({spec.model_type})"),
        ("parameters", f"{count:,}"),
        ("published", f"{spec.published:,}" if spec.published else "not known"),
        ("source", spec.published_source or "–"),
        ("layers", f"{len(spec.layers)} in {sum(1 for g in graph.groups if g.layers)} kinds"),
        ("hidden, vocabulary", f"{spec.hidden:,}, {spec.vocab:,}"),
        ("positions", f"{spec.max_positions:,}" if spec.max_positions else "no limit stated"),
        ("head", "tied to the embedding" if spec.tied else "its own weights"),
        ("notes", "; ".join(spec.notes) or "–"),
    ]
    facts = html.Dl(
        [part for term, text in pairs for part in (html.Dt(term), html.Dd(text))], className="facts"
    )
    groups = [
        html.Tr(
            [
                html.Td(group.name),
                html.Td(f"× {group.repeat}"),
                html.Td(f"{sum(op.parameter_count for op in group.ops):,}"),
                html.Td(", ".join(op.name for op in group.ops)),
            ]
        )
        for group in graph.groups
    ]
    head = html.Thead(html.Tr([html.Th(word) for word in ("layers", "times", "parameters each", "ops")]))
    return facts, html.Table([head, html.Tbody(groups)], className="plain")
