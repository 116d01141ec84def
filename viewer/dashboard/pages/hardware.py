"""The Hardware page: all devices on one plane and in one table; each figure of the chosen one with its source."""

from __future__ import annotations

from functools import cache
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, html, no_update

from hardware_specs import available
from hardware_specs import load as load_hardware
from viewer.charts.base import amount
from viewer.charts.device_map import device_map
from viewer.dashboard.state import hardware_name
from viewer.dashboard.widgets import card, column, export_button, grid, plot, select
from viewer.errors import InputError
from viewer.planned import hardware_of

NAME, TITLE, PATH = "hardware", "Hardware", "/hardware"
TYPES = ("fp16", "bf16", "fp8", "int8", "fp4", "int4", "fp32")


def layout() -> list[Any]:
    """What the page consists of."""
    return [
        html.H1("Hardware"),
        html.P(
            "Every figure says where it comes from: read at its source, reproduced by arithmetic, or only recalled."
            " A click on a device makes it the scenario’s.",
            className="lead",
        ),
        html.Div(
            [
                card(
                    "Devices",
                    [plot("device-map", "plot-medium")],
                    select(
                        "device-type",
                        "",
                        [{"value": t, "label": t.upper()} for t in TYPES],
                        "fp16",
                        w=90,
                        **{"aria-label": "Math type of the peak"},
                    ),
                ),
                card("Chosen", [html.Div(id="device-facts")]),
            ],
            className="two",
        ),
        card(
            "Figures of the chosen device",
            [grid("device-figures", _figure_columns())],
            export_button("device-figures"),
        ),
        card("All devices", [grid("device-table", _columns(), (), "520px")], export_button("device-table")),
    ]


def _columns() -> list[dict[str, Any]]:
    return [
        column("name", "device", pinned="left", minWidth=190),
        column("kind", "kind", width=80),
        column("capacity_bytes", "memory", "bytes", width=105),
        column("bandwidth_bytes_per_s", "DRAM B/s", "si", width=105),
        *[
            column(t, f"{t.upper()} op/s", "si", width=105)
            for t in ("fp32", "fp16", "bf16", "fp8", "int8", "fp4", "int4")
        ],
        column("tdp_w", "TDP (W)", "number", width=95),
        column("label", "label", minWidth=160, flex=1),
    ]


def _figure_columns() -> list[dict[str, Any]]:
    return [
        column("what", "figure", minWidth=220, width=260),
        column("value", "value", "si", width=110),
        column("unit", "unit", width=110),
        column("kind", "kind", width=105),
        column("seen", "checked", width=125),
        column("source", "source", minWidth=260, flex=2, tooltipField="source"),
        column("note", "note", minWidth=200, flex=1, tooltipField="note"),
    ]


@cache
def device_rows() -> list[dict[str, Any]]:
    """One row per device: what the table and the map show; a missing figure is None."""
    rows = []
    for name in available():
        device = load_hardware(name)
        dram = device.memory("dram")
        row: dict[str, Any] = {
            "id": name,
            "name": name,
            "vendor": device.vendor,
            "kind": device.kind,
            "label": device.label,
            "capacity_bytes": dram.capacity_bytes.value if dram and dram.capacity_bytes else None,
            "bandwidth_bytes_per_s": device.bandwidth_bytes_per_s("dram"),
            "tdp_w": device.tdp_w.value if device.tdp_w else None,
        }
        row |= {t: device.peak("tensor", t) if device.has_peak("tensor", t) else None for t in TYPES}
        rows.append(row)
    return rows


def register(app: Dash) -> None:
    """The callbacks of the page."""
    app.callback(
        Output("device-map", "figure"),
        Output("device-facts", "children"),
        Output("device-figures", "rowData"),
        Input("on-hardware", "data"),
        Input("device-type", "value"),
        State("files", "data"),
        prevent_initial_call=True,
    )(update)
    app.callback(
        Output("device-table", "rowData"),
        Input("on-hardware", "data"),
        State("device-table", "rowData"),
        prevent_initial_call=True,
    )(fill)
    app.clientside_callback(
        ClientsideFunction("app", "chooseDevice"),
        Output("hardware", "value", allow_duplicate=True),
        Input("device-map", "clickData"),
        Input("device-table", "selectedRows"),
        prevent_initial_call=True,
    )


def fill(_on: Any, rows: Any) -> Any:
    """The table of all devices, once."""
    return no_update if rows else device_rows()


def update(on: Any, math_type: Any, files: Any) -> tuple[Any, ...]:
    """The map with the chosen device, its facts and its figures."""
    if not isinstance(on, dict) or not isinstance(on.get("flat"), dict):
        return (no_update,) * 3
    name, theme = on["flat"].get("hardware"), on.get("theme")
    kind = math_type if math_type in TYPES else "fp16"
    rows = [row | {"peak_flops_per_s": row[kind]} for row in device_rows()]
    try:
        device = hardware_of(hardware_name(name, files))
    except InputError as error:
        return device_map(rows, kind, "", str(theme)), html.P(str(error), className="empty"), []
    figures = [f.model_dump() | {"id": str(i)} for i, f in enumerate(device.figures())]
    return device_map(rows, kind, device.name, str(theme)), _facts(device), figures


def _facts(device: Any) -> Any:
    dram = device.memory("dram")
    capacity = amount(dram.capacity_bytes.value, "B") if dram and dram.capacity_bytes else "not known"
    pairs = [
        ("device", f"{device.label} ({device.name})"),
        ("architecture", f"{device.kind}, {device.architecture}"),
        ("memory", f"{capacity}, {amount(device.bandwidth_bytes_per_s('dram'), 'B/s')}"),
        ("tensor types", ", ".join(t.upper() for t in device.compute.tensor) or "none"),
        ("vector types", ", ".join(t.upper() for t in device.compute.vector) or "none"),
        ("2:4 sparse", ", ".join(sorted(device.capabilities.sparse_types)) or "none"),
        ("block-scaled", ", ".join(sorted(device.capabilities.block_scaled_types)) or "none"),
        ("power", amount(device.tdp_w.value, "W") if device.tdp_w else "not known"),
        ("links", ", ".join(link.name for link in device.links) or "none listed"),
        (
            "measured",
            f"{len(device.measured)} published measurements" if device.measured else "none published here",
        ),
        ("note", device.note or "–"),
    ]
    return html.Dl(
        [part for term, text in pairs for part in (html.Dt(term), html.Dd(text))], className="facts"
    )
