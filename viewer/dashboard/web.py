"""What the server adds to every answer: security headers, gzip, a limit on request size."""

from __future__ import annotations

import gzip
import threading
from functools import lru_cache
from importlib import import_module
from typing import Any

from flask import Flask, Response, request

from viewer.dashboard.gate import add_gate

#: Largest request body: a dropped file and the state, no more.
MAX_REQUEST_BYTES = 8 * 2**20
_TEXT = ("text/", "application/javascript", "application/json", "image/svg+xml")


def harden(app: Any) -> None:
    """Adds headers, compression and limits to the application's server."""
    server: Flask = app.server
    add_gate(app, MAX_REQUEST_BYTES)
    policy = _policy(app)

    @server.after_request
    def finish(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", policy)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        response.headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
        return _compressed(response)


def warm_later(server: Flask) -> None:
    """When the first page is being read, loads in the background what the other pages need (pandas is slow to load)."""
    once = threading.Event()

    @server.after_request
    def begin(response: Response) -> Response:
        if request.path.endswith("/_dash-layout") and not once.is_set():
            once.set()
            threading.Thread(target=_warm, daemon=True).start()
        return response


def _warm() -> None:
    for name in ("pandas", "viewer.whatif", "viewer.compression"):
        import_module(name)


def _policy(app: Any) -> str:
    """Everything from this server; inline scripts only those that the page itself starts with, by hash."""
    hashes = " ".join(f"'{value.strip(chr(39))}'" for value in app.csp_hashes())
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self' {hashes}",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _compressed(response: Response) -> Response:
    """The answer in gzip where the browser takes it and it pays."""
    kind = response.mimetype or ""
    wanted = "gzip" in request.headers.get("Accept-Encoding", "")
    if not wanted or response.status_code != 200 or not kind.startswith(_TEXT):
        return response
    if response.headers.get("Content-Encoding"):
        return response
    response.direct_passthrough = False
    body = response.get_data()
    if len(body) < 1024:
        return response
    static = request.method == "GET" and "/_dash-" not in request.path.replace("/_dash-component-suites", "")
    small = _static_gzip(body) if static else gzip.compress(body, 1)
    response.set_data(small)
    response.headers["Content-Encoding"] = "gzip"
    response.headers.add("Vary", "Accept-Encoding")
    return response


@lru_cache(maxsize=128)
def _static_gzip(body: bytes) -> bytes:
    """Scripts and styles are compressed once per process."""
    return gzip.compress(body, 6)
