"""``compare``: scenarios side by side, and per op what changed against the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from viewer.analysis import Analysis
from viewer.errors import InputError
from viewer.risk import Measured, Risk, Sensitivities, risk_of
from viewer.scenario import SCHEMA_VERSION, Scenario
from viewer.whatif.opdelta import op_deltas

if TYPE_CHECKING:
    import pandas as pd

MAX_SCENARIOS = 64
MEMORY = ("weight_bytes", "kv_cache_bytes", "state_bytes", "activation_peak_bytes", "overhead_bytes")


@dataclass(frozen=True)
class Comparison:
    """Scenarios side by side. The first is what the others are compared with."""

    scenarios: tuple[Scenario, ...]
    labels: tuple[str, ...]
    estimates: bool = True
    sensitivities: Sensitivities | None = None
    measured: Measured | None = None

    @cached_property
    def analyses(self) -> list[Analysis]:
        """One analysis per scenario."""
        return [Analysis(s) for s in self.scenarios]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One dict per scenario."""
        rows: list[dict[str, Any]] = []
        for label, result in zip(self.labels, self.analyses, strict=True):
            rows.append(self._row(label, result, rows[0] if rows else None))
        return rows

    @property
    def frame(self) -> pd.DataFrame:
        """One row per scenario: time, memory by kind, bitops, energy, error and risk, ratios to the first."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    @cached_property
    def op_rows(self) -> list[dict[str, Any]]:
        """One dict per op and scenario but the first: regimes, before and after, why."""
        first = self.analyses[0]
        rows = []
        for label, result in zip(self.labels[1:], self.analyses[1:], strict=True):
            rows += [{"scenario": label, **row} for row in op_deltas(first, result)]
        return rows

    @property
    def ops(self) -> pd.DataFrame:
        """The per-op table."""
        import pandas as pd

        return pd.DataFrame(self.op_rows)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know, by scenario where it is not of all."""
        by_note: dict[str, list[str]] = {}
        for label, result in zip(self.labels, self.analyses, strict=True):
            for text in (*result.notes, *self._risks[self.labels.index(label)].notes):
                by_note.setdefault(text, []).append(label)
        return tuple(
            text if len(labels) == len(self.labels) else f"{', '.join(dict.fromkeys(labels))}: {text}"
            for text, labels in by_note.items()
        )

    @cached_property
    def _risks(self) -> list[Risk]:
        return [risk_of(s, sensitivities=self.sensitivities, measured=self.measured) for s in self.scenarios]

    def _row(self, label: str, result: Analysis, first: dict[str, Any] | None) -> dict[str, Any]:
        totals, memory, scenario, energy = result.totals, result.memory, result.scenario, result.energy
        judged = self._risks[self.labels.index(label)]
        error = judged.assessment
        row: dict[str, Any] = {
            "scenario": label, "model": scenario.model, "hardware": scenario.hardware,
            "phase": scenario.workload.phase, "compression": scenario.compression,
            "time_s": totals.time_s, "time_low_s": totals.time_low_s, "time_high_s": totals.time_high_s,
            "label": totals.label, "bound_time_s": totals.lower_time_s, "upper_time_s": totals.upper_time_s,
            **self._estimate(scenario), "ttft_s": result.phases["ttft_s"], "tpot_s": result.phases["tpot_s"],
            "tokens_per_s": totals.tokens_per_s, "matmul_flops": totals.matmul_flops, "bitops": totals.bitops,
            "bops_mac": totals.bops_mac, "dram_bytes": totals.dram_bytes, "energy_j": totals.energy_j,
            "energy_estimate_j": energy.estimate_j, "energy_estimate_low_j": energy.estimate_low_j,
            "energy_estimate_high_j": energy.estimate_high_j,
            **{name: getattr(memory, name) for name in MEMORY},
            "total_bytes": memory.total_bytes, "capacity_bytes": memory.capacity_bytes, "fits": memory.fits,
            "max_batch": memory.max_batch, "max_context": memory.max_context,
            "min_sqnr_db": error.min_sqnr_db, "median_sqnr_db": error.median_sqnr_db,
            "stream_sqnr_db": error.stream_sqnr_db, "risk": judged.risk, "distribution": error.distribution,
        }  # fmt: skip
        base = first or row
        row["speedup"] = base["time_s"] / row["time_s"] if row["time_s"] else None
        for name in ("total_bytes", "dram_bytes", "bitops"):
            row[f"{name.removesuffix('_bytes')}_ratio"] = row[name] / base[name] if base[name] else None
        return row

    def _estimate(self, scenario: Scenario) -> dict[str, Any]:
        """The calibrated estimate beside the bound, with its interval and where it comes from."""
        names = ("estimate_time_s", "estimate_low_s", "estimate_high_s", "estimate_label")
        if not self.estimates:
            return dict.fromkeys(names)
        t = Analysis(scenario.with_(fidelity="estimate")).totals
        return dict(zip(names, (t.time_s, t.time_low_s, t.time_high_s, t.label), strict=True))

    def regimes(self, label: str | None = None) -> dict[str, float]:
        """Share of the first scenario's time by regime, for the scenario ``label`` (default: the last)."""
        wanted = self.labels[-1] if label is None else label
        shares: dict[str, float] = {}
        for row in self.op_rows:
            if row["scenario"] == wanted:
                seconds = row["repeat"] * row["time_s_before"]
                shares[row["regime_name"]] = shares.get(row["regime_name"], 0.0) + seconds
        total = sum(shares.values()) or 1.0
        return {name: value / total for name, value in sorted(shares.items(), key=lambda kv: -kv[1]) if value}

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``roofline compare --json``."""
        return {
            "schema": SCHEMA_VERSION,
            "scenarios": [s.full() for s in self.scenarios],
            "rows": self.rows,
            "ops": self.op_rows,
            "regimes": {label: self.regimes(label) for label in self.labels[1:]},
            "notes": list(self.notes),
        }

    def chart(self, theme: str = "light") -> dict[str, Any]:
        """Time with its interval and memory by kind, side by side, as a plotly figure dict."""
        from viewer.charts.whatif_compare import compare_chart

        return compare_chart(self.rows, theme)


def compare(
    scenarios: Scenario | Sequence[Scenario],
    compressions: Sequence[str] = (),
    *,
    estimates: bool = True,
    sensitivities: Sensitivities | None = None,
    measured: Measured | None = None,
) -> Comparison:
    """Scenarios side by side: ``compare(base, ["w16a16", "w4a16-g128"])`` or ``compare([a, b, c])``.

    The first (each scenario under the first compression) is the reference. ``estimates``: also the calibrated estimate
    beside the bound. ``sensitivities``/``measured``: of the error side (viewer.error). Raises InputError when there
    are fewer than one or more than MAX_SCENARIOS, or for anything that ``analyze`` refuses.
    """
    given = [scenarios] if isinstance(scenarios, Scenario) else list(scenarios)
    chosen = [s.with_(compression=c) for s in given for c in compressions] if compressions else given
    chosen = list(dict.fromkeys(chosen))
    if not 1 <= len(chosen) <= MAX_SCENARIOS:
        raise InputError(f"compare takes 1 to {MAX_SCENARIOS} scenarios, not {len(chosen)}")
    return Comparison(tuple(chosen), labels_of(chosen), estimates, sensitivities, measured)


def labels_of(scenarios: Sequence[Scenario]) -> tuple[str, ...]:
    """Short names that say only what differs between the scenarios, in order; numbered where that is not enough."""
    full = [s.full() for s in scenarios]
    keys = [k for k in ("model", "hardware", "compression") if len({s[k] for s in full}) > 1]
    names = []
    for s in full:
        words = [str(s[k])[:48] for k in keys]
        for part in ("workload", "parallel", "assumptions"):
            values = {k: v for k, v in s[part].items() if len({repr(o[part].get(k)) for o in full}) > 1}
            words += [f"{k} {v}" if part != "workload" or k != "phase" else str(v) for k, v in values.items()]
        names.append(", ".join(words) or s["compression"][:48])
    return tuple(n if names.count(n) == 1 else f"{n} #{i + 1}" for i, n in enumerate(names))
