"""What may reach a callback: requests in the form that the page itself sends, and a message for all others.

A callback checks the *values*; this room checks that there is a callback of that name and that it gets as many values
as it takes, so that a made-up body is answered with one line and 400, not with a traceback.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from dash import set_props
from flask import Flask, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from viewer.errors import InputError

_LOG = logging.getLogger(__name__)
_PATH = "_dash-update-component"
#: Values nested deeper than this are no state of the page (figures of clicks have the most: about 10).
MAX_DEPTH = 40


def add_gate(app: Any, max_bytes: int) -> None:
    """Limits the size of requests and refuses those that no page of this application sends."""
    server: Flask = app.server
    server.config["MAX_CONTENT_LENGTH"] = max_bytes
    server.config["MAX_FORM_MEMORY_SIZE"] = max_bytes

    @server.before_request
    def admit() -> Response | None:
        if request.method != "POST" or not request.path.endswith(_PATH):
            return None
        complaint = refusal(request.get_data(), app.callback_map)
        return _line(complaint, 400) if complaint else None

    @server.errorhandler(RequestEntityTooLarge)
    def too_large(_error: RequestEntityTooLarge) -> Response:
        return _line(
            f"the request is larger than {max_bytes // 2**20} MiB: drop a header or a configuration", 413
        )


def refusal(raw: bytes, known: Any) -> str | None:
    """Why a callback's request is refused, or None. ``known``: the application's callbacks by their output."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return "the request is not JSON"
    if not isinstance(body, dict):
        return "the request is not a JSON object"
    output = body.get("output")
    entry = known.get(output) if isinstance(output, str) else None
    if entry is None:
        return "the request names no callback of this page"
    if not isinstance(body.get("changedPropIds"), list):
        return "the request does not say what changed"
    for kind in ("inputs", "state"):
        given = body.get(kind, [])
        wanted = [(one["id"], one["property"]) for one in entry[kind]]
        if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
            return f"the request's {kind} are not a list of values"
        if [(one.get("id"), one.get("property")) for one in given] != wanted:
            return f"the request's {kind} are not those of the callback"
    if not _outputs_fit(output, body.get("outputs")):
        return "the request's outputs are not those of the callback"
    return "the request is nested too deep" if _depth(body, MAX_DEPTH) > MAX_DEPTH else None


def _outputs_fit(output: Any, given: Any) -> bool:
    """The list of outputs says the same as the output's name."""
    names = [part.split("@")[0] for part in output.strip(".").split("...")]
    items = given if output.startswith("..") else [given]
    if not isinstance(items, list) or not all(isinstance(one, dict) for one in items):
        return False
    return [f"{one.get('id')}.{str(one.get('property')).split('@')[0]}" for one in items] == names


def _depth(value: Any, limit: int) -> int:
    """Levels of nesting, counted level by level (no recursion), up to ``limit + 1``."""
    level, depth = [value], 0
    while level and depth <= limit:
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        level, depth = [v for v in inner if isinstance(v, dict | list)], depth + 1
    return depth


def _line(text: str, status: int) -> Response:
    return Response(text + "\n", status=status, mimetype="text/plain")


def complain(error: Exception) -> None:
    """What the visitor reads when a callback fails: a bad input's own line, else that the server could not."""
    if isinstance(error, InputError):
        text = str(error)
    else:
        _LOG.error("a callback failed", exc_info=error)
        text = "This state could not be worked out here (an error of the program). Change it, or start again at /."
    set_props("errors", {"data": {"state": text[:400]}})
