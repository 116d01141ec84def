"""The survey's figures 6 to 9 for any model and device: data, crossovers in numbers, one sentence of reading each.

6: roofs per compute type with the ops of the model. 7: relative memory by setting. 8: decode time against batch for
weight widths. 9: prefill time against prompt length by setting. The regimes are those of the survey: memory-bound
before and after; memory-bound turns compute-bound; compute-bound before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from viewer.analysis import Analysis, make_scenario
from viewer.errors import InputError
from viewer.scenario import Scenario
from viewer.whatif.probing import LINEARS
from viewer.whatif.solving import solve
from viewer.whatif.sweeping import sweep
from viewer.workload import Decode, Prefill

if TYPE_CHECKING:
    import pandas as pd

Rows = list[dict[str, Any]]
CONTEXT = 1024
WIDTHS = ("w16a16", "w8a16", "w4a16-g128", "w2a16-g128", "w1a16")
SETTINGS = ("w16a16", "w8a16", "w4a16-g128", "w8a8-int8", "w8a8-fp8", "w4a4")
STORED = (
    "w16a16", "w8a16", "w4a16-g128", "w2a16-g128", "w1a16", "w8a8-int8", "w16a16+kv8", "w4a16-g128+kv8",
    "w4a16-g128+kv4",
)  # fmt: skip
ROOF_SETTINGS = ("w16a16", "w4a16-g128", "w8a8-int8", "w8a8-fp8", "w4a4")
BATCHES = "1:1024:log:90"
PROMPTS = "1:8192:log:110"
LOADS = (
    ("decode, batch 1, context 1024", Decode(batch=1, context=1023)),
    ("decode, batch 32, context 1024", Decode(batch=32, context=1023)),
    ("prefill, batch 1, prompt 2048", Prefill(batch=1, prompt=2048)),
)
REGIME_NAMES = (
    "1 memory-bound before and after",
    "2 memory-bound turns compute-bound",
    "3 compute-bound before and after",
)


@dataclass(frozen=True)
class SurveyFigure:
    """One figure: tidy ``rows``, ``crossovers`` in numbers, one sentence of ``reading``, and its chart."""

    number: int
    name: str
    title: str
    rows: Rows
    crossovers: Rows
    reading: str
    draw: Callable[[SurveyFigure, str], dict[str, Any]]
    extra: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def frame(self) -> pd.DataFrame:
        """The data."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def chart(self, theme: str = "light") -> dict[str, Any]:
        """The plotly figure dict."""
        return self.draw(self, theme)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the picture."""
        return {
            "figure": self.number, "name": self.name, "title": self.title, "reading": self.reading,
            "crossovers": self.crossovers, "notes": list(self.notes), "rows": self.rows, **self.extra,
        }  # fmt: skip


def figures(model: str = "llama-2-13b", hardware: str = "nvidia/a6000") -> list[SurveyFigure]:
    """The four figures for a model and a device."""
    from viewer.whatif.survey_lines import decode_figure, prefill_figure

    base = make_scenario(model, hardware, Decode(batch=1, context=CONTEXT), "w16a16")
    return [roofs_figure(base), memory_figure(base), decode_figure(base), prefill_figure(base)]


def runnable(base: Scenario, settings: Sequence[str]) -> tuple[list[str], list[str]]:
    """(settings that this model and device can run, one note per setting that they cannot)."""
    good, notes = [], []
    for setting in settings:
        try:
            Analysis(base.with_(compression=setting))
        except InputError as error:
            notes.append(f"{setting} is left out: {error}")
        else:
            good.append(setting)
    return good, notes


# --- figure 6 --------------------------------------------------------------------------------------


def roofs_figure(base: Scenario) -> SurveyFigure:
    """Roofs per compute type and the ops of prefill and decode under each setting."""
    from viewer.charts.roofs import roofs_of

    settings, notes = runnable(base, ROOF_SETTINGS)
    loads = (("prefill", Prefill(prompt=2048)), ("decode", Decode(context=CONTEXT)))
    rows: Rows = []
    used: set[tuple[str, str]] = set()
    for setting in settings:
        for phase, load in loads:
            result = Analysis(base.with_(workload=load, compression=setting))
            used |= {(m.unit, m.math_type) for _, op in result.plan.pairs for m in op.math}
            rows += [_point(setting, phase, row) for row in result.rows if _drawn(row)]
    hardware = Analysis(base).plan.hardware
    roofs = roofs_of(hardware, used)
    bandwidth = next(r["value"] for r in roofs if r["unit"] == "dram")
    ridges: Rows = [
        {
            "crossover": f"ridge of {r['label']}", "unknown": "FLOP/B", "value": r["value"] / bandwidth,
            "peak_flops_per_s": r["value"], "bandwidth_bytes_per_s": bandwidth,
        }
        for r in roofs
        if r["axis"] == "compute" and r["unit"] == "tensor" and r["used"]
    ]  # fmt: skip
    reading = _roofs_reading(base, rows, ridges)
    return SurveyFigure(
        6, "fig6_roofs", f"Roofs of {hardware.label or hardware.name} and the ops of {base.model}", rows, ridges,
        reading, _draw_roofs, {"roofs": roofs}, tuple(notes),
    )  # fmt: skip


def _drawn(row: dict[str, Any]) -> bool:
    flops = row["matmul_flops"] + row["vector_flops"]
    return bool(flops > 0 and row["dram_bytes"] > 0 and row["time_s"] > 0)


def _point(setting: str, phase: str, row: dict[str, Any]) -> dict[str, Any]:
    flops = row["matmul_flops"] + row["vector_flops"]
    return {
        "setting": setting, "phase": phase, "name": row["name"], "kind": row["kind"], "repeat": row["repeat"],
        "arithmetic_intensity": flops / row["dram_bytes"], "flops_per_s": flops / row["time_s"],
        "time_s": row["time_s"], "bound": row["bound"], "math_types": row["math_types"], "unit": row["unit"],
    }  # fmt: skip


def _roofs_reading(base: Scenario, rows: Rows, ridges: Rows) -> str:
    def share(phase: str, setting: str) -> float:
        mine = [r for r in rows if r["phase"] == phase and r["setting"] == setting]
        total = sum(r["repeat"] * r["time_s"] for r in mine)
        return (
            sum(r["repeat"] * r["time_s"] for r in mine if r["bound"] == "memory") / total if total else 0.0
        )

    first = ridges[0] if ridges else {"value": float("nan"), "crossover": "no ridge"}
    return (
        f"A decode step of {base.model} spends {100 * share('decode', 'w16a16'):.3g} % of its time under the "
        f"memory slope, a prefill of 2048 tokens {100 * (1 - share('prefill', 'w16a16')):.3g} % under a compute "
        f"roof, which lies right of {first['value']:.4g} FLOP/B; INT8 raises the roof only where both operands "
        "are 8-bit (W8A8), weights alone (W4A16) only move ops to the right."
    )


def _draw_roofs(figure: SurveyFigure, theme: str) -> dict[str, Any]:
    from viewer.charts.survey_roofs import survey_roofs

    return survey_roofs(figure.rows, figure.extra["roofs"], theme)


# --- figure 7 --------------------------------------------------------------------------------------


def memory_figure(base: Scenario) -> SurveyFigure:
    """Memory relative to 16 bits, split into weights, cache and temporary activations."""
    settings, notes = runnable(base, STORED)
    rows: Rows = []
    for load_name, load in LOADS:
        reference = 0.0
        for setting in settings:
            m = Analysis(base.with_(workload=load, compression=setting)).memory
            kinds = {
                "weights": m.weight_bytes,
                "KV cache": m.kv_cache_bytes + m.state_bytes,
                "activations": m.activation_peak_bytes,
            }
            reference = reference or sum(kinds.values())
            rows += [
                {
                    "load": load_name, "setting": setting, "kind": kind, "bytes": value,
                    "relative": value / reference,
                }
                for kind, value in kinds.items()
            ]  # fmt: skip
    crossovers = _cache_crossovers(base, settings)
    return SurveyFigure(
        7, "fig7_memory", f"Memory of {base.model} relative to 16 bits", rows, crossovers,
        _memory_reading(base, rows, crossovers), _draw_memory, notes=tuple(notes),
    )  # fmt: skip


def _cache_crossovers(base: Scenario, settings: Sequence[str]) -> Rows:
    """Tokens in the cache (over all requests) at which it outweighs the weights."""
    out: Rows = []
    for setting in settings:
        m = Analysis(base.with_(workload=Decode(batch=1, context=CONTEXT - 1), compression=setting)).memory
        if m.kv_cache_bytes:
            per_token = m.kv_cache_bytes / CONTEXT
            out.append(
                {
                    "crossover": f"{setting}: cache outweighs weights", "unknown": "tokens in the cache",
                    "value": m.weight_bytes / per_token, "bytes_per_token": per_token,
                }
            )  # fmt: skip
    return out


def _memory_reading(base: Scenario, rows: Rows, crossovers: Rows) -> str:
    def share(load: int, kind: str) -> float:
        name = LOADS[load][0]
        mine = {r["kind"]: r["relative"] for r in rows if r["load"] == name and r["setting"] == "w16a16"}
        return float(mine[kind]) / (sum(mine.values()) or 1.0)

    def deciding(load: int) -> str:
        cache = share(load, "KV cache")
        rule = "cache bits decide" if cache > 0.5 else "weight bits decide"
        return f"weights are {100 * share(load, 'weights'):.3g} %, the cache {100 * cache:.3g} %: {rule}"

    after = (
        f"; in 16 bits the cache outweighs the weights from {crossovers[0]['value']:,.0f} cached tokens on"
        if crossovers
        else ""
    )
    return (
        f"Of what {base.model} keeps at batch 1 {deciding(0)}; at batch 32 {deciding(1)}; temporary activations are "
        f"{100 * share(0, 'activations'):.2g} % in decode and {100 * share(2, 'activations'):.2g} % in prefill{after}."
    )


def _draw_memory(figure: SurveyFigure, theme: str) -> dict[str, Any]:
    from viewer.charts.survey_memory import survey_memory

    return survey_memory(figure.rows, theme)


# --- shared by figures 8 and 9 ---------------------------------------------------------------------


def curves(base: Scenario, settings: Sequence[str], axis: str, values: str) -> Rows:
    """Time of every setting along one axis, and the relative time against the first."""
    frame = sweep(base, {"compression": list(settings), axis: values})
    first = frame[frame.compression == settings[0]].set_index(axis).time_s
    keep = [axis, "compression", "time_s", "bound", "memory_time_s", "compute_time_s", "tokens_per_s"]
    table: Any = (
        frame[keep]
        .assign(compression=frame.compression.astype(str), bound=frame.bound.astype(str))
        .to_dict(orient="records")
    )
    rows: Rows = table
    for row in rows:
        row["speedup"] = float(first[row[axis]]) / row["time_s"]
    return rows


def turning_points(base: Scenario, settings: Sequence[str], axis: str) -> Rows:
    """Where the linear layers of each setting turn compute-bound."""
    out: Rows = []
    for setting in settings:
        found = solve(base.with_(compression=setting), axis, when="compute-bound", op=LINEARS)
        out.append(
            {
                "crossover": f"{setting}: linear layers turn compute-bound", "unknown": axis,
                "value": found.answer, "exact": found.exact, "setting": setting, "against": None,
            }
        )  # fmt: skip
    return out


def pay_off_points(base: Scenario, pairs: Sequence[tuple[str, str]], axis: str) -> Rows:
    """Where one setting stops helping against another: its gain is below 1 %, and gone."""
    out: Rows = []
    for setting, other in pairs:
        for gain, words in ((1.01, "less than 1 % faster than"), (1.0, "no faster than")):
            found = solve(base.with_(compression=setting), axis, against=other, gain=gain)
            out.append(
                {
                    "crossover": f"{setting} is {words} {other}", "unknown": axis, "value": found.answer,
                    "exact": found.exact, "setting": setting, "against": other,
                }
            )  # fmt: skip
    return out


def regimes(turning: Rows, narrow: str, wide: str = "w16a16") -> Rows:
    """The survey's three regimes of going from ``wide`` to ``narrow`` along the axis, as stretches."""
    at = {row["setting"]: row["exact"] for row in turning}
    start, end = at.get(narrow), at.get(wide)
    edges = [0.0, start if start is not None else float("inf"), end if end is not None else float("inf")]
    edges.append(float("inf"))
    return [
        {"regime": name, "from": low, "to": high, "setting": narrow, "against": wide}
        for name, low, high in zip(REGIME_NAMES, edges[:-1], edges[1:], strict=True)
        if high > low
    ]


def number(value: float | None) -> str:
    """A crossover in words."""
    return "never" if value is None else f"{value:,.0f}"
