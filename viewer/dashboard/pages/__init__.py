"""The pages, in the order of the navigation. Each module has NAME, TITLE, PATH, layout() and register(app)."""

from __future__ import annotations

from viewer.dashboard.pages import analyze, compare, hardware, models, plan, sweep, validation

PAGES = (analyze, compare, sweep, plan, hardware, models, validation)
