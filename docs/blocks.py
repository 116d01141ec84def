"""What stands in the generated blocks of the documents; docs/generate.py writes it between the markers."""

from __future__ import annotations

import contextlib
import inspect
import io
import shlex
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from viewer import Decode, Prefill, analyze
from viewer.units import format_quantity as si

Row = dict[str, Any]
BLOCKS: dict[str, Callable[..., str]] = {}


def block(function: Callable[..., str]) -> Callable[..., str]:
    """Register a block under its function's name, with dashes."""
    BLOCKS[function.__name__.replace("_", "-")] = function
    return function


def table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table; a heading that ends in ``:`` is a column of numbers."""
    names = list(heads)
    lines = ["| " + " | ".join(n.rstrip(":") for n in names) + " |"]
    lines.append("| " + " | ".join("---:" if n.endswith(":") else "---" for n in names) + " |")
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    text = (
        f"{value:,.4g}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


# --- commands -------------------------------------------------------------------------------------


def _output(words: list[str]) -> str:
    from viewer.cli import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        main(words)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


@block
def run(*words: str) -> str:
    """A command and what it prints."""
    return f"```console\n$ roofline {shlex.join(words)}\n{_output(list(words))}\n```"


@block
def commands() -> str:
    """Every command: its help, its arguments and options."""
    import typer.main

    from viewer.cli import build

    parts = []

    def walk(command: Any, path: tuple[str, ...]) -> None:
        for name, child in command.commands.items():
            here = (*path, name)
            if getattr(child, "commands", None):
                walk(child, here)
            else:
                parts.append(f"## roofline {' '.join(here)}\n\n{_help(child)}")

    walk(typer.main.get_command(build()), ())
    return "\n\n".join(parts)


def _help(command: Any) -> str:
    """The help of one command, independent of how wide a terminal is."""
    text, _, example = inspect.cleandoc(command.help).partition("Example")
    rows = []
    for one in command.params:
        if one.name == "help":
            continue
        names = ", ".join(f"`{o}`" for o in (*one.opts, *one.secondary_opts))
        if one.param_type_name == "argument":
            names = f"`{one.name.upper()}`"
        default = None if one.default in (None, False, "") or one.required else f"`{one.default}`"
        rows.append((names, (one.help or "") + (" (repeatable)" if one.multiple else ""), default))
    lines = " ".join(example.lstrip("s").lstrip(":").split()).split("; ")
    code = "\n".join(line.rstrip(";") for line in lines)
    return (
        f"{text.strip()}\n\n```text\n{code}\n```\n\n{table(('argument or option', 'what', 'default'), rows)}"
    )


@block
def exit_statuses() -> str:
    """The statuses of the contract."""
    rows = (
        (0, "done"),
        (1, "the answer is no: does not fit, no solution, over the limit; the full output all the same"),
        (2, "bad input: one line says what was given, what is allowed, and the nearest match"),
    )
    return table(("status:", "meaning"), rows)


@block
def defaults() -> str:
    """Every key of the defaults file with the value that holds without it."""
    from viewer.scenario import Assumptions, Parallel

    rows: list[tuple[object, ...]] = [("model", ""), ("hardware", ""), ("compression", "checkpoint")]
    for part in (Assumptions, Parallel):
        rows += [(name, field.default) for name, field in part.model_fields.items()]
    return table(
        ("key", "without the file"), [(f"`{k}`", "–" if v in ("", None) else f"`{v}`") for k, v in rows]
    )


# --- worked numbers -------------------------------------------------------------------------------


@cache
def _worked(phase: str, compression: str) -> Any:
    load = Decode(context=2047) if phase == "decode" else Prefill(prompt=2048)
    return analyze("llama-2-13b", "nvidia/a6000", load, compression)


@block
def readme_number() -> str:
    """The README's worked number."""
    decode, packed = _worked("decode", "w16a16"), _worked("decode", "w4a16-g128")
    prefill, packed_prefill = _worked("prefill", "w16a16"), _worked("prefill", "w4a16-g128")
    rate = decode.plan.hardware.memory("dram").bandwidth_bytes_per_s.value
    gain = decode.totals.time_s / packed.totals.time_s
    more = 100 * (prefill.totals.time_s / packed_prefill.totals.time_s - 1)
    gained = "nothing" if abs(more) < 0.05 else f"{more:.1f} %"
    return (
        f"One number: a decode step of Llama-2-13B with 2 048 positions on an A6000 cannot take less than "
        f"**{si(decode.totals.time_s, 's', 5)}**,\nbecause it reads {si(decode.totals.dram_bytes, 'B')} through "
        f"{si(rate, 'B/s')}. With 4-bit weights in groups of 128 the same step is bounded by\n"
        f"{si(packed.totals.time_s, 's', 4)} ({gain:.1f} ×); a prefill of 2 048 tokens gains {gained}: its "
        f"{si(prefill.totals.time_s, 's')} are arithmetic."
    )


@block
def counts() -> str:
    """How many devices, models, formats and settings there are."""
    from hardware_specs import available
    from viewer import formats, sparsity
    from viewer.compression import available as settings
    from viewer.models import catalog_names, model_types

    return (
        f"{len(available())} devices, {len(catalog_names())} models in the catalog and {len(model_types())} known "
        f"`model_type`s, {len(formats.available())} number\nformats, {len(sparsity.available())} sparsity schemes and "
        f"{len(settings())} named settings; patterns and your own files make more."
    )


@block
def worked() -> str:
    """The 13B example step by step, with the numbers of the code put in."""
    d, p, q = _worked("decode", "w16a16"), _worked("prefill", "w16a16"), _worked("decode", "w4a16-g128")
    hw = d.plan.hardware
    rate, peak = hw.memory("dram").bandwidth_bytes_per_s.value, hw.peak("tensor", "fp16")
    h, ffn, layers, vocab = 5120, 13824, 40, 32000
    layer, norms = 4 * h * h + 3 * h * ffn, (2 * layers + 1) * h
    total = layers * layer + 2 * vocab * h + norms
    if total != d.plan.parameter_count:
        raise AssertionError(f"{total} parameters by hand, {d.plan.parameter_count} by the code")
    t, f = d.totals, p.totals
    intensity = (t.matmul_flops + t.vector_flops) / t.dram_bytes
    rows = (
        ("parameters", "40 (4·5120² + 3·5120·13824) + 2·32000·5120 + 81·5120", f"{total:,}"),
        ("weights read by a step", "all but the embedding table, 2 bytes each", si(t.weight_bytes, "B", 4)),
        ("cache read", "2·40·5120 values × 2 bytes × 2 048 positions", si(t.kv_read_bytes, "B", 4)),
        ("all DRAM traffic", "weights + cache + activations", si(t.dram_bytes, "B", 4)),
        ("matrix FLOPs", "2 a weight and row, 4·5120 a layer and position", si(t.matmul_flops, "FLOP", 4)),
        ("arithmetic intensity", "all FLOPs / bytes", f"{intensity:.3g} FLOP/B"),
        ("ridge of the A6000", f"{si(peak, 'FLOP/s', 4)} / {si(rate, 'B/s')}", f"{peak / rate:.4g} FLOP/B"),
        ("bound of the step", "memory: bytes / bandwidth, op by op", si(t.time_s, "s", 5)),
        ("prefill of 2 048 tokens", f"{si(f.matmul_flops, 'FLOP', 4)}: compute", si(f.time_s, "s", 4)),
        ("decode with w4a16-g128", f"reads {si(q.totals.dram_bytes, 'B', 4)}", si(q.totals.time_s, "s", 4)),
        ("gain", "", f"{t.time_s / q.totals.time_s:.3g} ×"),
    )  # fmt: skip
    return table(("quantity", "from", "value:"), rows)


@block
def ridges() -> str:
    """Where the slope meets the roof for some devices."""
    from hardware_specs import load

    rows = []
    for name in (
        "nvidia/a6000",
        "nvidia/a100-sxm-80gb",
        "nvidia/h100-sxm",
        "nvidia/b200-sxm",
        "amd/mi300x",
        "cpu/epyc-9654",
    ):
        hw = load(name)
        rate = hw.bandwidth_bytes_per_s("dram")
        kinds = [t for t in ("fp16", "bf16", "fp8", "int8", "fp4") if hw.has_peak("tensor", t)]
        if rate is None:
            continue
        text = ", ".join(
            f"{t} {hw.peak('tensor', t) / rate:.4g}" for t in kinds if t != "fp16" or "bf16" not in kinds
        )
        rows.append((f"`{name}`", si(rate, "B/s"), text))
    return table(("device", "DRAM:", "ridge in FLOP/B, by math type"), rows)


# --- catalogs -------------------------------------------------------------------------------------


@block
def formats() -> str:
    """Every listed number format."""
    from viewer import formats as registry

    def row(name: str) -> tuple[object, ...]:
        fmt = registry.get(name)
        scale = {"group": f"{fmt.group}", "block": f"{fmt.block_rows} × {fmt.group}"}.get(
            fmt.scaling, fmt.scaling
        )
        bits = fmt.bits_per_value(4096, 4096)
        return f"`{name}`", float(fmt.element_bits), bits, fmt.value_type, scale, fmt.description, fmt.source

    heads = ("format", "bits:", "stored:", "values", "scale per", "what it is", "source")
    return table(heads, (row(name) for name in registry.available()))


@block
def sparsities() -> str:
    """Every listed sparsity scheme: bytes, executed share, need."""
    from viewer import formats as registry
    from viewer import sparsity

    def row(name: str) -> tuple[object, ...]:
        scheme = sparsity.get(name)
        bits = share = None
        if isinstance(scheme, sparsity.WEIGHT_SCHEMES):
            bits = 8 * scheme.stored_bytes(registry.get("fp16"), 4096, 4096) / 4096**2
            math = {"1:2": "tf32", "4:8-pair": "int4"}.get(name, "fp16")
            types = frozenset({"fp16", "bf16", "tf32", "int8", "int4", "fp8"})
            share = (
                f"{100 * scheme.execute(sparsity.Site(math, types, 'gpu', 4096, 4096)).flops_factor:.3g} %"
            )
        return f"`{name}`", bits, share, scheme.hardware_need

    heads = ("scheme", "bits per weight:", "executed:", "what it needs")
    return table(heads, (row(name) for name in sparsity.available()))


@block
def settings() -> str:
    """Every named setting and what its rules say."""
    from viewer.compression import available, load

    rows = []
    for name in (n for n in available() if not n.startswith("gguf-") or "_m" in n):
        policy = load(name)
        said = []
        for rule in policy.rules:
            given = {k: v for k, v in rule if v is not None and k not in ("ops", "layers")}
            where = "" if rule.ops in (("@linear",), ("*",)) else f" ({' '.join(rule.ops)})"
            said.append(", ".join(f"{k} {v}" for k, v in given.items() if v != "default16") + where)
        words = [s for s in said if s.strip()] + [*policy.structure, *policy.attention]
        rows.append((f"`{name}`", "; ".join(words) or "16 bits"))
    return table(("setting", "rules"), rows)


@block
def hardware() -> str:
    """Every device: capacity, bandwidth, peaks, and how many of its figures come from where."""
    from hardware_specs import available, load

    def row(name: str) -> tuple[object, ...]:
        hw = load(name)
        dram = hw.memory("dram")
        size = si(dram.capacity_bytes.value, "B") if dram and dram.capacity_bytes else None
        rate = hw.bandwidth_bytes_per_s("dram")
        sixteen = next((t for t in ("bf16", "fp16") if hw.has_peak("tensor", t)), None)
        peaks = [t for t in (sixteen, "fp8", "int8", "fp4") if t and hw.has_peak("tensor", t)]
        kinds = Counter(f.kind for f in hw.figures())
        seen = Counter(f.seen for f in hw.figures())
        return (
            f"`{name}`", hw.architecture, size, si(rate, "B/s") if rate else None,
            ", ".join(f"{t} {1e-12 * hw.peak('tensor', t):.4g}" for t in peaks),
            " / ".join(str(kinds[k]) for k in ("datasheet", "derived", "measured")),
            " / ".join(str(seen[k]) for k in ("read", "reproduced", "recalled")),
        )  # fmt: skip

    heads = (
        "device", "architecture", "memory:", "bandwidth:", "dense tensor peaks (TOP/s)",
        "datasheet / derived / measured", "read / reproduced / recalled",
    )  # fmt: skip
    return table(heads, (row(name) for name in available()))


@block
def validation() -> str:
    """Errors of the shipped calibrations on shapes left out of the fit, by device and op."""
    from viewer.calibration.store import shipped

    groups: dict[tuple[str, str], list[Any]] = {}
    for calibration in shipped():
        for fit in calibration.classes:
            groups.setdefault((calibration.hardware, fit.op), []).append(fit)
    if not groups:
        return "No calibration is shipped: every time is a bound, or an estimate labelled *uncalibrated*."
    rows = []
    for (device, op), fits in sorted(groups.items()):
        errors = [_weighted(fits, rung) for rung in ("M0", "M1", "M2", "M3")]
        rows.append((f"`{device}`", op, len(fits), sum(f.points for f in fits), *errors))
    heads = ("device", "op", "classes:", "kernels:", "M0 %:", "M1 %:", "M2 %:", "M3 %:")
    return table(heads, rows)


def _weighted(fits: list[Any], rung: str) -> str | None:
    """Mean error of a rung over classes, weighted by their kernels."""
    known = [(f.points, f.scores[rung]["non_tiny"]) for f in fits if "non_tiny" in f.scores.get(rung, {})]
    points = sum(n for n, _ in known)
    return f"{sum(n * e for n, e in known) / points:.1f}" if points else None
