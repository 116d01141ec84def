"""Estimates of one kind of op over arrays, for whole-step predictions.

``estimate("gemm", {"m": tokens, "n": 8192, "k": 8192, "weight_format": "int4_g128"}, hardware)`` takes the
columns of the kernel tables (contract of ``roofline predict``): numbers, arrays that broadcast, or text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardware_specs.schema import Hardware
from viewer.calibration.base import Device, FloatArray, KernelModel, Work, seconds_by_resource
from viewer.calibration.devices import device_of
from viewer.calibration.lookup import shipped_by_hardware
from viewer.calibration.predict import DEFAULT_INTERVAL, estimate_group
from viewer.calibration.registry import model_for
from viewer.calibration.store import Calibration
from viewer.errors import InputError

# Seconds from one launch to the next when a kernel is as short as can be: 64 kB kernels queued in a stream or
# replayed in a graph, RRZE-HPC/gpu-benches gpu-small-kernels (H200 2.52 and 1.29 us, A100 2.73 and 1.37 us);
# eager adds the framework's host path where the host cannot run ahead.
LAUNCH_EXTRA_S = {"graph": 0.0, "stream": 1.3e-6, "eager": 4.0e-6, "in_model": 0.0}


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds with their 5-95 % interval (arrays of the broadcast shape), the label and what it rests on.

    ``label`` is "calibrated", "family" or "uncalibrated"; ``bound_s`` is the time no kernel can beat and
    ``outside`` marks points beyond the measured range (their interval is widened).
    """

    time_s: FloatArray
    low_s: FloatArray
    high_s: FloatArray
    bound_s: FloatArray
    label: str
    note: str
    outside: FloatArray


def columns_of(
    model: KernelModel, op: str, given: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """The model's columns from numbers, arrays and text, flattened to one length; and the broadcast shape.

    Raises InputError for a missing column or a value that is not a positive number.
    """
    needed = (*model.REQUIRED, *(k for k in model.KEY_COLUMNS if k not in model.DEFAULTS and k != "op"))
    missing = [name for name in needed if name not in given]
    if missing:
        raise InputError(
            f"an estimate of {op} needs {', '.join(missing)} (given: {', '.join(sorted(given))})"
        )
    merged: dict[str, Any] = {**model.DEFAULTS, "op": op, **given}
    numeric = {k: np.asarray(v, dtype=float) for k, v in merged.items() if not isinstance(v, str)}
    shape = np.broadcast_shapes(*(v.shape for v in numeric.values()))
    table: dict[str, Any] = {}
    for name, value in merged.items():
        if name in model.KEY_COLUMNS:
            table[name] = value if isinstance(value, str) else _single(name, numeric[name])
        elif isinstance(value, str):
            table[name] = np.full(int(np.prod(shape)), value)
        else:
            table[name] = np.broadcast_to(numeric[name], shape).reshape(-1).astype(float)
    for name in model.REQUIRED:
        if not np.all(np.asarray(table[name]) > 0):
            raise InputError(f"an estimate of {op} needs positive {name}")
    return table, shape


def _single(name: str, values: FloatArray) -> float:
    distinct = np.unique(values)
    if distinct.size != 1:
        raise InputError(
            f"{name} must be one number in one estimate (it selects the kernel), not {distinct.size}"
        )
    return float(distinct[0])


def estimate(
    op_kind: str, table_columns: Mapping[str, Any], hardware: Hardware | Device, launch: str = "graph",
    calibrations: Mapping[str, Calibration] | None = None,
) -> Estimate:  # fmt: skip
    """Estimated seconds of kernels of one kind on a device; never below the bound, an interval with each.

    ``op_kind`` is a value of the column ``op``. ``launch``: "graph" (kernels replayed back to back), "stream",
    "eager" (host overhead added) or "in_model" (classes measured inside real layers). Works for every device:
    without a calibration of its own it takes its family's, else general efficiencies, says so in ``note`` and
    widens the interval. Raises InputError for an unknown op, missing columns or a rate the device lacks.
    """
    if launch not in LAUNCH_EXTRA_S:
        raise InputError(f"unknown launch {launch!r} (allowed: {', '.join(LAUNCH_EXTRA_S)})")
    model = model_for(op_kind)
    device = hardware if isinstance(hardware, Device) else device_of(hardware)
    given = dict(table_columns)
    if "launch" in model.DEFAULTS:
        given.setdefault("launch", "in_model" if launch == "in_model" else "graph")
    table, shape = columns_of(model, op_kind, given)
    problem = model.check(table, device)
    if problem:
        raise InputError(problem)
    book = shipped_by_hardware() if calibrations is None else calibrations
    e = estimate_group(model, op_kind, table, device, book)
    extra = LAUNCH_EXTRA_S[launch]
    return Estimate(
        time_s=(e.time_s + extra).reshape(shape),
        low_s=(e.low_s + extra).reshape(shape),
        high_s=(e.high_s + 2 * extra).reshape(shape),
        bound_s=e.bound_s.reshape(shape),
        label=e.label,
        note=e.basis,
        outside=e.outside.reshape(shape).astype(float),
    )


# Efficiencies of an op without a kernel class (a convolution, a state-space scan, ...): what tuned kernels
# reach of DRAM and of the tensor peak in the median of the calibrated classes, and a launch.
GENERIC = {"t0": 3e-6, "ec": 0.6, "em": 0.75}


def estimate_work(work: Work, hardware: Hardware | Device) -> Estimate:
    """A generic estimate from counts alone: t0 + max over resources of seconds / efficiency (M1 shape)."""
    device = hardware if isinstance(hardware, Device) else device_of(hardware)
    times = seconds_by_resource(work, device)
    bound_s = np.max(np.stack(np.broadcast_arrays(*times.values())), axis=0)
    shares = [
        t / (GENERIC["em"] if name in ("memory", "link") else GENERIC["ec"]) for name, t in times.items()
    ]
    time_s = GENERIC["t0"] + np.max(np.stack(np.broadcast_arrays(*shares)), axis=0)
    low, high = DEFAULT_INTERVAL["uncalibrated"]
    return Estimate(time_s, np.maximum(time_s * np.exp(low), bound_s), time_s * np.exp(high), bound_s,
                    "uncalibrated", "general efficiencies", np.zeros_like(time_s))  # fmt: skip
