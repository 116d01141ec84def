"""Plain text tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from viewer.bench.schema import Record


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


def record_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One row a benchmark: headline, spread, clock-free rate, checks and flags."""
    return [
        {
            "benchmark": r.id,
            "value": r.result.value,
            "unit": r.result.unit,
            "uncertainty_pct": 100 * r.result.uncertainty,
            "best": r.result.best,
            "samples": r.stats.n,
            "op_per_clock_per_core": r.validity.op_per_clock_per_core,
            "expected_op_per_clock": r.validity.expected_op_per_clock,
            "numeric_ok": r.validity.numeric_ok,
            "flags": ",".join(r.flags),
        }
        for r in records
    ]
