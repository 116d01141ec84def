"""Explain a number: its formula with the values put in, what limits it, the headroom, and where each rate comes from.

The values are those of the result; nothing is computed anew except quotients that the reader can check.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from viewer.analysis import Analysis
from viewer.charts.base import amount, percent, seconds, significant
from viewer.charts.palette import BOUND_LABELS
from viewer.charts.roofline import op_id
from viewer.results import BYTE_FIELDS

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Block:
    """One part of an explanation: a heading, lines of arithmetic, and the sources of what went in."""

    title: str
    lines: tuple[str, ...]
    sources: tuple[str, ...] = ()


def explain(result: Analysis, key: str) -> list[Block]:
    """The explanation of a headline figure (``ttft_s`` …) or of an op (its id ``phase/group/name``)."""
    makers = {
        "ttft_s": lambda: _phase(result, "prefill", "TTFT"),
        "tpot_s": lambda: _phase(result, "decode", "TPOT"),
        "time_s": lambda: [_whole(result)],
        "tokens_per_s": lambda: [_throughput(result)],
        "total_bytes": lambda: [_memory(result)],
        "max_batch": lambda: [_limit(result)],
        "energy_j": lambda: [_energy(result)],
    }
    if key in makers:
        return makers[key]()
    row = next((row for row in result.rows if op_id(row) == key), None)
    if row is None:
        return [Block("Nothing to explain", ("This op is not part of the scenario (any more).",))]
    return op_blocks(result, row)


def op_blocks(result: Analysis, row: Row) -> list[Block]:
    """Time, traffic, arithmetic and headroom of one op."""
    blocks = [_op_time(result, row), _traffic(row)]
    arithmetic = _arithmetic(result, row)
    if arithmetic:
        blocks.append(arithmetic)
    blocks.append(_headroom(row))
    if row["notes"]:
        blocks.append(Block("Notes", tuple(row["notes"])))
    return blocks


def _rate_lines(result: Analysis, row: Row) -> list[tuple[str, str, str]]:
    """(resource, arithmetic, source) of every resource that the op uses."""
    hardware, rates = result.plan.hardware, result.plan.rates
    clock = result.scenario.assumptions.clock
    out = []
    if row["tensor_time_s"]:
        work = amount(row["matmul_flops"], "FLOP")
        out.append(
            (
                "compute",
                f"{work} / {amount(row['peak_flops_per_s'], 'FLOP/s')} = {seconds(row['tensor_time_s'])}",
                _peak_source(hardware, row["unit"], row["math_type"], clock),
            )
        )
    if row["vector_time_s"] and rates.vector_flops_per_s is not None:
        work = row["vector_time_s"] * float(rates.vector_flops_per_s)
        text = f"{amount(work, 'FLOP')} / {amount(float(rates.vector_flops_per_s), 'FLOP/s')}"
        source = _peak_source(hardware, "vector", "fp32", clock)
        out.append(("vector", f"{text} = {seconds(row['vector_time_s'])}", source))
    if row["special_time_s"] and rates.special_per_s is not None:
        text = f"{amount(row['transcendentals'], 'OP')} / {amount(float(rates.special_per_s), 'OP/s')}"
        source = _peak_source(hardware, "special", "exp", clock)
        out.append(("transcendental", f"{text} = {seconds(row['special_time_s'])}", source))
    if row["dram_time_s"]:
        text = f"{amount(row['dram_bytes'], 'B')} / {amount(float(rates.dram_bytes_per_s), 'B/s')}"
        dram = hardware.memory("dram")
        source = _quantity("DRAM bandwidth", dram.bandwidth_bytes_per_s if dram else None)
        out.append(("memory", f"{text} = {seconds(row['dram_time_s'])}", source))
    if row["link_time_s"]:
        out.append(
            ("link", f"{amount(row['comm_bytes'], 'B')} over the link = {seconds(row['link_time_s'])}", "")
        )
    return out


def _op_time(result: Analysis, row: Row) -> Block:
    parts = _rate_lines(result, row)
    overlap = result.scenario.assumptions.overlap
    lines = [f"{BOUND_LABELS.get(name, name)}: {text}" for name, text, _ in parts]
    lines.append(f"bound = max of these = {seconds(row['lower_time_s'])}  ({row['bound']})")
    if overlap != 1.0:
        lines.append(f"sum of these = {seconds(row['upper_time_s'])}; overlap {overlap:g}")
    if abs(row["time_s"] - row["lower_time_s"]) > 1e-12 + 1e-6 * row["lower_time_s"]:
        low, high = seconds(row["time_low_s"]), seconds(row["time_high_s"])
        lines.append(f"{row['label']}: {seconds(row['time_s'])}  (interval {low} … {high})")
    total = row["repeat"] * row["time_s"]
    lines.append(
        f"× {row['repeat']:,} = {seconds(total)}, {percent(total / (result.totals.time_s or 1))} of all"
    )
    title = f"{row['name']} · {row['phase']} · layers {row['layer_group']}"
    return Block(title, tuple(lines), tuple(source for _, _, source in parts if source))


def _traffic(row: Row) -> Block:
    words = {name: name.removesuffix("_bytes").replace("_", " ") for name in BYTE_FIELDS}
    skip = ("weight_metadata_bytes", "comm_bytes")
    terms = [(words[n], row[n]) for n in BYTE_FIELDS if n not in skip and row[n]]
    lines = [f"{word}: {amount(value, 'B')}" for word, value in terms]
    lines.append(f"DRAM traffic = sum = {amount(row['dram_bytes'], 'B')}")
    if row["weight_metadata_bytes"]:
        lines.append(
            f"(of the weights, {amount(row['weight_metadata_bytes'], 'B')} are scales and zero points)"
        )
    return Block("Traffic of one instance", tuple(lines))


def _arithmetic(result: Analysis, row: Row) -> Block | None:
    if not row["matmul_flops"]:
        return None
    lines = []
    op = next(
        (
            op
            for group, op in result.plan.graph
            if op.name == row["name"] and group.name == row["layer_group"]
        ),
        None,
    )
    weights = [w for w in op.weights if w.cols > 1] if op is not None else []
    if row["kind"] == "linear" and len(weights) == 1:
        n, k = weights[0].rows, weights[0].cols
        tokens = row["dense_matmul_flops"] / (2.0 * n * k)
        lines.append(
            f"2 × T × N × K = 2 × {significant(tokens, 6)} × {n:,} × {k:,} = "
            f"{amount(row['dense_matmul_flops'], 'FLOP')}"
        )
    if row["matmul_flops"] != row["dense_matmul_flops"]:
        lines.append(f"executed of it: {amount(row['matmul_flops'], 'FLOP')} (sparsity)")
    flops = row["matmul_flops"] + row["vector_flops"]
    lines.append(
        f"intensity = {amount(flops, 'FLOP')} / {amount(row['dram_bytes'], 'B')}"
        f" = {significant(row['arithmetic_intensity'])} FLOP/B"
    )
    lines.append(f"bitops = {amount(row['bitops'], 'OP')} (FLOP × bits × bits)")
    return Block("Arithmetic of one instance", tuple(lines))


def _headroom(row: Row) -> Block:
    slack = row["slack"]
    if not slack or slack >= 1:
        text = "No other resource binds: every gain on the bound shows in full."
        return Block("Headroom", (text,))
    return Block(
        "Headroom",
        (
            f"The next limit lies at {percent(slack)} of this time:",
            f"relieving the {row['bound']} bound alone gives at most × {significant(1 / slack)}.",
        ),
    )


def _phase(result: Analysis, phase: str, name: str) -> list[Block]:
    rows = sorted((r for r in result.rows if r["phase"] == phase), key=lambda r: -r["repeat"] * r["time_s"])
    part = next((p for p in result.parts if p.phase == phase), None)
    steps = part.steps if part else 1
    value = result.phases["ttft_s" if phase == "prefill" else "tpot_s"]
    lines = [_term(r, steps) for r in rows[:7]]
    if len(rows) > 7:
        rest = sum(r["repeat"] * r["time_s"] for r in rows[7:]) / steps
        lines.append(f"+ {len(rows) - 7} more ops: {seconds(rest)}")
    lines.append(f"{name} = sum = {seconds(value)}" + (f", mean of {steps:,} steps" if steps > 1 else ""))
    blocks = [Block(f"{name}: repeat × time of each op", tuple(lines))]
    return blocks + ([_op_time(result, rows[0])] if rows else [])


def _term(row: Row, steps: int) -> str:
    repeat = row["repeat"] // steps
    return f"{row['name']}: {repeat:,} × {seconds(row['time_s'])} = {seconds(repeat * row['time_s'])}  ({row['bound']})"


def _whole(result: Analysis) -> Block:
    phases = result.phases
    lines = []
    steps = {p.phase: p.steps for p in result.parts}
    if phases["ttft_s"] is not None:
        lines.append(f"prefill: {seconds(phases['ttft_s'])}")
    if phases["tpot_s"] is not None:
        lines.append(f"decode: {steps['decode']:,} × {seconds(phases['tpot_s'])}")
    lines.append(f"time = {seconds(result.totals.time_s)}  ({result.totals.label})")
    low, high = seconds(result.totals.time_low_s), seconds(result.totals.time_high_s)
    lines.append(f"between {low} (everything overlaps) and {high} (nothing does)")
    return Block("Whole answer", tuple(lines))


def _throughput(result: Analysis) -> Block:
    t = result.totals
    tokens = t.tokens_per_s * t.time_s
    line = f"{significant(tokens, 6)} tokens / {seconds(t.time_s)} = {significant(t.tokens_per_s)} per second"
    return Block("Throughput", (line,))


def _memory(result: Analysis) -> Block:
    m = result.memory
    lines = [
        f"weights: {amount(m.weight_bytes, 'B')}",
        f"KV cache: {amount(m.kv_cache_bytes, 'B')}  ({significant(m.kv_values, 4)} values)",
        f"activations at their peak: {amount(m.activation_peak_bytes, 'B')}",
        f"runtime: {amount(m.overhead_bytes, 'B')}",
    ]
    if m.state_bytes:
        lines.insert(2, f"recurrent state: {amount(m.state_bytes, 'B')}")
    lines.append(f"sum = {amount(m.total_bytes, 'B')}")
    if m.capacity_bytes is None or m.usable_bytes is None:
        return Block("Device memory", (*lines, "The capacity of this device is not known."))
    share = result.scenario.assumptions.memory_utilization
    lines.append(f"usable = {share:g} × {amount(m.capacity_bytes, 'B')} = {amount(m.usable_bytes, 'B')}")
    dram = result.plan.hardware.memory("dram")
    return Block(
        "Device memory", tuple(lines), (_quantity("capacity", dram.capacity_bytes if dram else None),)
    )


def _limit(result: Analysis) -> Block:
    m = result.memory
    lines = (
        f"the largest batch whose account stays below {amount(m.usable_bytes, 'B')} at these lengths: {m.max_batch:,}",
        f"the largest context (or prompt) at this batch: {m.max_context:,}"
        if m.max_context is not None
        else "",
    )
    return Block("What fits", tuple(line for line in lines if line))


def _energy(result: Analysis) -> Block:
    tdp = result.plan.hardware.tdp_w
    energy = result.totals.energy_j
    if tdp is None or energy is None:
        return Block("Energy", ("The design power of this device is not known.",))
    line = f"{amount(tdp.value, 'W')} × {seconds(result.totals.time_s)} = {amount(energy, 'W').replace('W', 'J')}"
    return Block("Energy: at most design power × time", (line,), (_quantity("design power", tdp),))


def _quantity(name: str, quantity: Any) -> str:
    if quantity is None:
        return ""
    note = f" — {quantity.note}" if quantity.note else ""
    return f"{name}: {quantity.kind}, {quantity.seen}: {quantity.source}{note}"


def _peak_source(hardware: Any, unit: str, math_type: str, clock: str) -> str:
    if not hardware.has_peak(unit, math_type):
        return ""
    text = _quantity(f"{math_type.upper()} {unit} peak", hardware.rate(unit, math_type).peak)
    return text + (" (scaled to the maximum clock)" if clock == "maximum" else "")
