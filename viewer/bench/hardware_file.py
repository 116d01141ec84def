"""Turns a campaign into a hardware description: the file that every command takes in place of a device's name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from viewer.bench.cpu_plan import DOTS
from viewer.bench.schema import Campaign, Record
from viewer.bench.storage import write_atomic
from viewer.errors import InputError

# probe -> (unit of the description, math type)
_RATES = {
    "fma_f32": ("vector", "fp32"),
    "fma_f64": ("vector", "fp64"),
    "dot_bf16": ("vector", "bf16"),
    "dot_int8": ("vector", "int8"),
}
_LEVELS = {"l1": "shared", "l2": "l2", "l3": "llc"}


def slug(text: str) -> str:
    """A name's letters and digits, lower-case, joined by dashes."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"\((?:r|tm|c)\)|@.*", " ", text.lower()))
    dull = {"cpu", "processor", "with", "core", "cores"}
    return "-".join(w for w in words if w not in dull)[:50].strip("-") or "cpu"


def figure(record: Record, *, unit: str = "") -> dict[str, Any]:
    """A Quantity of the description: the headline, or the best batch where the machine was disturbed.

    A ceiling is what the device can do; under other people's load the median is a measure of that load, so the
    best batch stands in for it, and the note says so.
    """
    result, disturbed = record.result, "disturbed" in record.flags
    value = result.best if disturbed else result.value
    notes = [f"{result.threads} threads" if result.threads else ""]
    if disturbed:
        notes.append(
            f"best of {record.stats.n} batches; the machine was busy, median {result.value:.4g} {unit}"
        )
    notes += [f for f in record.flags if f != "disturbed"]
    found: dict[str, Any] = {
        "value": float(f"{value:.6g}"),
        "kind": "measured",
        "seen": "read",
        "source": "campaign",
    }
    if note := "; ".join(n for n in notes if n):
        found["note"] = note.strip()
    found["uncertainty"] = min(1.0, float(f"{result.uncertainty:.3g}"))
    return found


def describe_cpu(campaign: Campaign) -> dict[str, Any]:
    """The fields of a hardware file for a CPU campaign; InputError when its FMA or DRAM rate is missing.

    Rates are those of all threads together. ``tensor`` repeats the vector rates, because a processor without a
    matrix unit multiplies matrices on its lanes. FP16 runs as FP32 there: it is absent, not guessed.
    """
    device = campaign.device.model_dump()
    threads = max((r.result.threads or 1 for r in campaign.records), default=1)
    every = {r.id: r for r in campaign.records}
    cores = int(device.get("cores") or threads)
    dram = every.get(f"cpu.read.dram.t{threads}") or every.get("cpu.np_sum.dram.t1")
    rates = _compute(every, threads, cores)
    if dram is None or not rates["vector"]:
        raise InputError("the campaign has no DRAM or no multiply-add rate: run it to the end")
    campaign_source = f"roofline bench cpu, {campaign.run.utc[:10]}, run {campaign.run.id}, {device['name']}"
    own = {"kind": "measured", "seen": "read", "source": "system"}
    found: dict[str, Any] = {
        "schema_version": 1,
        "name": f"local/{slug(device['name'])}-{cores}c",
        "label": f"{device['name']} ({cores} cores, measured)"[:80],
        "vendor": "local",
        "kind": "cpu",
        "architecture": _architecture(device),
        "note": _note(campaign, threads),
        "sources": {"campaign": campaign_source[:500], "system": "the operating system's description"},
        "core_count": {"value": cores, **own},
        "core_name": "core",
    }
    if clock := _clock(every, threads):
        found["clocks"] = {"rated_hz": clock, "maximum_hz": clock}
    found["memory"] = _memory(device, every, threads, dram, own)
    found["compute"] = rates
    found["measured"] = _measured(campaign.records)
    return found


def _note(campaign: Campaign, threads: int) -> str:
    disturbed = sum("disturbed" in r.flags for r in campaign.records)
    text = f"Measured on this machine with {threads} threads; {len(campaign.records)} benchmarks"
    if disturbed:
        text += f", {disturbed} of them disturbed by other work"
    return text + ("." if campaign.run.complete else "; the campaign was interrupted.")


def _architecture(device: dict[str, Any]) -> str:
    isa = device.get("isa") or []
    for name, flag in (("avx512", "avx512f"), ("avx2", "avx2"), ("neon", "asimd")):
        if flag in isa:
            return name
    return re.sub(r"[^A-Za-z0-9_.+-]", "", str(device.get("machine") or "cpu"))[:40] or "cpu"


def _compute(every: dict[str, Record], threads: int, cores: int) -> dict[str, Any]:
    vector: dict[str, Any] = {}
    for probe, (_, math_type) in _RATES.items():
        record = every.get(f"cpu.{probe}.t{threads}")
        if record is None:
            continue
        rate: dict[str, Any] = {"peak": figure(record, unit="op/s")}
        if per_clock := record.validity.op_per_clock_per_core:
            # threads beyond the cores share a core's pipes
            value = float(f"{per_clock * threads / cores:.4g}")
            rate["op_per_clock"] = {"value": value, "kind": "measured", "seen": "read", "source": "campaign"}
        rate["accumulate"] = record.result.accumulate
        vector[math_type] = rate
    if not vector:
        gemms = [r for r in every.values() if r.result.metric == "gemm_rate"]
        if gemms:
            best = max(gemms, key=lambda r: r.result.value)
            vector["fp32"] = {"peak": figure(best, unit="op/s"), "accumulate": "fp32"}
    found: dict[str, Any] = {"tensor": vector, "vector": vector}
    exponent = every.get(f"cpu.exp_f32.t{threads}")
    if exponent:
        found["special"] = {"exp": {"peak": figure(exponent, unit="op/s")}}
    return found


def _clock(every: dict[str, Record], threads: int) -> dict[str, Any] | None:
    record = every.get(f"cpu.fma_f32.t{threads}")
    clocks = sorted(record.samples.clock_hz or []) if record else []
    if not clocks or not clocks[0]:
        return None
    return {
        "value": float(f"{clocks[len(clocks) // 2]:.5g}"),
        "kind": "measured",
        "seen": "read",
        "source": "campaign",
        "note": "median while all threads multiply and add",
    }


def _memory(
    device: dict[str, Any], every: dict[str, Record], threads: int, dram: Record, own: dict[str, Any]
) -> dict[str, Any]:
    found: dict[str, Any] = {"dram": {"bandwidth_bytes_per_s": figure(dram, unit="B/s")}}
    if memory := device.get("memory_bytes"):
        found["dram"]["capacity_bytes"] = {"value": memory, **own}
    for level, facts in (device.get("caches") or {}).items():
        record = every.get(f"cpu.read.{level}.t{threads}")
        if level not in _LEVELS:
            continue
        instances = -(-int(device.get("processors") or 1) // facts["shared_by"])
        entry = {"capacity_bytes": {"value": facts["bytes"] * instances, **own}, "per": "device"}
        if record:
            entry["bandwidth_bytes_per_s"] = figure(record, unit="B/s")
        found[_LEVELS[level]] = entry
    return found


def _measured(records: list[Record]) -> list[dict[str, Any]]:
    """Rates by thread count, as ``Measured`` entries: NAME_tN, NAME_native_tN."""
    rows = []
    for record in records:
        probe, *rest = record.id.removeprefix("cpu.").split(".")
        kind = "_rate" if record.result.unit == "op/s" else "_bandwidth"
        level = [part for part in rest if not part.startswith("t") or not part[1:].isdigit()]
        name = "_".join([probe + ("_dot" if probe in DOTS else ""), *level])
        quantity = figure(record, unit=record.result.unit)
        rows.append({"metric": f"{name}{kind}_{rest[-1]}", "unit": record.result.unit} | quantity)
    return rows


def to_yaml(description: dict[str, Any]) -> str:
    """YAML text of a description, checked against the schema of hardware files."""
    import yaml

    from hardware_specs.schema import Hardware

    sources = description.get("sources", {})

    def resolved(item: Any) -> Any:
        if isinstance(item, list):
            return [resolved(x) for x in item]
        if not isinstance(item, dict):
            return item
        return {k: sources.get(v, v) if k == "source" else resolved(v) for k, v in item.items()}

    Hardware.model_validate(resolved({k: v for k, v in description.items() if k != "sources"}))

    class Plain(yaml.SafeDumper):
        """Writes repeated parts out: hardware files allow no anchors."""

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
            return True

    text = yaml.dump(description, Dumper=Plain, sort_keys=False, width=100, allow_unicode=True)
    return f"# Written by roofline bench; every figure was measured on this machine.\n{text}"


def write(path: Path, description: dict[str, Any]) -> None:
    """Writes a description as a hardware file, atomically."""
    write_atomic(path, to_yaml(description))
