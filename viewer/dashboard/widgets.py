"""Small building blocks of the pages."""

from __future__ import annotations

from typing import Any

from dash import dcc, html

from viewer.charts.base import CONFIG


def aria(**names: Any) -> dict[str, Any]:
    """ARIA attributes: ``aria(label="Phase")`` is ``{"aria-label": "Phase"}``."""
    return {f"aria-{name}": value for name, value in names.items()}


def data(**names: Any) -> dict[str, Any]:
    """Data attributes: ``data(explain="ttft_s")`` is ``{"data-explain": "ttft_s"}``."""
    return {f"data-{name}": value for name, value in names.items()}


def plot(name: str, extra: str, figure: Any = None) -> Any:
    """A chart in a box of fixed height, so that nothing moves when it is drawn."""
    given = {} if figure is None else {"figure": figure}
    config: Any = CONFIG
    graph = dcc.Graph(id=name, config=config, responsive=True, style={"height": "100%"}, **given)
    return html.Div(graph, className=f"plot {extra}")


def card(title: str, children: list[Any], tools: Any = None, extra: str = "") -> Any:
    """A titled box."""
    head = html.Div([html.H2(title), tools] if tools is not None else [html.H2(title)], className="card-head")
    return html.Div([head, *children], className=f"card {extra}".strip())
