"""Callbacks of the dialogs: explain a number, copy the state, drop a file."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, html, no_update

from viewer.analysis import Analysis
from viewer.dashboard.copying import as_command, as_json, as_python
from viewer.dashboard.explain import Block, explain
from viewer.dashboard.files import MAX_BYTES, key_of, materialize
from viewer.dashboard.paint import policy_of
from viewer.dashboard.state import scenario_of
from viewer.dashboard.widgets import data
from viewer.errors import InputError


def register(app: Dash) -> None:
    """The callbacks."""
    app.callback(
        Output("explain-body", "children"),
        Output("explain", "opened"),
        Input("question", "data"),
        State("scenario", "data"),
        State("files", "data"),
        prevent_initial_call=True,
    )(answer)
    app.callback(
        Output("copy-body", "children"),
        Output("copy", "opened"),
        Input("copy-open", "n_clicks"),
        State("scenario", "data"),
        State("files", "data"),
        prevent_initial_call=True,
    )(copies)
    _register_drop(app)
    app.clientside_callback(
        ClientsideFunction("app", "askCell"),
        Output("question", "data"),
        Input("ops", "cellClicked"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("app", "askAgain"),
        Output("question", "data", allow_duplicate=True),
        Input("scenario", "data"),
        State("explain", "opened"),
        State("question", "data"),
        prevent_initial_call=True,
    )


def _register_drop(app: Dash) -> None:
    app.callback(
        Output("files", "data"),
        Output("model", "value", allow_duplicate=True),
        Output("hardware", "value", allow_duplicate=True),
        Output("compression", "value", allow_duplicate=True),
        Output("model", "data"),
        Output("hardware", "data"),
        Output("upload-note", "children"),
        Input("upload", "contents"),
        State("upload", "filename"),
        State("files", "data"),
        State("model", "data"),
        State("hardware", "data"),
        prevent_initial_call=True,
    )(dropped)
    app.clientside_callback(
        ClientsideFunction("drop", "keep"),
        Output("files", "data", allow_duplicate=True),
        Output("model", "value", allow_duplicate=True),
        Output("model", "data", allow_duplicate=True),
        Output("upload-note", "children", allow_duplicate=True),
        Input("header", "data"),
        State("files", "data"),
        State("model", "data"),
        prevent_initial_call=True,
    )


def answer(question: Any, flat: Any, files: Any) -> tuple[Any, Any]:
    """The explanation of the figure that was clicked last."""
    if not isinstance(question, dict):
        return no_update, no_update
    try:
        result = Analysis(scenario_of(flat, files))
    except InputError as error:
        return html.P(str(error)), no_update
    return [part for block in explain(result, str(question.get("key"))[:200]) for part in _block(block)], True


def _block(block: Block) -> list[Any]:
    parts: list[Any] = [html.H3(block.title), html.Pre("\n".join(block.lines))]
    return parts + [html.P(source, className="source") for source in block.sources if source]


def copies(_clicks: Any, flat: Any, files: Any) -> tuple[Any, Any]:
    """Link, command, Python and JSON of the state, each with a button."""
    try:
        scenario = scenario_of(flat, files)
    except InputError as error:
        return html.P(str(error)), True
    texts: list[tuple[str, str | None]] = [
        ("Link", None),
        ("Command", as_command(flat)),
        ("Python", as_python(flat, scenario)),
        ("JSON", as_json(flat, scenario)),
    ]
    if flat.get("paint"):
        policy = policy_of(str(flat.get("compression") or "checkpoint"), str(flat["paint"]))
        texts.append(("painted.json", json.dumps(policy, indent=2)))
    body = []
    for title, text in texts:
        copy = html.Button("Copy", className="tool", **data(copy=title.lower().split(".")[0]))
        head = html.Div([html.H3(title), copy], className="card-head")
        body += [head, html.Pre(text, className="code", id=f"copy-{title.lower().split('.')[0]}")]
    return body, True


def dropped(
    contents: Any, name: Any, files: Any, models: Any, devices: Any
) -> tuple[Any, Any, Any, Any, Any, Any, Any]:
    """A dropped file becomes the model, the hardware or the compression; a complaint in one line otherwise."""
    keep = (no_update,) * 6
    try:
        text = decoded(contents)
        key = key_of(str(name or "file"), text)
        kept = {**(files if isinstance(files, dict) else {}), key: text}
        field = kind_of(key, kept)
    except InputError as error:
        return (*keep, str(error))
    if sum(len(v) for v in kept.values()) > MAX_BYTES:
        kept = {key: text}
    value = {field: key}
    label = {"value": key, "label": str(name)[:60]}
    return (
        kept,
        value.get("model", no_update),
        value.get("hardware", no_update),
        value.get("compression", no_update),
        [label, *models] if field == "model" else no_update,
        [{"group": "your files", "items": [label]}, *devices] if field == "hardware" else no_update,
        f"{str(name)[:60]}: read as {field}. The link names it; whoever opens the link is asked for it.",
    )


def decoded(contents: Any) -> str:
    """The text of an uploaded file (a data URL); InputError for what is too large, not text or not a file."""
    if not isinstance(contents, str) or "," not in contents[:200]:
        raise InputError("nothing was read")
    body = contents.split(",", 1)[1]
    if len(body) > MAX_BYTES * 4 // 3 + 4:
        raise InputError(
            f"the file is larger than {MAX_BYTES // 2**20} MiB: drop a header or a configuration"
        )
    try:
        return base64.b64decode(body, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        raise InputError("not a text file: expected JSON or YAML") from None


def kind_of(key: str, files: dict[str, str]) -> str:
    """What a dropped file is: a model, a device or a compression; InputError with the reader's first complaint."""
    from viewer.compression import load as load_compression
    from viewer.models import load_model
    from viewer.planned import hardware_of

    text = files[key]
    looks = (
        "hardware"
        if "schema_version" in text and "compute" in text
        else "compression"
        if "rules" in text
        else "model"
    )
    readers: dict[str, Any] = {"model": load_model, "hardware": hardware_of, "compression": load_compression}
    if looks == "model" and not key.split("@")[0].endswith(".json"):
        raise InputError("neither a device (schema_version, compute) nor a compression (rules)")
    readers[looks](materialize(key, files, looks))
    return looks
