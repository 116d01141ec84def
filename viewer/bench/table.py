"""Plain text tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def text_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns aligned by their widest cell; numbers to the right, the rest to the left; None is a dash."""
    cells = [["-" if c is None else str(c) for c in row] for row in rows]
    widths = [max(len(h), *(len(r[i]) for r in cells), 0) for i, h in enumerate(head)]
    right = [all(_numeric(r[i]) for r in cells) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        parts = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)]
        return "  ".join(parts).rstrip()

    return "\n".join([line(list(head)), *(line(r) for r in cells)])


def _numeric(cell: str) -> bool:
    return cell == "-" or cell.replace(".", "", 1).replace("-", "", 1).replace("%", "").isdigit()
