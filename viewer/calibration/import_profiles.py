"""Profiles as neutral rows: Nsight Compute ``--csv``, torch-profiler traces, our own bench results.

A profile is a user's own measurement; a row becomes ``gemm``, ``attention_*`` or ``elementwise`` where the
profile knows the shape, else ``kernel`` with the counted bytes and FLOPs where it has counters.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from viewer.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]

_TYPES = {
    "c10::BFloat16": "bf16",
    "c10::Half": "fp16",
    "float": "fp32",
    "c10::Float8_e4m3fn": "fp8_e4m3",
    "c10::Float8_e5m2": "fp8_e5m2",
    "signed char": "int8",
}
_ELEMENTWISE = {
    "aten::add": "add",
    "aten::add_": "add",
    "aten::rms_norm": "rmsnorm",
    "aten::_fused_rms_norm": "rmsnorm",
    "aten::native_layer_norm": "layernorm",
    "aten::_softmax": "softmax",
    "aten::embedding": "embedding",
    "aten::index_select": "embedding",
}
_UNIT = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "s": 1.0, "": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def _frame(rows: Iterable[Row], what: str) -> pd.DataFrame:
    import pandas as pd

    table = pd.DataFrame(list(rows))
    if table.empty:
        raise InputError(f"{what} holds no kernel that can be put on a roofline")
    text = [c for c in ("act_format", "weight_format", "kind", "kv_format", "kernel") if c in table]
    table[text] = table[text].fillna("")
    return table


# --- Nsight Compute -------------------------------------------------------------------------------


def nsight_compute(path: Path, hardware: str | None) -> tuple[pd.DataFrame, list[str]]:
    """Kernels of ``ncu --csv`` (one line a metric, or ``--page raw`` with one line a kernel).

    Used metrics: gpu__time_duration.sum, dram__bytes.sum (or .read and .write), the tensor-path operation
    counters sm__ops_path_tensor_src_TYPE_..., and smsp__sass_thread_inst_executed_op_f{fma,add,mul}.
    """
    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        lines = [line for line in stream if line.startswith('"')]
    if not lines:
        raise InputError(f"{path}: no table of Nsight Compute (run ncu with --csv)")
    table = list(csv.reader(lines))
    head, body = table[0], table[1:]
    kernels = _long(head, body) if "Metric Name" in head else _raw(head, body)
    rows, silent = [], 0
    for name, metrics in kernels:
        row = _counted(name, metrics, hardware)
        if row is None:
            silent += 1
        else:
            rows.append(row)
    notes = [f"{silent} kernels without duration or DRAM counters left out"] if silent else []
    return _frame(rows, str(path)), notes


def _long(head: list[str], body: list[list[str]]) -> list[tuple[str, dict[str, float]]]:
    at = {name: i for i, name in enumerate(head)}
    found: dict[tuple[str, str], dict[str, float]] = {}
    for line in body:
        if len(line) != len(head):
            continue
        key = (line[at.get("ID", 0)], line[at["Kernel Name"]])
        value = _number(line[at["Metric Value"]], line[at["Metric Unit"]])
        if value is not None:
            found.setdefault(key, {})[line[at["Metric Name"]]] = value
    return [(name, metrics) for (_, name), metrics in found.items()]


def _raw(head: list[str], body: list[list[str]]) -> list[tuple[str, dict[str, float]]]:
    units, rows = (body[0], body[1:]) if body and not body[0][0].strip() else ([""] * len(head), body)
    at = head.index("Kernel Name") if "Kernel Name" in head else 0
    out = []
    for line in rows:
        if len(line) == len(head):
            pairs = ((n, _number(v, u)) for n, v, u in zip(head, line, units, strict=True) if "__" in n)
            out.append((line[at], {n: v for n, v in pairs if v is not None}))
    return out


def _number(text: str, unit: str) -> float | None:
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    match = re.fullmatch(r"([numKMGT]?)(s|second|byte|B)(?:/.*)?", unit.strip())
    return value * _UNIT[match[1]] if match else value


def _counted(name: str, metrics: Mapping[str, float], hardware: str | None) -> Row | None:
    time_s = metrics.get("gpu__time_duration.sum", metrics.get("Duration"))
    both = ("dram__bytes_read.sum", "dram__bytes_write.sum")
    nbytes = metrics.get(
        "dram__bytes.sum", sum(metrics[m] for m in both) if all(m in metrics for m in both) else None
    )
    if not time_s or not nbytes:
        return None
    flops, form = 0.0, "bf16"
    for metric, value in metrics.items():
        match = re.match(r"sm__ops_path_tensor_(?:src|op)_([a-z0-9]+)", metric)
        if match and metric.endswith(".sum") and value > flops:
            flops, form = (
                value,
                {"fp8": "fp8_e4m3", "int8": "int8", "fp16": "fp16", "tf32": "tf32"}.get(match[1], "bf16"),
            )
    if flops == 0:
        each = {"ffma": 2, "fadd": 1, "fmul": 1}
        flops = sum(
            n * metrics.get(f"smsp__sass_thread_inst_executed_op_{op}_pred_on.sum", 0.0)
            for op, n in each.items()
        )
        form = "fp32" if flops else form
    row: Row = {"op": "kernel", "kernel": name[:200], "act_format": form, "flops": flops, "dram_bytes": nbytes,
                "time_us": time_s * 1e6, "source": "ncu"}  # fmt: skip
    return {**row, "hardware": hardware} if hardware else row


# --- torch profiler -------------------------------------------------------------------------------


def torch_trace(data: dict[str, Any], hardware: str | None) -> tuple[pd.DataFrame, list[str]]:
    """Ops of a torch-profiler (Chrome) trace recorded with ``record_shapes=True``.

    The kernels that one op launched add up (they share its External id). Known shapes: mm, addmm, bmm, linear,
    flash attention, add, norms, softmax, embedding; the others are counted in a note.
    """
    events = [e for e in data.get("traceEvents", []) if isinstance(e, dict) and e.get("ph") == "X"]
    name = hardware or _device_name(data)
    spent: dict[Any, float] = {}
    for event in events:
        if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset"):
            key = _id(event)
            if key is not None and isinstance(event.get("dur"), int | float):
                spent[key] = spent.get(key, 0.0) + float(event["dur"])
    rows, unknown_us, total_us = [], 0.0, sum(spent.values())
    seen: set[Any] = set()
    for event in events:
        key = _id(event)
        if event.get("cat") != "cpu_op" or key not in spent or key in seen:
            continue
        seen.add(key)
        row = _shaped(str(event.get("name")), event.get("args", {}))
        if row is None:
            unknown_us += spent[key]
            continue
        extra = {"hardware": name} if name else {}
        rows.append(
            {**row, **extra, "time_us": spent[key], "launch": "in_model", "l2": "cold", "source": "torch"}
        )
    notes = [f"{unknown_us:.0f} of {total_us:.0f} us are in ops without a known shape"] if unknown_us else []
    return _frame(rows, "the trace"), notes


def _id(event: Mapping[str, Any]) -> Any:
    args = event.get("args")
    if not isinstance(args, dict):
        return None
    return args.get("External id", args.get("external id"))


def _device_name(data: Mapping[str, Any]) -> str | None:
    devices = data.get("deviceProperties")
    if isinstance(devices, list) and devices and isinstance(devices[0], dict):
        from viewer.calibration.import_aiconfigurator import DEVICES

        name = str(devices[0].get("name", ""))
        return DEVICES.get(name, name) or None
    return None


def _shaped(name: str, args: Mapping[str, Any]) -> Row | None:
    dims = args.get("Input Dims", args.get("Input dims"))
    types = args.get("Input type", [])
    if not isinstance(dims, list) or not dims:
        return None
    shapes = [d for d in dims if isinstance(d, list) and all(isinstance(v, int) and v > 0 for v in d) and d]
    form = next((_TYPES[t] for t in types if isinstance(t, str) and t in _TYPES), "")
    if not shapes or not form:
        return None
    if name in ("aten::mm", "aten::_scaled_mm") and len(shapes) >= 2:
        return _gemm(shapes[0], shapes[1], form)
    if name == "aten::addmm" and len(shapes) >= 3:
        return _gemm(shapes[1], shapes[2], form)
    if "attention" in name and len(shapes) >= 2 and len(shapes[0]) == 4 == len(shapes[1]):
        return _attention(name, shapes[0], shapes[1], form)
    if name in _ELEMENTWISE:
        shape = shapes[0]
        return {"op": "elementwise", "kind": _ELEMENTWISE[name], "rows": prod(shape[:-1]), "width": shape[-1],
                "act_format": form}  # fmt: skip
    return None


def _gemm(left: list[int], right: list[int], form: str) -> Row | None:
    if len(left) != 2 or len(right) != 2 or left[1] != right[0]:
        return None
    return {"op": "gemm", "m": left[0], "k": left[1], "n": right[1], "act_format": form, "weight_format": form,
            "weight_copies": 0}  # fmt: skip


def _attention(name: str, query: list[int], key: list[int], form: str) -> Row:
    """aten's scaled_dot_product kernels take (batch, heads, length, dim); _flash_attention_forward (b, s, h, d)."""
    if "_attention_forward" in name:
        query, key = ([v[0], v[2], v[1], v[3]] for v in (query, key))
    decode = query[2] == 1
    row: Row = {"op": "attention_decode" if decode else "attention_prefill", "batch": query[0], "seq": key[2]}
    return {**row, "n_heads": query[1], "n_kv_heads": key[1], "head_dim": query[3], "window": 0, "act_format": form,
            "kv_format": form}  # fmt: skip


# --- our own bench --------------------------------------------------------------------------------


def bench_result(data: dict[str, Any], hardware: str | None) -> tuple[pd.DataFrame, list[str]]:
    """Rows of a ``roofline bench`` result that are kernels of the neutral form (have ``op`` and a time)."""
    rows, other = [], 0
    name = hardware or data.get("hardware")
    for part in ("kernels", "results", "measurements", "rows"):
        for item in data.get(part) or []:
            if not isinstance(item, dict) or "op" not in item:
                other += 1
                continue
            row = {k: v for k, v in item.items() if isinstance(v, str | int | float)}
            if "time_us" not in row and isinstance(row.get("time_s"), int | float):
                row["time_us"] = 1e6 * float(row.pop("time_s"))
            if "time_us" in row:
                rows.append({**({"hardware": name} if name else {}), "source": "bench", **row})
    notes = [f"{other} results are not kernels of a table"] if other else []
    return _frame(rows, "the bench result"), notes
