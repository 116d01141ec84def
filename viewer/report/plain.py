"""Charts without a browser: the traces of a figure dict drawn with matplotlib (lines, markers, bars; vector text)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from viewer.report.blocks import Chart
from viewer.report.themes import Style

MARKERS = {
    "circle": "o",
    "diamond": "D",
    "square": "s",
    "star": "*",
    "triangle-down": "v",
    "hexagon": "h",
    "pentagon": "p",
}


def draw_plain(chart: Chart, path: Path, style: Style) -> None:
    """Draw ``chart`` to ``path`` (suffix: png, svg, pdf); also returns nothing and leaves no state behind."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "none", "pdf.fonttype": 42, "font.size": style.size * 0.75}):
        figure = Figure(figsize=(style.picture[0] / 96, style.picture[1] / 96), layout="constrained")
        fill(figure, chart, style)
        figure.savefig(path, dpi=192)


def fill(figure: Any, chart: Chart, style: Style) -> None:
    """Put the chart's traces on axes of ``figure``, one per pair of plotly axes."""
    spec = chart.draw(style.theme)
    names = list(dict.fromkeys((t.get("xaxis") or "x") for t in spec["data"]))
    axes = dict(zip(names, figure.subplots(1, len(names), squeeze=False)[0], strict=True))
    for trace in spec["data"]:
        _trace(axes[trace.get("xaxis") or "x"], trace)
    for name, ax in axes.items():
        _axis(ax, spec["layout"], name)
    handles, labels = axes[names[0]].get_legend_handles_labels()
    for name in names[1:]:
        more = axes[name].get_legend_handles_labels()
        handles, labels = handles + more[0], labels + more[1]
    unique = dict(zip(labels, handles, strict=True))
    if unique:
        figure.legend(unique.values(), unique.keys(), loc="outside upper left", ncols=4, frameon=False)
    figure.suptitle(chart.title)


def _trace(ax: Any, trace: dict[str, Any]) -> None:
    x, y = trace.get("x"), trace.get("y")
    if x is None or y is None or not len(x) or x[0] is None:
        return
    name = trace.get("name") if trace.get("showlegend", True) else None
    if trace["type"] == "bar":
        _bars(ax, trace, name)
        return
    colour = (trace.get("line") or {}).get("color") or (trace.get("marker") or {}).get("color")
    if "lines" in trace.get("mode", "lines"):
        dash = {"dash": "--", "dot": ":", "dashdot": "-."}.get((trace.get("line") or {}).get("dash", ""), "-")
        ax.plot(
            x,
            y,
            dash,
            color=colour if isinstance(colour, str) and "(" not in colour else None,
            label=name,
            lw=1.2,
        )
    if "markers" in trace.get("mode", ""):
        marker = trace.get("marker") or {}
        size, symbol = marker.get("size", 8), marker.get("symbol", "circle")
        for i in range(len(x)):
            one = size[i] if isinstance(size, list | tuple) else size
            shape = symbol[i] if isinstance(symbol, list | tuple) else symbol
            fill_colour = marker.get("color")
            fill_colour = fill_colour[i] if isinstance(fill_colour, list | tuple) else fill_colour
            plain = fill_colour if isinstance(fill_colour, str) and "(" not in fill_colour else "#0072b2"
            ax.scatter([x[i]], [y[i]], s=float(one) ** 2 * 0.5, marker=_mark(shape),
                       color=plain, alpha=0.7, label=name if i == 0 else None)  # fmt: skip


def _mark(symbol: Any) -> str:
    return MARKERS.get(str(symbol).removesuffix("-open"), "o")


def _bars(ax: Any, trace: dict[str, Any], name: str | None) -> None:
    colour = (trace.get("marker") or {}).get("color")
    if trace.get("orientation") == "h":
        lefts = getattr(ax, "_lefts", {})
        left = [lefts.get(label, 0.0) for label in trace["y"]]
        ax.barh(list(trace["y"]), list(trace["x"]), left=left, color=colour, label=name, height=0.6)
        ax._lefts = {**lefts, **{k: v + d for k, v, d in zip(trace["y"], left, trace["x"], strict=True)}}
        if not ax.yaxis_inverted():
            ax.invert_yaxis()
    else:
        ax.bar(list(trace["x"]), list(trace["y"]), color=colour, label=name)


def _axis(ax: Any, plot: dict[str, Any], name: str) -> None:
    for key, setter in (
        (name + "axis" if name == "x" else "xaxis" + name[1:], "x"),
        ("yaxis" + name[1:], "y"),
    ):
        spec = plot.get(key) or {}
        if spec.get("type") == "log":
            getattr(ax, f"set_{setter}scale")("log")
            if spec.get("range"):
                low, high = spec["range"]
                getattr(ax, f"set_{setter}lim")(10.0**low, 10.0**high)
        title = spec.get("title")
        getattr(ax, f"set_{setter}label")(title.get("text", "") if isinstance(title, dict) else title or "")
    ax.grid(True, alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
