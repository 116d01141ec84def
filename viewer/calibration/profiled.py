"""Kernels known only by their counts (a profile): op ``kernel`` with bytes, FLOPs and a format.

Bound: max(flops / peak, dram_bytes / bandwidth) from the counted work, so a profiled kernel can be put on
the roofline; the estimate is general efficiencies (see gemm.SIMPLE).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from viewer.calibration.base import Constants, Device, FloatArray, Table, TextArray, Work
from viewer.calibration.gemm_formats import storage

OPS: tuple[str, ...] = ("kernel",)
REQUIRED: tuple[str, ...] = ("dram_bytes",)
DEFAULTS: Mapping[str, float | str] = {"flops": 0.0, "act_format": "bf16", "library": ""}
KEY_COLUMNS: tuple[str, ...] = ("act_format", "library")
GROUP: tuple[str, ...] = ("dram_bytes", "flops")
ANCHOR_COLUMNS: tuple[str, ...] = ("dram_bytes", "flops")
FAMILY_DEFAULTS: Mapping[str, Constants] = {"any": {"t0": 3.0, "ec": 0.6, "em": 0.75}}


def check(table: Table, device: Device) -> str:
    """ "" when the device has a rate for the format's type, else the reason."""
    try:
        device.peak(storage(str(table["act_format"])).value_type)
    except (KeyError, ValueError) as error:
        return str(error.args[0])
    return ""


def work(table: Table, device: Device) -> Work:
    """The counted FLOPs and DRAM bytes."""
    peak = device.peak(storage(str(table["act_format"])).value_type)
    return Work(np.asarray(table["flops"], dtype=float), peak, np.asarray(table["dram_bytes"], dtype=float))


def class_key(table: Table) -> str | TextArray:
    """``format|library|kernel``."""
    return f"{table['act_format']}|{str(table['library']) or '-'}|kernel"


def m2(table: Table, device: Device, constants: Constants) -> FloatArray:
    """t0 + max(flops / (peak ec), bytes / (bandwidth em))."""
    w = work(table, device)
    compute_s = np.asarray(w.flops) / (w.peak * float(constants["ec"]))
    memory_s = np.asarray(w.bytes_) / (device.dram_bandwidth * float(constants["em"]))
    return float(constants["t0"]) * 1e-6 + np.maximum(compute_s, memory_s)


def coordinates(table: Table, device: Device, constants: Constants, m2_s: FloatArray) -> FloatArray:
    """(rows, 2): log2 of the bytes, and of FLOPs a byte, in units of 4 and 3 octaves."""
    del device, constants, m2_s
    nbytes = np.asarray(table["dram_bytes"], dtype=float)
    intensity = (np.asarray(table["flops"], dtype=float) + 1) / nbytes
    return np.stack([np.log2(nbytes) / 4, np.log2(intensity) / 3], axis=1)


def fit(table: Table, device: Device, time_s: FloatArray) -> Constants:
    """The three constants by robust least squares. Raises ValueError under 6 rows."""
    from viewer.calibration.scores import fit_m1

    if len(time_s) < 6:
        raise ValueError(f"{len(time_s)} rows are too few for a class of profiled kernels (at least 6)")
    t0, ec, em = fit_m1(work(table, device), device, time_s)
    return {"t0": t0 * 1e6, "ec": ec, "em": em}
