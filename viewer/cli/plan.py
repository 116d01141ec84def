"""``roofline plan``: bits (and sparsity) per layer under budgets, with the least error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from viewer.cli.common import (
    OUTPUT_OPTIONS,
    SCENARIO_OPTIONS,
    atomic,
    command_with,
    console,
    emit,
    note,
    scenario_of,
)
from viewer.cli.pictures import CHART_OPTION, check_chart, write_chart

if TYPE_CHECKING:
    from viewer.whatif import PlanResult


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(command_with({**SCENARIO_OPTIONS, **OUTPUT_OPTIONS, **CHART_OPTION}, plan_command))


def plan_command(
    model: Annotated[str | None, typer.Argument(help="catalog name or file")] = None,
    hardware: Annotated[str | None, typer.Argument(help="device name or file")] = None,
    memory: Annotated[str | None, typer.Option(help="budget of device memory, such as 24GiB")] = None,
    tpot: Annotated[str | None, typer.Option(help="budget of time per output token, such as 10ms")] = None,
    ttft: Annotated[str | None, typer.Option(help="budget of time to first token, such as 500ms")] = None,
    energy: Annotated[str | None, typer.Option(help="budget of energy of the workload, such as 3J")] = None,
    candidates: Annotated[str | None, typer.Option(help="settings for linear layers, by commas")] = None,
    cache: Annotated[
        str | None, typer.Option(help="settings for the cache, by commas; 'none' leaves it")
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="choose 2:4 and ranks instead of formats")] = False,
    blocks: Annotated[int, typer.Option(help="runs of layers that are decided apart")] = 8,
    head: Annotated[bool, typer.Option("--head", help="the output head too")] = False,
    sensitivities: Annotated[Path | None, typer.Option(help="CSV or JSON of op, layer, sensitivity")] = None,
    front: Annotated[int, typer.Option(help="points of the front of speed against error")] = 0,
    out: Annotated[Path | None, typer.Option(help="write the plan as a compression file (YAML)")] = None,
    options: Any = None,
) -> int:
    """The compression of least error under budgets of memory, time or energy. Status 1: nothing meets them.

    Example: roofline plan llama-3.1-8b a6000 --batch 8 --context 4096 --tpot 12ms --out plan.yaml
    """
    from viewer.units import parse
    from viewer.whatif import plan
    from viewer.whatif.planning import CACHE, CANDIDATES, PRUNING

    check_chart(options["chart"])
    scenario = scenario_of(model, hardware, options)
    known = None
    if sensitivities is not None:
        from viewer.error import load_sensitivities

        known = load_sensitivities(sensitivities)
    budgets = {
        "memory_bytes": (memory, "B"),
        "tpot_s": (tpot, "s"),
        "ttft_s": (ttft, "s"),
        "energy_j": (energy, "J"),
    }
    given: dict[str, Any] = {n: parse(text, unit) for n, (text, unit) in budgets.items() if text is not None}
    linear = _words(candidates) or (PRUNING if prune else CANDIDATES)
    cached = _words(cache) or (() if prune else CACHE)
    with stdout_to_stderr():
        found = plan(
            scenario, candidates=linear, cache=() if cached == ("none",) else cached, blocks=blocks, head=head,
            sensitivities=known, front=front, **given,
        )  # fmt: skip
    for line in found.notes:
        note(line)
    if options["chart"] is not None:
        write_chart(found.chart(), options["chart"], "Plan of least error")
    if out is not None and found.feasible:
        write_plan(found, out)
    emit(options, lambda: found.frame, found.to_dict, lambda: print_plan(found, out))
    return 0 if found.feasible else 1


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(w.strip() for w in (text or "").split(",") if w.strip())


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """What the solver's C code prints goes to stderr: stdout carries data only."""
    sys.stdout.flush()
    try:
        own = os.dup(1)
    except OSError:
        yield
        return
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(own, 1)
        os.close(own)


def write_plan(found: PlanResult, path: Path) -> None:
    """The plan as a YAML file that ``--compression`` takes."""
    import yaml

    text = yaml.safe_dump(found.compression, sort_keys=False, allow_unicode=True)
    atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def print_plan(found: PlanResult, out: Path | None) -> None:
    """What each family got, what it costs, how good it can be at best."""
    from rich.table import Table

    from viewer.units import format_quantity as si
    from viewer.whatif.planning import BUDGETS

    shown = console()
    if not found.feasible:
        shown.print("no plan meets the budgets with these candidates")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("family", "choice", "layers", "noise"):
        table.add_column(heading, justify="right" if heading == "noise" else "left")
    for row in found.rows:
        table.add_row(row["family"], row["choice"], row["layers"], f"{row['noise']:.3g}")
    shown.print(table)
    for name, value in found.after.items():
        unit = BUDGETS.get(name, "s")
        budget = f", budget {si(found.budgets[name], unit, 4)}" if name in found.budgets else ""
        shown.print(f"{name}: {si(found.before[name], unit, 4)} -> {si(value, unit, 4)}{budget}")
    error = found.error
    if error is not None:
        sqnr = "exact" if error.stream_sqnr_db == float("inf") else f"{error.stream_sqnr_db:.2f} dB"
        shown.print(f"SQNR of the stream {sqnr}, risk {error.risk} ({error.distribution} distributions)")
    gap = (found.noise - found.bound_noise) / found.noise if found.noise else 0.0
    proof = "optimal" if found.proven and gap < 1e-5 else f"within {100 * gap:.2g} % of the optimum"
    shown.print(
        f"noise {found.noise:.5g}, no plan can have less than {found.bound_noise:.5g}: {proof} "
        f"(solved in {found.solve_s:.2f} s, {found.total_s:.2f} s in all)"
    )
    for point in found.front:
        shown.print(
            f"front: {point['speed'].removesuffix('_s')} {si(point[point['speed']], 's', 4)}, "
            f"{si(point['memory_bytes'], 'B')}, {point['stream_sqnr_db']:.1f} dB"
        )
    if out is not None:
        shown.print(f"written to {out}")
