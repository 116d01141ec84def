"""Small building blocks of the pages."""

from __future__ import annotations

from typing import Any

import dash_ag_grid as dag
import dash_mantine_components as dmc
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
    blank = {"visible": False}
    clear = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": blank,
        "yaxis": blank,
    }
    given: dict[str, Any] = {"figure": {"data": [], "layout": clear} if figure is None else figure}
    config: Any = CONFIG
    graph = dcc.Graph(id=name, config=config, responsive=True, style={"height": "100%"}, **given)
    return html.Div(graph, className=f"plot {extra}")


def card(title: str, children: list[Any], tools: Any = None, extra: str = "") -> Any:
    """A titled box."""
    head = html.Div([html.H2(title), tools] if tools is not None else [html.H2(title)], className="card-head")
    return html.Div([head, *children], className=f"card {extra}".strip())


def column(field: str, name: str, form: str | None = None, **extra: Any) -> dict[str, Any]:
    """A table column; ``form`` is how numbers read: time, bytes, flop, count, number, share, si."""
    made: dict[str, Any] = {"field": field, "headerName": name, **extra}
    if form:
        made |= {"type": "rightAligned", "valueFormatter": {"function": f"roofline_{form}(params.value)"}}
    return made


def grid(
    name: str,
    columns: list[dict[str, Any]],
    rows: Any = (),
    height: str | None = None,
    key: str = "params.data.id",
) -> Any:
    """A table: sortable, one row selectable; as high as its rows, or scrolling within ``height``.

    ``key``: the expression that names a row.
    """
    options: dict[str, Any] = {
        "rowSelection": {"mode": "singleRow", "checkboxes": False, "enableClickSelection": True},
        "animateRows": False,
        "rowHeight": 30,
        "headerHeight": 32,
        "theme": {"function": "roofline_theme(theme, agGrid)"},
        "suppressColumnVirtualisation": True,
        "tooltipShowDelay": 300,
    }
    if height is None:
        options["domLayout"] = "autoHeight"
    return dag.AgGrid(
        id=name,
        columnDefs=columns,
        rowData=list(rows),
        getRowId=key,
        defaultColDef={"sortable": True, "resizable": True, "minWidth": 70},
        dashGridOptions=options,
        className="grid-table",
        style={"height": height},
    )


def export_button(table: str) -> Any:
    """A button that saves the table as CSV (in the browser)."""
    return html.Button("CSV", className="tool", title="Save this table", **data(export=table))


def select(name: str, label: str, options: Any, value: Any, **extra: Any) -> Any:
    """A labelled select of a page."""
    return dmc.Select(
        id=name, label=label, data=options, value=value, allowDeselect=False, size="xs", **extra
    )
