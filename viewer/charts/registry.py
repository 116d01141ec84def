"""Charts of an analysis's rows by name: one file with ``@chart`` is in ``analyze --chart`` and in every report."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from viewer.charts.base import Figure

#: ``draw(rows, theme)``: rows are those of ``Analysis.rows``, theme is "light" or "dark".
Draw = Callable[[Sequence[dict[str, Any]], str], Figure]


@dataclass(frozen=True, slots=True)
class RowChart:
    """A registered chart: its name on the command line, title and caption in reports."""

    name: str
    title: str
    caption: str
    draw: Draw


_CHARTS: dict[str, RowChart] = {}


def chart(name: str, title: str, caption: str) -> Callable[[Draw], Draw]:
    """Register a function of rows and theme as a chart; a second one of the same name is refused."""

    def register(function: Draw) -> Draw:
        if name in _CHARTS:
            raise ValueError(f"there is a chart {name!r} already")
        _CHARTS[name] = RowChart(name, title, caption, function)
        return function

    return register


@cache
def row_charts() -> dict[str, RowChart]:
    """All registered charts by name; every module beside this one is imported once."""
    from viewer import charts

    for module in pkgutil.iter_modules(charts.__path__):
        importlib.import_module(f"{charts.__name__}.{module.name}")
    return dict(sorted(_CHARTS.items()))
