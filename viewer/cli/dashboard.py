"""``roofline dashboard``: the same functions in the browser."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("dashboard")(dashboard)


def dashboard(
    host: Annotated[
        str, typer.Option(help="address to listen on; the default is this machine only")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="port to listen on")] = 8050,
) -> None:
    """Serve the dashboard to a browser on this machine.

    Example: roofline dashboard --port 8051
    """
    from viewer.dashboard import create_app

    create_app().run(host=host, port=port, debug=False)
