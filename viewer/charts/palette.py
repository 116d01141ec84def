"""Colours and marks, defined once: a bound or a kind of op looks the same in every chart, table and report.

The bound colours are those of Okabe and Ito (Color Universal Design, 2008), chosen to stay apart under the common
forms of colour blindness; shape repeats the kind of op, so colour is never the only cue.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Bound -> colour of marks (never of text). Order is the order of legends.
BOUND_COLOURS: dict[str, str] = {
    "memory": "#0072b2",
    "compute": "#d55e00",
    "vector": "#009e73",
    "transcendental": "#cc79a7",
    "link": "#e69f00",
    "cache": "#56b4e9",
    "latency": "#8c8c8c",
}
BOUND_LABELS: dict[str, str] = {
    "memory": "memory (DRAM)",
    "compute": "compute (tensor unit)",
    "vector": "vector unit",
    "transcendental": "special functions",
    "link": "link",
    "cache": "cache",
    "latency": "latency",
}

#: What memory is spent on -> colour.
MEMORY_COLOURS: dict[str, str] = {
    "weights": "#0072b2",
    "KV cache": "#e69f00",
    "state": "#cc79a7",
    "activations": "#009e73",
    "runtime": "#8c8c8c",
}

#: Series colours for scenarios side by side, in order.
SERIES: tuple[str, ...] = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#8c8c8c",
    "#000000",
)

#: Sequential scale (light to dark blue), perceptually even, readable in grey.
SEQUENTIAL: tuple[tuple[float, str], ...] = (
    (0.0, "#eff5fb"),
    (0.25, "#bdd4e9"),
    (0.5, "#7fb0d6"),
    (0.75, "#3885bb"),
    (1.0, "#0b4f85"),
)

_SHAPES: tuple[tuple[str, str], ...] = (
    ("moe", "star"),
    ("expert", "star"),
    ("router", "star-triangle-up"),
    ("attention", "diamond"),
    ("matmul", "diamond"),
    ("softmax", "diamond-tall"),
    ("mla", "diamond-wide"),
    ("linear", "circle"),
    ("embed", "triangle-down"),
    ("scan", "hexagon"),
    ("conv", "pentagon"),
    ("all_", "bowtie"),
    ("reduce_scatter", "bowtie"),
    ("send", "bowtie"),
)


def shape_of(kind: str) -> str:
    """Marker symbol of a kind of op: circle linear, diamond attention, star experts, square element-wise."""
    return next((shape for word, shape in _SHAPES if word in kind), "square")


def family_of(kind: str) -> str:
    """The word a legend uses for a kind of op."""
    shape = shape_of(kind)
    words = {
        "circle": "linear",
        "diamond": "attention",
        "diamond-tall": "softmax",
        "diamond-wide": "latent attention",
        "star": "experts",
        "star-triangle-up": "router",
        "triangle-down": "embedding",
        "hexagon": "scan",
        "pentagon": "convolution",
        "bowtie": "collective",
    }
    return words.get(shape, "element-wise")


def bound_colour(bound: str) -> str:
    """Colour of a bound; grey for a word that is not one."""
    return BOUND_COLOURS.get(bound, "#8c8c8c")


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of one theme: ``ink`` text, ``muted`` secondary text, ``grid`` lines, ``paper`` background."""

    ink: str
    muted: str
    grid: str
    axis: str
    paper: str
    accent: str
    panel: str


LIGHT = Theme("#1b1f24", "#57606a", "#e7eaee", "#b5bcc4", "#ffffff", "#3b5bdb", "#f6f8fa")
DARK = Theme("#e8eaed", "#a3abb5", "#2a2f37", "#525a66", "#16191d", "#91a7ff", "#1d2126")


def theme_of(name: str) -> Theme:
    """The theme by name; light unless ``dark``."""
    return DARK if name == "dark" else LIGHT


def with_alpha(colour: str, alpha: float) -> str:
    """``#rrggbb`` as an rgba() with ``alpha``."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"
