"""Builds the Dash application: layout, callbacks of all pages, security headers, compression of what is sent."""

from __future__ import annotations

from typing import Any

import dash

from viewer.dashboard import layout
from viewer.dashboard.gate import complain
from viewer.dashboard.pages import PAGES
from viewer.dashboard.routes import add_routes
from viewer.dashboard.web import harden, warm_later
from viewer.resources import assets_folder

INDEX = """<!DOCTYPE html>
<html lang="en" data-mantine-color-scheme="light">
<head>
{%metas%}
<title>{%title%}</title>
<link rel="icon" type="image/svg+xml" href="PREFIXassets/favicon.svg">
{%css%}
</head>
<body>
{%app_entry%}
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>"""


def create_app(**options: Any) -> dash.Dash:
    """The application. ``options`` go to ``dash.Dash`` (for a path prefix, say)."""
    app = dash.Dash(
        "roofline",
        assets_folder=str(assets_folder()),
        assets_ignore=r".*\.(png|svg|md)$",
        title="Roofline",
        update_title="",
        serve_locally=True,
        suppress_callback_exceptions=True,
        on_error=complain,
        index_string=INDEX.replace("PREFIX", str(options.get("requests_pathname_prefix") or "/")),
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
        **options,
    )
    app.layout = layout.page()
    layout.register(app)
    for page in PAGES:
        page.register(app)
    add_routes(app.server)
    harden(app)
    with app.server.test_request_context("/"):
        app.index()  # registers the component scripts: a worker may be asked for them before it ever serves the page
    warm_later(app.server)
    return app
