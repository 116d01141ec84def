"""The pieces of a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Chart:
    """A chart: ``draw(theme)`` gives the plotly figure dict; ``rows`` is the data behind it."""

    name: str
    title: str
    caption: str
    draw: Callable[[str], dict[str, Any]]
    rows: Sequence[dict[str, Any]] = ()
    height: int = 460


@dataclass(frozen=True)
class Table:
    """A table of text cells; ``numeric`` columns are right-aligned. ``rows``: the data behind it, unrounded."""

    name: str
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    caption: str = ""
    rows: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, charts, tables, and preformatted text."""

    title: str
    paragraphs: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    code: tuple[tuple[str, str], ...] = field(default=())


def table_of(
    name: str, rows: Sequence[dict[str, Any]], columns: Sequence[tuple[str, Callable[[dict[str, Any]], str]]],
    numeric: Sequence[int] = (), caption: str = "",
) -> Table:  # fmt: skip
    """A table from rows: each column is (heading, row -> text)."""
    cells = tuple(tuple(text(row) for _, text in columns) for row in rows)
    return Table(name, tuple(h for h, _ in columns), cells, frozenset(numeric), caption, rows)
