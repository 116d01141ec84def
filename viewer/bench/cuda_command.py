"""``roofline bench cuda`` with a GPU: fresh processes, files, and the one line where there is no GPU."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from viewer.bench import build, cuda_run, host
from viewer.bench.campaign import Target, Writer
from viewer.bench.cpu_run import describe
from viewer.bench.cuda_bench import Settings
from viewer.bench.cuda_driver import GpuError
from viewer.bench.kernels import Kernel
from viewer.bench.schema import Campaign, Record
from viewer.bench.storage import write_atomic
from viewer.errors import InputError

INTERRUPTED = 130
PROCESSES = 3
Report = Callable[[str], None]


def _device(ordinal: int) -> dict[str, Any]:
    """What the device is; InputError in one line where there is none."""
    try:
        timer = cuda_run.open_timer(ordinal, Settings.quick())
    except GpuError as error:
        raise InputError(
            f"no CUDA GPU to measure: {error}; build and check every kernel without one: "
            "roofline bench cuda --build-only"
        ) from None
    described = timer.gpu.describe() | timer.monitor.describe()
    return described | {"architecture": cuda_run.device_arch(timer.gpu).name}


def _worker(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of one fresh process; it is ended when the caller stops early."""
    command = [sys.executable, "-m", "viewer.bench.cuda_run"]
    root = str(Path(__file__).resolve().parents[2])
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=root, start_new_session=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(request))
        process.stdin.close()
        for line in process.stdout:
            with contextlib.suppress(ValueError):
                yield json.loads(line)
        if process.wait():
            yield {"report": f"a worker process failed (exit status {process.returncode})"}
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def measure(
    kernels: list[Kernel],
    compiler: str,
    device: int,
    out: Path | None,
    *,
    quick: bool,
    force: bool,
    seed: int,
    libraries: bool,
    report: Report,
    show: Callable[[Campaign], None],
    interruptible: Callable[[], contextlib.AbstractContextManager[None]],
) -> int:
    """Runs the campaign; returns the exit status."""
    facts = _device(device)
    if build.find_compiler(compiler) is None:
        raise InputError(build.NO_COMPILER)
    target = Target.of(out or Path("roofline-cuda.json"), force=force)
    software = host.software(("numpy", "cuda-bindings", "nvidia-cuda-nvrtc", "nvidia-ml-py", "torch"))
    mode = "quick" if quick else "full"
    writer = Writer(target, facts, software, f"roofline bench cuda --{mode}", mode, seed)
    request = {
        "quick": quick,
        "compiler": compiler,
        "device": device,
        "seed": seed,
        "kernels": [k.id for k in kernels],
    }
    table: list[dict[str, Any]] = []
    raw: dict[str, list[Record]] = {}
    complete = False
    with interruptible():
        try:
            for number in range(1 if quick else PROCESSES):
                request |= {"sustained_only": number > 0, "libraries": libraries and number == 0}
                _pass(request, writer, raw, table, report)
            complete = True
        except KeyboardInterrupt:
            report("interrupted; what was finished is kept")
    if not writer.records:
        return INTERRUPTED if not complete else _nothing()
    campaign = writer.save(complete=complete)
    _write_table(target, table, report)
    report(f"wrote {target.json}")
    show(campaign)
    return 0 if complete else INTERRUPTED


def _write_table(target: Target, table: list[dict[str, Any]], report: Report) -> None:
    """Library kernels as the neutral table of predict, validate and calibrate."""
    if not table:
        return
    import pandas as pd

    path = target.json.with_suffix(".kernels.csv")
    write_atomic(path, pd.DataFrame(table).to_csv(index=False))
    report(f"wrote {path}")


def _nothing() -> int:
    raise InputError("nothing could be measured on this GPU")


def _pass(
    request: dict[str, Any],
    writer: Writer,
    raw: dict[str, list[Record]],
    table: list[dict[str, Any]],
    report: Report,
) -> None:
    """One fresh process; its records join those of the earlier ones in ``raw``."""
    for row in _worker(request):
        if "report" in row:
            report(row["report"])
            writer.notes.append(row["report"])
        elif "kernel_row" in row:
            table.append(row["kernel_row"])
        else:
            record = Record.model_validate(row)
            raw.setdefault(record.id, []).append(record)
            report(describe(record))
            writer.keep([cuda_run.merged(records) for records in raw.values()])
