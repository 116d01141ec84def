"""Plain downloads beside the page: the analysis as JSON or CSV, the chart as a self-contained HTML file."""

from __future__ import annotations

import io
import json
from typing import Any

from flask import Flask, Response, request

from viewer.analysis import Analysis
from viewer.dashboard.files import key_of, label_of, materialize
from viewer.dashboard.headers import ENDINGS, MAX_HEAD_BYTES, is_header, packed
from viewer.dashboard.state import scenario_of
from viewer.errors import InputError
from viewer.models.load import catalog_names, load_model


def add_routes(server: Flask) -> None:
    """Registers ``/data.json``, ``/data.csv``, ``/chart.html``, ``/header`` and ``/healthz``."""

    @server.get("/healthz")
    def healthy() -> Response:
        return Response("ok", mimetype="text/plain")

    @server.get("/data.json")
    def data_json() -> Response:
        return _answer(
            lambda r: (json.dumps(r.to_dict(), indent=1, default=float), "application/json", "json")
        )

    @server.get("/data.csv")
    def data_csv() -> Response:
        return _answer(lambda r: (_csv(r), "text/csv", "csv"))

    @server.get("/chart.html")
    def chart_html() -> Response:
        from viewer.dashboard.export import chart_page

        return _answer(lambda r: (chart_page(r, request.args.get("theme", "light")), "text/html", "html"))

    @server.post("/header")
    def header() -> Response:
        request.max_content_length = MAX_HEAD_BYTES + 2**20
        return _header()


def _header() -> Response:
    """The short text that stands for a dropped checkpoint: its key in the state and its content, or the complaint."""
    name = str(request.args.get("name", ""))[:200]
    try:
        if not is_header(name):
            raise InputError(f"{name[:60]!r} has another ending than {', '.join(ENDINGS)}")
        key = key_of(name, "")
        plain = label_of(key)
        size = request.args.get("size", type=int) or 0
        content = packed(plain, request.get_data(), size, _config(request.args.get("model", "")))
        key = key_of(plain, content)
        spec = load_model(materialize(key, {key: content}, "model"))
    except InputError as error:
        return Response(f"{error}\n", status=400, mimetype="text/plain")
    answer = {"key": key, "content": content, "label": name[:60], "note": f"{name[:60]}: {summary(spec)}"}
    return Response(json.dumps(answer), mimetype="application/json")


def _config(name: str) -> Any:
    """The configuration of a catalog model, which a .safetensors file is read with; None for others."""
    return load_model(name).config if name in catalog_names() else None


def summary(spec: Any) -> str:
    """What was read of a checkpoint, in a line."""
    found = spec.checkpoint
    kinds: dict[str, int] = {}
    for tensor in found.tensors:
        kinds[tensor.dtype] = kinds.get(tensor.dtype, 0) + 1
    words = ", ".join(f"{n} × {kind}" for kind, n in sorted(kinds.items(), key=lambda one: -one[1])[:4])
    return f"{len(found.tensors)} tensors ({words}); only its header was sent. The link names the file."


def _csv(result: Analysis) -> str:
    out = io.StringIO()
    result.frame.to_csv(out, index=False)
    return out.getvalue()


def _answer(build: Any) -> Response:
    """The file of the scenario in the query string, or its complaint in one line."""
    flat = {k: v for k, v in request.args.items() if k not in ("theme", "base", "pin", "set")}
    try:
        result = Analysis(scenario_of(flat))
        text, kind, ending = build(result)
    except InputError as error:
        return Response(f"{error}\n", status=400, mimetype="text/plain")
    name = f"roofline-{result.plan.model.name}-{result.plan.hardware.name.split('/')[-1]}.{ending}"
    response = Response(text, mimetype=kind)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
