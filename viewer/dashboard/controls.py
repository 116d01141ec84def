"""The controls of the scenario panel: one per field of the state, with the field's name as its id."""

from __future__ import annotations

from typing import Any, get_args

import dash_mantine_components as dmc
from dash import dcc, html

from hardware_specs import available
from viewer.dashboard.state import FIRST, defaults
from viewer.dashboard.widgets import aria
from viewer.models.load import catalog_names
from viewer.scenario import Assumptions

#: Fields with a control, in the order of the browser's functions (assets/app.js reads the same order).
FIELDS = (
    "model",
    "hardware",
    "compression",
    "phase",
    "batch",
    "prompt",
    "context",
    "cached",
    "output",
    "fusion",
    "attention",
    "mla",
    "fidelity",
    "clock",
    "overlap",
    "tp",
    "pp",
    "ep",
    "dp",
    "bandwidth_scale",
    "compute_scale",
)


def choices(field: str) -> list[str]:
    """The words that a field of the assumptions allows."""
    return [str(word) for word in get_args(Assumptions.model_fields[field].annotation)]


def compressions() -> list[str]:
    """Names of compression settings to offer; any composition with ``+`` may be typed."""
    from viewer.compression import available as presets

    return ["checkpoint", *[name for name in presets() if name != "checkpoint"]]


def hardware_options() -> list[dict[str, Any]]:
    """Devices by vendor."""
    groups: dict[str, list[dict[str, str]]] = {}
    for name in available():
        vendor, part = name.split("/", 1)
        groups.setdefault(vendor, []).append({"value": name, "label": part})
    return [{"group": vendor, "items": items} for vendor, items in groups.items()]


def _start(field: str) -> Any:
    return FIRST.get(field, defaults()[field])


def _select(field: str, label: str, data: Any, **extra: Any) -> Any:
    return dmc.Select(
        id=field,
        label=label,
        data=data,
        value=_start(field),
        allowDeselect=False,
        size="xs",
        comboboxProps={"withinPortal": True},
        maxDropdownHeight=320,
        **extra,
    )


def _number(field: str, label: str, low: float = 0, **extra: Any) -> Any:
    settings = {"min": low, "clampBehavior": "none", "allowNegative": False, "allowDecimal": False}
    return dmc.NumberInput(
        id=field,
        label=label,
        value=_start(field),
        size="xs",
        thousandSeparator=",",
        className=f"field-{field}",
        **{**settings, **extra},
    )


def panel() -> Any:
    """The scenario panel."""
    return html.Div(
        [
            _select("model", "Model", list(catalog_names()), searchable=True),
            _select("hardware", "Hardware", hardware_options(), searchable=True),
            dmc.Autocomplete(
                id="compression",
                label="Compression",
                data=compressions(),
                value=_start("compression"),
                size="xs",
                debounce=150,
                limit=60,
                maxDropdownHeight=320,
                description="compose with + (w4a16-g128+kv8)",
            ),
            html.Div(
                [
                    html.Span("Phase", className="control-label", id="phase-label"),
                    dmc.SegmentedControl(
                        id="phase",
                        value=_start("phase"),
                        data=[{"value": w, "label": w} for w in ("prefill", "decode", "generate")],
                        size="xs",
                        fullWidth=True,
                        **aria(label="Phase"),
                    ),
                ]
            ),
            html.Div(
                [
                    _number("batch", "Batch", 1),
                    _number("prompt", "Prompt", 1),
                    _number("context", "Context"),
                    _number("output", "Output", 1),
                    _number("cached", "Cached"),
                ],
                className="pair",
            ),
            _select("fusion", "Fusion", choices("fusion")),
            _details("More", _more()),
            _details("Resources", _resources()),
            _details("Files", _files()),
        ],
        id="panel",
        className="panel phase-generate",
    )


def _details(title: str, children: list[Any]) -> Any:
    return html.Details([html.Summary(title), html.Div(children, className="details-body")])


def _more() -> list[Any]:
    return [
        html.Div(
            [
                _select("fidelity", "Fidelity", choices("fidelity")),
                _select("clock", "Clock", choices("clock")),
                _select("attention", "Attention", choices("attention")),
                _select("mla", "Latent attention", choices("mla")),
                _number("tp", "Tensor parallel", 1),
                _number("pp", "Pipeline", 1),
                _number("ep", "Expert parallel", 1),
                _number("dp", "Replicas", 1),
            ],
            className="pair",
        ),
        _number("overlap", "Overlap of memory and compute", 0, allowDecimal=True, max=1, step=0.1),
    ]


def _resources() -> list[Any]:
    return [
        html.P("What if the device were faster? Also: drag a roof in the chart.", className="hint"),
        html.Div(
            [
                _number("bandwidth_scale", "Bandwidth ×", 0, allowDecimal=True, step=0.1),
                _number("compute_scale", "Compute ×", 0, allowDecimal=True, step=0.1),
            ],
            className="pair",
        ),
        dmc.Button("Back to ×1", id="scales-reset", size="compact-xs", variant="default"),
    ]


def _files() -> list[Any]:
    return [
        dcc.Upload(
            html.Div(
                [
                    "Drop or choose a config.json, a hardware YAML, a compression file, or a .safetensors or .gguf"
                    " (only its header is read)"
                ],
                className="drop",
            ),
            id="upload",
            multiple=False,
            max_size=64 * 2**20,
            className="upload",
        ),
        html.Div(id="upload-note", className="hint", role="status"),
    ]
