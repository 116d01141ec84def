"""Elementwise kernels of ``rows`` x ``width``: norms, RoPE, gated activations, residual add, embedding.

B = bytes_a_value x rows x width x (operands of the kind): add and silu_mul read two and write one, the
others read one and write one. SM cores, bw bytes/s, m = share of B that misses the L2.
Structure: ``occ`` rows (CTAs) a core at once, ``ramp`` of the L2 misses.

    T = t0 + dram B/bw + miss m B/bw + wave ceil(rows/(SM occ)) + line ceil(rows/(SM occ)) width/1e3
      + row rows/(1e3 SM) + value rows width/(1e6 SM)

The achieved bandwidth therefore depends on the kind, and rises with rows and width; one CTA handles one
row in the usual kernels, so that narrow rows are latency-bound (``wave``) and wide ones stream (``line``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from viewer.calibration import additive, additive_defaults
from viewer.calibration.additive import Additive, Structure, Terms
from viewer.calibration.attention_common import bytes_of, library_tag, log2, miss
from viewer.calibration.base import Constants, Device, FloatArray, Table, TextArray, Work

OPS: tuple[str, ...] = ("elementwise",)
REQUIRED: tuple[str, ...] = ("rows", "width")
DEFAULTS: Mapping[str, float | str] = {"act_format": "bf16", "launch": "graph", "library": "", "l2": "cold"}
KEY_COLUMNS: tuple[str, ...] = ("kind", "act_format", "launch", "library", "l2")
FAMILY_DEFAULTS: Mapping[str, Constants] = additive_defaults.ELEMENTWISE
GROUP: tuple[str, ...] = ("width",)

OPERANDS: Mapping[str, float] = {"add": 3.0, "silu_mul": 3.0}
"""Values moved for each output position; 2 (read one, write one) for the kinds not listed."""
VECTOR_FLOPS: Mapping[str, float] = {
    "rmsnorm": 4.0,
    "layernorm": 7.0,
    "silu_mul": 5.0,
    "gelu": 8.0,
    "add": 1.0,
    "rope": 3.0,
    "softmax": 4.0,
    "embedding": 0.0,
}
"""Vector FLOPs for each value of the output (modelling convention: RMSNorm 4, LayerNorm 7, SwiGLU 5 ...)."""


MANY_WIDTHS = ("silu_mul", "rope", "gelu", "softmax")
"""Kinds whose width varies with the model and the shards. The others run at the model's width: a cost a
row cannot be told from a cost a value by two or three widths, and extrapolates badly (10 to 40 % off)."""


def moved_bytes(table: Table) -> FloatArray:
    """Least bytes of each row of the table: values x operands of the kind x width of the format."""
    rows, width = np.asarray(table["rows"], dtype=float), np.asarray(table["width"], dtype=float)
    operands = OPERANDS.get(str(table["kind"]), 2.0)
    return np.asarray(rows * width * operands * bytes_of(str(table.get("act_format", "bf16"))))


def work(table: Table, device: Device) -> Work:
    """Vector FLOPs of the kind on every value, and the bytes of :func:`moved_bytes`."""
    values = np.asarray(table["rows"], dtype=float) * np.asarray(table["width"], dtype=float)
    peak = device.peak("fp32")
    return Work(
        flops=values * VECTOR_FLOPS.get(str(table["kind"]), 4.0),
        peak=peak,
        bytes_=moved_bytes(table),
        warm=np.ones(len(values), dtype=bool),
    )


def check(table: Table, device: Device) -> str:
    """ "" when the kind is known and the device has a vector rate, else the reason."""
    kind = str(table["kind"])
    if kind not in VECTOR_FLOPS:
        return f"unknown elementwise kind {kind!r} (allowed: {', '.join(sorted(VECTOR_FLOPS))})"
    try:
        device.peak("fp32")
    except KeyError as error:
        return str(error.args[0])
    return ""


def class_key(table: Table) -> str | TextArray:
    """``kind|library|launch``: each kind is a kernel of its own."""
    launch = "in_model" if str(table.get("launch", "")) == "in_model" else "graph"
    return f"{table['kind']}|{library_tag(table)}|{launch}"


def leaf(table: Table, device: Device) -> TextArray:  # noqa: ARG001 - one leaf: the class is the kind
    """One leaf, named by the kind."""
    return np.full(len(np.asarray(table["rows"])), str(table["kind"]))


def choices(table: Table, device: Device) -> Mapping[str, Sequence[float]]:  # noqa: ARG001
    """Structures to search: rows a core at once, and the start of the L2 miss ramp."""
    return {"occ": (8, 1, 2, 4, 16), "ramp": (0.5, 0.2, 0.3, 0.8, 1.0)}


def terms(table: Table, device: Device, structure: Structure) -> Terms:
    """The columns of the module's formula, microseconds (or counts), for one structure."""
    rows, width = np.asarray(table["rows"], dtype=float), np.asarray(table["width"], dtype=float)
    cores, total = device.core_count, moved_bytes(table)
    low = structure["ramp"]
    high = {0.2: 0.6, 0.3: 0.8, 0.5: 1.2, 0.8: 1.2, 1.0: 1.6}[low]
    lost = miss(total, device, low, high)
    waves = np.ceil(rows / (cores * structure["occ"]))
    dram = 1e6 / device.dram_bandwidth
    found: dict[str, FloatArray] = {
        "t0": np.ones_like(rows),
        "dram": total * dram,
        "miss": lost * total * dram,
        "line": waves * width / 1e3,
    }
    if str(table["kind"]) in MANY_WIDTHS:
        found["wave"] = waves
        found["row"] = rows / (1e3 * cores)
    return found


MODEL = Additive(terms, choices, leaf)


def fit(table: Table, device: Device, time_s: FloatArray) -> Constants:
    """Constants of one kind from measurements; rows under 10 us weigh less (clock resolution is 1 us)."""
    weight = np.clip(np.asarray(time_s) / 10e-6, 0.05, 1.0)
    return additive.fit(MODEL, table, device, time_s, weight)


def m2(table: Table, device: Device, constants: Constants) -> FloatArray:
    """Physics estimate of the seconds of each row."""
    return additive.predict(MODEL, table, device, constants)


def coordinates(table: Table, device: Device, constants: Constants, m2_s: FloatArray) -> FloatArray:  # noqa: ARG001
    """(rows, 2): log2 of rows in units of 0.5 and of width in units of 0.4.

    Models have few widths, so that a deviation at one of them says little about another.
    """
    return np.stack([2 * log2(np.asarray(table["rows"])), 2.5 * log2(np.asarray(table["width"]))], axis=1)
