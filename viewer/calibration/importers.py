"""Kernel tables from other tools, as rows of the neutral form of ``roofline predict``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from viewer.calibration import import_aiconfigurator, import_profiles
from viewer.calibration.tables import read_frame
from viewer.errors import InputError, unknown

if TYPE_CHECKING:
    import pandas as pd

FORMS = ("auto", "neutral", "aiconfigurator", "ncu", "torch", "bench")
MAX_JSON_BYTES = 512 * 2**20


def read_kernels(
    path: Path, form: str = "auto", hardware: str | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """A neutral kernel table from a file or folder of some tool, and notes on what was left out.

    ``form``: neutral CSV or Parquet; the parquet tables of the ``aiconfigurator-core`` package (a file, its
    folder or its wheel); ``ncu --csv``; a torch-profiler trace (.json, .json.gz); a result of ``roofline
    bench``. "auto" looks at the name and the columns. ``hardware`` names the device where the file does not.
    Raises InputError when the file cannot be read or its form is not known.
    """
    if form not in FORMS:
        raise unknown("form of kernel data", form, FORMS)
    if not path.exists():
        raise InputError(f"{path}: no such file (a CSV or Parquet table of kernels is expected)")
    chosen = guess(path) if form == "auto" else form
    if chosen == "aiconfigurator":
        return import_aiconfigurator.read(path)
    if chosen in ("torch", "bench"):
        reader: Callable[[dict[str, Any], str | None], tuple[pd.DataFrame, list[str]]] = (
            import_profiles.torch_trace if chosen == "torch" else import_profiles.bench_result
        )
        frame, notes = reader(_json(path), hardware)
        return frame, notes
    if chosen == "ncu":
        return import_profiles.nsight_compute(path, hardware)
    return read_frame(path), []


def guess(path: Path) -> str:
    """The form of a file from its name and its first lines; "neutral" unless something else is plain."""
    if path.is_dir() or path.suffix == ".whl" or path.name.endswith("_perf.parquet"):
        return "aiconfigurator"
    if ".json" in path.suffixes:
        return "bench" if _looks_like_bench(_json(path)) else "torch"
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", errors="replace") as lines:
            head = "".join(line for _, line in zip(range(400), lines, strict=False))
        if '"Metric Name"' in head or '"Kernel Name"' in head or head.startswith("==PROF=="):
            return "ncu"
    return "neutral"


def _json(path: Path) -> dict[str, Any]:
    import gzip

    if path.stat().st_size > MAX_JSON_BYTES:
        raise InputError(f"{path}: larger than {MAX_JSON_BYTES // 2**20} MiB")
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as stream:
                raw = stream.read(4 * MAX_JSON_BYTES)
        else:
            raw = path.read_bytes()
        data = json.loads(raw)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not JSON ({str(error)[:120]})") from None
    if isinstance(data, list):
        return {"traceEvents": data}
    if not isinstance(data, dict):
        raise InputError(f"{path}: a trace or a bench result is a JSON object")
    return data


def _looks_like_bench(data: dict[str, Any]) -> bool:
    return "traceEvents" not in data and any(
        name in data for name in ("results", "measurements", "kernels", "rows")
    )
