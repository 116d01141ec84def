"""Plain downloads beside the page: the analysis as JSON or CSV, the chart as a self-contained HTML file."""

from __future__ import annotations

import io
import json
from typing import Any

from flask import Flask, Response, request

from viewer.analysis import Analysis
from viewer.dashboard.state import scenario_of
from viewer.errors import InputError


def add_routes(server: Flask) -> None:
    """Registers ``/data.json``, ``/data.csv``, ``/chart.html`` and ``/healthz``."""

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


def _csv(result: Analysis) -> str:
    out = io.StringIO()
    result.frame.to_csv(out, index=False)
    return out.getvalue()


def _answer(build: Any) -> Response:
    """The file of the scenario in the query string, or its complaint in one line."""
    flat = {k: v for k, v in request.args.items() if k not in ("theme", "base", "pin")}
    try:
        result = Analysis(scenario_of(flat))
        text, kind, ending = build(result)
    except InputError as error:
        return Response(f"{error}\n", status=400, mimetype="text/plain")
    name = f"roofline-{result.plan.model.name}-{result.plan.hardware.name.split('/')[-1]}.{ending}"
    response = Response(text, mimetype=kind)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
