"""``roofline bench``: measure this machine's processor or GPU, or build every GPU kernel without one."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from viewer.cli.common import OUTPUT_OPTIONS, command_with, emit, note
from viewer.errors import InputError

INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    """Add ``bench cuda`` and ``bench cpu``."""
    group = typer.Typer(help="Measure this machine; never changes its settings.", no_args_is_help=True)
    group.command("cuda")(command_with(OUTPUT_OPTIONS, bench_cuda))
    group.command("cpu")(command_with(OUTPUT_OPTIONS, bench_cpu))
    app.add_typer(group, name="bench")


Out = Annotated[
    Path | None, typer.Option(help="FILE.yaml: hardware file; raw results go to FILE.json beside it")
]
Quick = Annotated[bool, typer.Option("--quick", help="fewer samples, one process")]
Force = Annotated[bool, typer.Option("--force", help="replace files that are there")]
Seed = Annotated[int, typer.Option(help="seed of the random data")]


def bench_cpu(
    out: Out = None,
    quick: Quick = False,
    force: Force = False,
    seed: Seed = 20260101,
    *,
    options: dict[str, Any],
) -> None:
    """Measure this machine's processor: raw results (JSON) and a hardware file (YAML), in under two minutes.

    Example: roofline bench cpu --out my-cpu.yaml
    """
    from viewer.bench import cpu_blas, cpu_run, hardware_file, host
    from viewer.bench.campaign import Target, Writer

    target = Target.of(out or Path("roofline-cpu.yaml"), force=force)
    software = host.software() | {"blas": cpu_blas.blas_info()}
    mode = "quick" if quick else "full"
    writer = Writer(target, host.cpu_device(), software, f"roofline bench cpu --{mode}", mode, seed)
    complete = False
    with _interruptible():
        try:
            _, notes = cpu_run.run(quick=quick, seed=seed, report=_progress, keep=writer.keep)
            writer.notes += notes
            complete = True
        except KeyboardInterrupt:
            note("interrupted; what was finished is kept")
    if not writer.records:
        raise typer.Exit(INTERRUPTED) if not complete else InputError("nothing could be measured here")
    campaign = writer.save(complete=complete)
    try:
        hardware_file.write(target.yaml, hardware_file.describe_cpu(campaign))
        note(f"wrote {target.json} and {target.yaml}")
    except InputError as error:
        note(f"wrote {target.json}; no hardware file: {error}")
    _show(campaign, options)
    if not complete:
        raise typer.Exit(INTERRUPTED)


def bench_cuda(
    build_only: Annotated[bool, typer.Option("--build-only", help="compile and check, run nothing")] = False,
    arch: Annotated[str, typer.Option(help="architectures for --build-only, as sm_86,sm_90a")] = "",
    kernel: Annotated[
        list[str] | None, typer.Option(help="a kernel id or its first part (mma); repeatable")
    ] = None,
    compiler: Annotated[str, typer.Option(help="auto, nvrtc or nvcc")] = "auto",
    device: Annotated[int, typer.Option(help="which GPU", min=0)] = 0,
    libraries: Annotated[
        bool, typer.Option(help="also time library kernels through torch, if present")
    ] = True,
    out: Out = None,
    quick: Quick = False,
    force: Force = False,
    seed: Seed = 20260101,
    *,
    options: dict[str, Any],
) -> None:
    """Measure a CUDA GPU, or build every kernel for some architectures and show what it became.

    Example: roofline bench cuda --build-only --arch sm_86,sm_90a
    """
    from viewer.bench import build
    from viewer.bench.kernels import select

    kernels = select(kernel)
    if not build_only:
        from viewer.bench import cuda_command

        code = cuda_command.measure(
            kernels, compiler, device, out, quick=quick, force=force, seed=seed, libraries=libraries,
            report=_progress, show=lambda campaign: _show(campaign, options), interruptible=_interruptible,
        )  # fmt: skip
        raise typer.Exit(code)
    found = build.find_compiler(compiler)
    if found is None:
        raise InputError(build.NO_COMPILER)
    rows: list[build.Build] = []
    for one in build.parse_archs(arch or "sm_80,sm_86,sm_89,sm_90a", found):
        rows += build.build_all(kernels, one, found)
    _show_builds(rows, f"{found.name} {found.version}", options)
    raise typer.Exit(1 if any(row.problems for row in rows) else 0)


def _show_builds(rows: list[Any], compiler: str, options: dict[str, Any]) -> None:
    from viewer.bench.table import text_table

    def frame() -> Any:
        import pandas as pd

        return pd.DataFrame([row.row() | {"problems": "; ".join(row.problems)} for row in rows])

    def table() -> None:
        head = ["kernel", "arch", "status", "instruction", "count", "registers", "spills", "note"]
        body = []
        for r in rows:
            what = "; ".join(r.problems) or r.note
            body.append(
                [r.kernel, r.arch, r.status, r.instruction, r.count, r.registers, r.spill_bytes, what]
            )
        print(text_table(head, body))

    emit(options, frame, lambda: [row.row() for row in rows], table)
    by_status = {s: sum(r.status == s for r in rows) for s in ("native", "emulated", "unsupported", "failed")}
    bad = sum(bool(r.problems) for r in rows)
    counts = ", ".join(f"{n} {s}" for s, n in by_status.items())
    note(f"{compiler}: {counts}; {bad} with a broken expectation")


def _show(campaign: Any, options: dict[str, Any]) -> None:
    """The records as a table, or as data."""
    from viewer.bench.roofs import products_against_roofs
    from viewer.bench.table import record_rows, text_table

    rows = record_rows(campaign.records)

    def frame() -> Any:
        import pandas as pd

        return pd.DataFrame(rows)

    def table() -> None:
        for part in (rows, products_against_roofs(campaign)):
            if part:
                print(
                    text_table(list(part[0]), [[_short(v) for v in row.values()] for row in part]), end="\n\n"
                )

    emit(options, frame, lambda: campaign.model_dump(mode="json"), table)


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends a campaign as Ctrl-C does: with the finished part kept."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
