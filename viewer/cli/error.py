"""``roofline error``: what a setting loses, assumed from distributions or measured on a checkpoint's weights."""

from __future__ import annotations

import signal
import statistics
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from viewer.cli.common import OUTPUT_OPTIONS, command_with, note
from viewer.cli.formats import rows_out
from viewer.errors import InputError

if TYPE_CHECKING:
    from viewer.compression import Compression
    from viewer.error import ErrorAssessment, Measurement

CANCELLED = 130


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("error")(command_with(OUTPUT_OPTIONS, error_command))


def error_command(
    model: Annotated[
        str | None, typer.Argument(help="catalog name or file; not needed with --checkpoint")
    ] = None,
    compression: Annotated[list[str] | None, typer.Option(help="setting, repeatable")] = None,
    hardware: Annotated[str | None, typer.Option(help="judge what this device executes")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help=".safetensors file or folder to measure")] = None,
    sensitivities: Annotated[Path | None, typer.Option(help="CSV or JSON of op, layer, sensitivity")] = None,
    by: Annotated[str, typer.Option(help="rows of the table: op or layer (data always has both)")] = "op",
    options: Any = None,
) -> int:
    """Quantization error of a setting: SQNR per op and an ordinal risk (never a perplexity).

    Assumed from standard distributions, or measured with --checkpoint.

    Example: roofline error llama-2-13b --compression w4a16-g128 --compression w4a16-g128+kv4
    """
    names = compression or ["w4a16-g128"]
    if by not in ("op", "layer"):
        raise InputError(f"--by {by[:40]!r} (allowed: op, layer)")
    if checkpoint is not None and model is None:
        return _measured(checkpoint, names, options)
    if model is None:
        raise InputError("error: a MODEL, a --checkpoint PATH, or both")
    found, stopped = None, False
    if checkpoint is not None:
        found, stopped = _measure(checkpoint, names)
    results = [_assess(model, name, hardware, found, sensitivities) for name in names]
    rows = [{"compression": n, **row} for n, (a, _) in zip(names, results, strict=True) for row in a.rows()]
    data = {
        "schema": 1,
        "model": model,
        "hardware": hardware,
        "settings": [_summary(n, a, notes) for n, (a, notes) in zip(names, results, strict=True)],
        "ops": rows,
    }
    for _, notes in results:
        for line in notes:
            note(line)
    shown = _grouped(rows, by)
    head = "\n".join(_headline(setting) for setting in data["settings"])  # type: ignore[attr-defined]
    columns = [*(["setting"] if len(names) > 1 else []), by, "weight", "act", "kv", "sqnr_db", "worst_db"]
    _out(options, rows, shown, columns, data, head)
    return CANCELLED if stopped else 0


def _out(
    options: Any,
    rows: list[dict[str, Any]],
    shown: list[dict[str, Any]],
    columns: list[str],
    data: Any,
    head: str,
) -> None:
    """Data has every row; the table a person sees is grouped."""
    as_data = options["json_"] or options["csv"] or options["parquet"] is not None
    rows_out(options, rows if as_data else shown, columns, data=data, head=head)


def _assess(
    model: str, name: str, hardware: str | None, found: Measurement | None, sensitivities: Path | None
) -> tuple[ErrorAssessment, tuple[str, ...]]:
    from viewer.error import load_sensitivities
    from viewer.risk import risk_of
    from viewer.scenario import Scenario

    factors = None if sensitivities is None else load_sensitivities(sensitivities)
    measured = None if found is None else found.by_op()
    if hardware is not None:
        scenario = Scenario(model=model, hardware=hardware, compression=name)
        risk = risk_of(scenario, sensitivities=factors, measured=measured)
        return risk.assessment, risk.notes
    return _as_written(model, name, factors, measured)


def _as_written(
    model: str, name: str, factors: Any, measured: Any
) -> tuple[ErrorAssessment, tuple[str, ...]]:
    """The setting as its rules say, whatever a device makes of it."""
    from viewer.error import assess
    from viewer.models import load_model
    from viewer.planned import policy_of
    from viewer.whatif.risk import settings_of, unfused

    graph, default16 = unfused(model)
    policy = policy_of(load_model(model), name)
    settings = settings_of(graph, policy, default16)
    notes = tuple(f"the error of {part} is not assessed" for part in (*policy.structure, *policy.attention))
    return assess(settings, sensitivities=factors, measured=measured), notes


def _summary(name: str, a: ErrorAssessment, notes: Sequence[str]) -> dict[str, Any]:
    return {
        "compression": name,
        "min_sqnr_db": a.min_sqnr_db,
        "median_sqnr_db": a.median_sqnr_db,
        "mean_sqnr_db": a.mean_sqnr_db,
        "stream_sqnr_db": a.stream_sqnr_db,
        "risk": a.risk if a.columns["op"] or not notes else "unknown",
        "distribution": a.distribution,
        "not_assessed": list(notes),
    }


def _headline(setting: dict[str, Any]) -> str:
    return (
        f"{setting['compression']}: risk {setting['risk']} ({setting['distribution']}); SQNR least "
        f"{setting['min_sqnr_db']:.1f} dB, median {setting['median_sqnr_db']:.1f}, residual stream "
        f"{setting['stream_sqnr_db']:.1f}"
    )


def _grouped(rows: list[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    """One row per op (over its layers) or per layer (over its ops): median and worst output SQNR."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        formats = (row["weight_format"], row["act_format"], row["kv_format"]) if by == "op" else ()
        groups.setdefault((row["compression"], row[by], formats), []).append(row)
    out = []
    for (name, what, formats), members in groups.items():
        outputs = [float(m["output_sqnr_db"]) for m in members]
        row = {"setting": name, by: what, "sqnr_db": statistics.median(outputs), "worst_db": min(outputs)}
        row |= dict(zip(("weight", "act", "kv"), formats, strict=False))
        out.append(row)
    return out


# --- measured ---------------------------------------------------------------------------------------


def _measured(checkpoint: Path, names: list[str], options: Any) -> int:
    found, stopped = _measure(checkpoint, names)
    for tensor, reason in found.skipped:
        note(f"{tensor} is skipped: {reason}")
    rows = found.rows()
    data = {"schema": 1, "stopped": stopped, "skipped": [list(s) for s in found.skipped], "tensors": rows}
    finite = [float(e.sqnr_db) for e in found.errors]
    head = f"{len(rows)} measurements" + (f", least {min(finite):.1f} dB" if finite else "")
    columns = ["tensor", "format", "numel", "sqnr_db", "cosine", "kurtosis"]
    rows_out(options, rows, columns, data=data, head=head)
    return CANCELLED if stopped else 0


def _measure(checkpoint: Path, names: list[str]) -> tuple[Measurement, bool]:
    """Measure what the settings make of every weight; Ctrl-C keeps what is finished."""
    from viewer.compression import load
    from viewer.error import measure_checkpoint
    from viewer.error.checkpoint import iter_tensors

    tensors = [t.name for t in iter_tensors(checkpoint)]
    choose = chooser([load(name) for name in names], tensors)
    stop = threading.Event()
    with _interruptible(stop), _progress() as progress:
        found = measure_checkpoint(checkpoint, choose, progress=progress, should_stop=stop.is_set)
    if found.stopped:
        note(f"stopped: {len(found.errors)} measurements were finished")
    return found, found.stopped


def chooser(
    policies: list[Compression], tensors: list[str]
) -> Callable[[str, tuple[int, ...]], Sequence[str]]:
    """The formats of a tensor under each policy, by the op and layer that its name means."""
    from viewer.error import op_of_tensor
    from viewer.risk import narrow

    layers = [layer for _, layer in map(op_of_tensor, tensors) if layer is not None]
    count = max(layers, default=-1) + 1

    def choose(name: str, shape: tuple[int, ...]) -> Sequence[str]:
        if len(shape) < 2:
            return ()
        op, layer = op_of_tensor(name)
        found = []
        for policy in policies:
            chosen = policy.resolve(op, layer, count)
            parts = (narrow(chosen.weight), chosen.sparsity.name if chosen.sparsity else None)
            found.append("+".join(part for part in parts if part))
        return tuple(dict.fromkeys(name for name in found if name))

    return choose


@contextmanager
def _interruptible(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C sets ``stop`` instead of ending the program (in the main thread; others cannot be asked)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on stderr where it is a terminal; silence elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def show(done: int, total: int, tensor: str) -> None:
            bar.update(task, completed=done, total=total, description=tensor[-40:] or "done")

        yield show
