"""Settings of the pages that are no part of a scenario, in the link as ``set=`` where they differ from the start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, html

#: Controls whose value is in the link, and the property that holds it.
SETTINGS: dict[str, str] = {
    "show": "value",
    "paths": "checked",
    "compare-with": "value",
    **{f"sweep-{name}": "value" for name in ("axis", "from", "to", "figure", "settings")},
    "map-target": "value",
    **{f"solve-{name}": "value" for name in ("unknown", "condition", "value", "against", "price")},
    **{f"plan-{name}": "value" for name in ("memory", "tpot", "ttft", "candidates")},
}


def starts(pages: Sequence[Any]) -> list[dict[str, Any]]:
    """Every setting with the value it starts with: id, property, start."""
    root = html.Div([part for page in pages for part in page.layout()])
    return [
        {"id": name, "property": prop, "start": getattr(root[name], prop, None)}
        for name, prop in SETTINGS.items()
    ]


def register(app: Dash) -> None:
    """Browser-side: link -> controls once at load, controls -> store."""
    app.clientside_callback(
        ClientsideFunction("settings", "restore"),
        *[Output(name, prop, allow_duplicate=True) for name, prop in SETTINGS.items()],
        Input("meta", "data"),
        prevent_initial_call="initial_duplicate",
    )
    app.clientside_callback(
        ClientsideFunction("settings", "collect"),
        Output("settings", "data"),
        *[Input(name, prop) for name, prop in SETTINGS.items()],
        State("meta", "data"),
    )
