"""An analysis as a small HTML table for notebooks: ops, totals and memory, without scripts or outside styles."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from viewer.units import format_quantity as si

if TYPE_CHECKING:
    from viewer.analysis import Analysis

#: Heading -> whether its cells are numbers.
_HEADS = (
    ("op", False), ("×", True), ("FLOPs", True), ("bytes", True), ("FLOP/B", True),
    ("type", False), ("bound", False), ("time", True), ("share", True),
)  # fmt: skip


def analysis_html(result: Analysis) -> str:
    """The table of ``result``: one row per op group, then totals and memory in a sentence each."""
    scenario = result.scenario
    title = f"{result.plan.model.name} on {result.plan.hardware.name}: {scenario.workload.phase}"
    head = "".join(_cell("th", text, number) for text, number in _HEADS)
    total = result.totals.time_s or 1.0
    many = len(result.parts) > 1
    body = []
    for row in result.rows:
        cells = (
            f"{row['phase']}: {row['name']}" if many else row["name"],
            f"{row['repeat']:,}",
            si(row["matmul_flops"] + row["vector_flops"], ""),
            si(row["dram_bytes"], "B"),
            f"{row['arithmetic_intensity']:.3g}",
            row["math_types"],
            row["bound"],
            si(row["time_s"], "s"),
            f"{100 * row['repeat'] * row['time_s'] / total:.1f} %",
        )
        line = "".join(_cell("td", text, number) for text, (_, number) in zip(cells, _HEADS, strict=True))
        body.append(f"<tr>{line}</tr>")
    return (
        f'<div><p><b>{escape(title)}</b>, {escape(scenario.compression[:80])}</p><table style="font-size:90%">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        f"<p>{escape(totals_sentence(result))}<br>{escape(memory_sentence(result))}</p></div>"
    )


def _cell(tag: str, text: str, number: bool) -> str:
    return f'<{tag} style="text-align:{"right" if number else "left"}">{escape(text)}</{tag}>'


def totals_sentence(result: Analysis) -> str:
    """Time with its label, FLOPs, bytes and tokens per second."""
    t = result.totals
    kind = t.label
    if t.label != "bound":
        kind = f"estimate, {t.label}; 90 % {si(t.time_low_s, 's')} to {si(t.time_high_s, 's')}"
    return (
        f"{si(t.time_s, 's', 4)} ({kind}), {si(t.matmul_flops, 'FLOP')}, {si(t.dram_bytes, 'B')}, "
        f"{t.tokens_per_s:,.4g} tokens/s"
    )


def memory_sentence(result: Analysis) -> str:
    """What is held, whether it fits, and the largest batch."""
    m = result.memory
    fit = {None: "no capacity known", True: "fits", False: "does not fit"}[m.fits]
    most = "" if m.max_batch is None else f", largest batch {m.max_batch:,}"
    return f"memory {si(m.total_bytes, 'B')} of {si(m.usable_bytes, 'B')} usable: {fit}{most}"
