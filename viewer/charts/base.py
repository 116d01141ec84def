"""What all charts share: layout, axes, number text, and the wrapper for notebooks."""

from __future__ import annotations

import math
from typing import Any

from viewer.charts.palette import Theme
from viewer.units import format_quantity

Figure = dict[str, Any]
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'

#: Options of every plot: no upload button, a short tool bar.
CONFIG: dict[str, Any] = {
    "showSendToCloud": False,
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    "toImageButtonOptions": {"format": "svg", "filename": "roofline"},
}


def figure(spec: Figure) -> Any:
    """A ``plotly.graph_objects.Figure`` of a chart's dict, for notebooks and picture export."""
    import plotly.graph_objects as go

    return go.Figure(spec)


def layout(theme: Theme, **extra: Any) -> dict[str, Any]:
    """The common layout: quiet background, theme colours, hover label, no title."""
    base: dict[str, Any] = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 12, "color": theme.ink},
        "margin": {"l": 64, "r": 16, "t": 12, "b": 52},
        "hoverlabel": {
            "bgcolor": theme.paper,
            "bordercolor": theme.axis,
            "align": "left",
            "font": {"color": theme.ink},
        },
        "showlegend": False,
        "hovermode": "closest",
    }
    return {**base, **extra}


def axis(theme: Theme, title: str, **extra: Any) -> dict[str, Any]:
    """One axis with a title (with its unit) and theme colours."""
    base: dict[str, Any] = {
        "title": {"text": title, "font": {"color": theme.muted, "size": 12}, "standoff": 8},
        "gridcolor": theme.grid,
        "linecolor": theme.axis,
        "tickcolor": theme.axis,
        "tickfont": {"color": theme.muted},
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "zeroline": False,
        "automargin": True,
    }
    return {**base, **extra}


def log_axis(theme: Theme, title: str, low: float, high: float, **extra: Any) -> dict[str, Any]:
    """A logarithmic axis from ``low`` to ``high`` (values, not exponents) with one tick a decade."""
    span = [math.log10(low), math.log10(high)]
    ticks = {"type": "log", "range": span, "dtick": 1, "exponentformat": "SI extended"}
    return axis(theme, title, **{**ticks, **extra})


def decades(values: list[float], pad: float = 1.0) -> tuple[float, float]:
    """Whole decades that hold all positive ``values`` (widened by a factor ``pad`` before rounding)."""
    good = [v for v in values if v > 0 and math.isfinite(v)]
    if not good:
        return 1.0, 10.0
    low, high = min(good) / pad, max(good) * pad
    return 10.0 ** math.floor(math.log10(low) + 1e-9), 10.0 ** math.ceil(math.log10(high) - 1e-9)


def seconds(value: float | None) -> str:
    """A time with three significant digits: ``35.7 ms``."""
    return format_quantity(value, "s")


def amount(value: float | None, unit: str) -> str:
    """A quantity with a decimal prefix and three significant digits: ``155 TFLOP/s``."""
    return format_quantity(value, unit)


def percent(value: float) -> str:
    """A share: ``42.1 %``; ``<0.1 %`` where it would round to nothing."""
    if value <= 0:
        return "0 %"
    if value < 0.001:
        return "<0.1 %"
    return f"{100 * value:.1f} %"


def significant(value: float | None, digits: int = 3) -> str:
    """A bare number with three significant digits and thousands separators."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value)) + 1e-12))
    rounded = round(value, digits - 1 - math.floor(math.log10(abs(value)) + 1e-12))
    return f"{rounded:,.{min(decimals, 9)}f}"
