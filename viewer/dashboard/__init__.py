"""The browser dashboard: the same functions as the command, on pages that share one scenario.

``create_app()`` builds it; callbacks are stateless, so any number of workers can serve it.
"""

from __future__ import annotations

from typing import Any

__all__ = ["create_app"]


def create_app(**options: Any) -> Any:
    """The Dash application (imports Dash only now)."""
    from viewer.dashboard.app import create_app as build

    return build(**options)
