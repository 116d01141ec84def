"""``roofline doctor``: what this machine has, and what each missing part would add."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer

from viewer.cli.common import OUTPUT_OPTIONS, command_with, config_path, console, emit

#: Packages of each optional extra of the distribution.
EXTRAS: dict[str, tuple[str, ...]] = {
    "images": ("kaleido", "matplotlib"),
    "checkpoints": ("gguf", "safetensors", "ml_dtypes"),
    "data": ("pyarrow",),
    "cluster": ("distributed",),
    "cuda": ("cuda-bindings", "nvidia-cuda-nvrtc", "nvidia-ml-py"),
    "bench": ("threadpoolctl",),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was looked for, whether it is there, what was found, what it is for."""

    check: str
    ok: bool
    found: str
    use: str = ""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(command_with(OUTPUT_OPTIONS, doctor_command))


def doctor_command(options: Any = None) -> int:
    """What this machine has: GPU, compilers, browser, BLAS, extras, folders. Nothing missing is an error.

    Example: roofline doctor --json
    """
    checks = run_checks()
    rows = [asdict(check) for check in checks]

    def frame() -> Any:
        import pandas as pd

        return pd.DataFrame(rows)

    emit(options, frame, lambda: {"schema": 1, "checks": rows}, lambda: _table(checks))
    return 0


def run_checks() -> list[Check]:
    """All checks in reading order; none raises, changes a setting or leaves the machine."""
    return [
        *_program(),
        *_processor(),
        *_gpu(),
        *_pictures(),
        *(_extra(name, packages) for name, packages in EXTRAS.items()),
        *_folders(),
    ]


def _table(checks: list[Check]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=False)
    table.add_column("check", no_wrap=True)
    table.add_column("ok", no_wrap=True)
    table.add_column("found", overflow="fold")
    for check in checks:
        text = check.found if check.ok or not check.use else f"{check.found}; {check.use}"
        table.add_row(check.check, "yes" if check.ok else "no", text)
    console().print(table)


def _program() -> list[Check]:
    from hardware_specs import available
    from viewer import __version__
    from viewer.models import catalog_names

    system = f"{platform.system()} {platform.machine()}"
    return [
        Check("roofline", True, f"{__version__}, Python {platform.python_version()}, {system}"),
        Check("catalog", True, f"{len(available())} devices, {len(catalog_names())} models"),
    ]


def _processor() -> list[Check]:
    from viewer.bench.cpu_build import find_cc
    from viewer.bench.host import cpu_model, memory_bytes, usable_cpus
    from viewer.units import format_quantity

    memory = memory_bytes()
    size = f", {format_quantity(memory, 'B')}" if memory else ""
    cc = find_cc()
    return [
        Check("processor", True, f"{cpu_model()}, {len(usable_cpus())} usable CPUs{size}"),
        Check("C compiler", cc is not None, cc or "none", "bench cpu then times NumPy only"),
        _blas(),
    ]


def _blas() -> Check:
    import numpy as np

    from viewer.bench.cpu_blas import blas_info

    np.ones((2, 2)) @ np.ones((2, 2))  # loads the library, so that it can be seen
    found = [lib for lib in blas_info() if lib["user_api"] == "blas"]
    if not found:
        config: Any = np.show_config(mode="dicts")
        name = config.get("Build Dependencies", {}).get("blas", {}).get("name", "unknown")
        return Check("BLAS", True, f"{name} (pip install 'roofline[bench]' shows version and kernels)")
    lib = found[0]
    text = (
        f"{lib['internal_api']} {lib['version']}, {lib['architecture']} kernels, {lib['num_threads']} threads"
    )
    forced = os.environ.get("OPENBLAS_CORETYPE")
    if forced:
        text += f"; OPENBLAS_CORETYPE={forced} is set and may slow matrix products down"
    return Check("BLAS", True, text)


def _gpu() -> list[Check]:
    from viewer.bench.build import find_compiler

    checks = [_device()]
    use = "bench cuda needs one of NVRTC and nvcc"
    for kind, label in (("nvrtc", "NVRTC"), ("nvcc", "nvcc")):
        found = find_compiler(kind)
        checks.append(Check(label, found is not None, f"{found.version}" if found else "none", use))
    return checks


def _device() -> Check:
    from viewer.bench.cuda_driver import Gpu, GpuError, find_driver
    from viewer.units import format_quantity

    try:
        gpu = Gpu(find_driver())
        facts = gpu.describe()
    except GpuError as error:
        return Check("NVIDIA GPU", False, str(error), "predictions need none; bench cuda does")
    size = format_quantity(facts["memory_bytes"], "B")
    return Check("NVIDIA GPU", True, f"{facts['name']}, {size}, driver API {facts['driver_version']}")


def _pictures() -> list[Check]:
    from viewer.report.browser import find_browser

    browser = find_browser()
    found = _version([browser, "--version"]) if browser else "none"
    use = "PDF and pictures are then drawn by matplotlib; HTML and Markdown need neither"
    return [Check("Chromium", browser is not None, found, use)]


def _version(command: list[str]) -> str:
    """The first line that a program prints about itself, or its path."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        line = next(iter(done.stdout.strip().splitlines()), "")
    except (OSError, subprocess.SubprocessError):
        line = ""
    return f"{line or 'found'} ({command[0]})"


def _extra(name: str, packages: tuple[str, ...]) -> Check:
    there, missing = [], []
    for package in packages:
        try:
            there.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    text = ", ".join([*there, *(f"no {package}" for package in missing)])
    return Check(f"extra [{name}]", not missing, text, f"pip install 'roofline[{name}]'")


def _folders() -> list[Check]:
    from viewer.bench.storage import cache_dir
    from viewer.calibration.store import SHIPPED

    cache, config = cache_dir(), config_path()
    fitted = len({file.name.split(".")[0] for file in SHIPPED.glob("*.json")}) if SHIPPED.is_dir() else 0
    there = config.is_file()
    return [
        Check("calibrations", fitted > 0, f"{fitted} devices; estimates of others are carried over"),
        Check("cache folder", _writable(cache), str(cache), "built kernels cannot be kept"),
        Check("defaults file", there, str(config) if there else f"none ({config})"),
    ]


def _writable(folder: Path) -> bool:
    """Whether ``folder`` can be written, or made in its nearest existing parent."""
    there = next((p for p in (folder, *folder.parents) if p.exists()), None)
    return there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK)
