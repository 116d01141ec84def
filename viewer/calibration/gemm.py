"""GEMM as a kernel class model: work, bound, physics estimate, and the features of its measured correction."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from viewer.calibration import gemm_fit
from viewer.calibration import gemm_tiles as tiles
from viewer.calibration.base import Constants, Device, FloatArray, Table, TextArray, Work
from viewer.calibration.gemm_deepgemm import deepgemm_tile
from viewer.calibration.gemm_formats import math_type, storage

OPS: tuple[str, ...] = ("gemm",)
REQUIRED: tuple[str, ...] = ("m", "n", "k")
DEFAULTS: Mapping[str, float | str] = {
    "act_format": "bf16",
    "weight_format": "",
    "out_format": "",
    "library": "",
    "includes": "",
    "launch": "graph",
    "l2": "cold",
    "weight_copies": float("nan"),
}
SMOOTHING: Mapping[str, float] = {"ridge": 0.25, "clip": 0.7}
KEY_COLUMNS: tuple[str, ...] = ("act_format", "weight_format", "out_format", "library", "includes", "launch")
GROUP: tuple[str, ...] = ("n", "k")
ANCHOR_COLUMNS: tuple[str, ...] = ("m", "n", "k", "weight_copies")
LEAST_ROWS = 24

# A device without a tile model (not an NVIDIA GPU): launch, and fractions of peak and DRAM that tuned
# libraries commonly reach; wide intervals go with it. Best matmul over its peak, mean of 20 accelerators:
# 0.80 (stas00/ml-engineering MAMF table); STREAM over theoretical on servers 0.6-0.9.
SIMPLE: Constants = {"simple": 1.0, "t0": 5.0, "ec": 0.7, "em": 0.75}
FAMILY_DEFAULTS: Mapping[str, Constants] = {"any": SIMPLE}


def check(table: Table, device: Device) -> str:
    """ "" when the device can run the product, else the reason (an unknown format, a missing peak)."""
    try:
        device.peak(math_type(str(table["act_format"]), tiles.weight_format(table)))
    except (KeyError, ValueError) as error:
        return str(error.args[0])
    return ""


def work(table: Table, device: Device) -> Work:
    """2 m n k FLOPs; bytes of x, W (with its scales) and y once each, x at the width that is multiplied."""
    m, n, k = (np.asarray(table[c], dtype=float) for c in REQUIRED)
    act, weight = storage(str(table["act_format"])), storage(tiles.weight_format(table))
    nbytes = m * k * act.bits / 8 + n * k * weight.bytes_per_value + m * n * tiles.out_width(table)
    return Work(
        flops=2 * m * n * k,
        peak=device.peak(math_type(act.name, weight.name)),
        bytes_=nbytes,
        warm=np.broadcast_to(np.asarray(table.get("l2", "cold")) == "warm", m.shape),
    )


def class_key(table: Table) -> str | TextArray:
    """``act*weight|library|graph`` or ``|in_model`` for calls timed inside a model (cold L2)."""
    launch = "in_model" if str(table["launch"]) == "in_model" else "graph"
    return f"{table['act_format']}*{tiles.weight_format(table)}|{str(table['library']) or '-'}|{launch}"


def anchor_keys(key: str, constants: Constants) -> dict[str, str]:
    """The key columns under which the anchors of a class were measured (a class may stand for another)."""
    formats, library, launch = key.split("|")
    act, _, weight = formats.partition("*")
    return {"act_format": act, "weight_format": weight or act, "library": library, "launch": launch,
            "includes": "act_quant" if "tq" in constants else ""}  # fmt: skip


def _simple(table: Table, device: Device, constants: Constants) -> FloatArray:
    w = work(table, device)
    compute_s = np.asarray(w.flops) / (w.peak * float(constants["ec"]))
    memory_s = np.asarray(w.bytes_) / (device.dram_bandwidth * float(constants["em"]))
    return float(constants["t0"]) * 1e-6 + np.maximum(compute_s, memory_s)


def _numbers(constants: Constants) -> dict[str, float]:
    return {name: float(value) for name, value in constants.items() if not isinstance(value, str)}


def _has_tiles(device: Device, constants: Constants) -> bool:
    return "simple" not in constants and device.core_count > 0 and device.l2_bandwidth > 0


def m2(table: Table, device: Device, constants: Constants) -> FloatArray:
    """Physics estimate (formula: gemm_tiles); a simple roofline with efficiencies where there are no tiles."""
    if not _has_tiles(device, constants):
        return _simple(table, device, {**SIMPLE, **constants})
    plan = tiles.plan_of(table, device)
    return tiles.evaluate(_numbers(constants), tiles.shapes_of(table, device, plan), device, plan)


def m2_and_coordinates(table: Table, device: Device, constants: Constants) -> tuple[FloatArray, FloatArray]:
    """m2() and coordinates() with one search of the menu."""
    if not _has_tiles(device, constants):
        time_s = m2(table, device, constants)
        return time_s, np.zeros((len(time_s), 1))
    c, plan = _numbers(constants), tiles.plan_of(table, device)
    s = tiles.shapes_of(table, device, plan)
    pick = tiles.chosen(c, s, device, plan)
    traffic = tiles.traffic(c, s, device)
    core = tiles.candidate_s(c, s, device, traffic, pick[0], pick[1], pick[2])
    time_s = tiles.finish(c, s, device, plan, core)
    extra = _special(table, device, s)
    return time_s, np.column_stack([_features(c, s, device, traffic, pick, time_s), *extra])


def coordinates(table: Table, device: Device, constants: Constants, m2_s: FloatArray) -> FloatArray:
    """(rows, features): log sizes, compute over memory, M2, tails of three tilings, padding, alignment."""
    del m2_s
    return m2_and_coordinates(table, device, constants)[1]


def _tail(rows: int, columns: int, s: tiles.Shapes, cores: float) -> FloatArray:
    """log2 of how much the last wave of a rows x columns tiling is unfilled (0: full), at most 3."""
    waves = np.ceil(s.m / rows) * np.ceil(s.n / columns) / cores
    return np.minimum(np.log2(np.ceil(waves) / waves), 3.0)


def _padding(rows: int, m: FloatArray) -> FloatArray:
    return np.minimum(np.log2(rows * np.ceil(m / rows) / m), 1.5)


def _special(table: Table, device: Device, s: tiles.Shapes) -> list[FloatArray]:
    """Features of libraries whose tile choice is known: block-FP8 (DeepGEMM) and weight-only plugins.

    DeepGEMM minimises waves first, so that 1 wave of 128 x 192 or 256 x 128 beats 2 waves of smaller tiles;
    such calls were measured up to 2.6 x slower in one framework. Plugins tune at powers of two of m.
    """
    weight = tiles.weight_format(table)
    if "block" in weight and device.family in ("hopper", "blackwell"):
        rows, columns, waves = deepgemm_tile(s.m, s.n, device.core_count)
        large = (waves == 1) & (rows * columns >= 128 * 192)
        return [np.where(large, 1.5, 0.0), np.log2(rows) / 3, np.log2(columns) / 6]
    if storage(weight).bits < storage(str(table["act_format"])).bits:
        return [np.where(np.log2(s.m) % 1 > 0, 1.0, 0.0)]
    return []


def _features(
    c: Mapping[str, float], s: tiles.Shapes, device: Device, traffic: tiles.Traffic, pick: FloatArray,
    time_s: FloatArray,
) -> FloatArray:  # fmt: skip
    cores = device.core_count
    waves = np.ceil(s.padded_m / pick[0]) * np.ceil(s.n / pick[1]) * pick[2] / cores
    quantised = (1 - c["q"]) * np.maximum(waves, 1) + c["q"] * np.ceil(waves)
    depth = 32 * np.ceil(s.k / pick[2] / 32)
    compute_s = quantised * 2 * pick[0] * pick[1] * depth * cores / (s.peak * c["ec"])
    memory_s = traffic.dram_s / np.minimum(1, c["ka"] * waves / quantised) + traffic.l2_s / np.minimum(
        1, waves
    )
    columns = s.n.astype(np.int64)
    return np.stack(
        [
            np.log2(s.m) / 4,
            np.log2(s.n) / 4,
            np.log2(s.k) / 4,
            np.log2(compute_s / memory_s) / 3,
            np.log2(time_s * 1e6) / 4,
            _tail(128, 128, s, cores) / 0.8,
            _tail(128, 256, s, cores) / 0.8,
            _tail(256, 128, s, cores) / 0.8,
            np.log2(waves) / 4,
            _padding(128, s.m) / 0.5,
            _padding(256, s.m) / 0.5,
            np.log2(pick[2]) / 3,
            (columns % 256 != 0) * 0.5,
            (columns % 128 != 0) * 0.5,
            np.log2(np.gcd(columns, 4096).astype(float)) / 6,
        ],
        axis=1,
    )


def share(key: str, device: Device, other_key: str, other: Device) -> float:
    """How much of another class's deviation from physics this class shares (0: nothing).

    16-bit GEMMs of every framework end in the vendor's library, and a framework runs the same kernels on
    sister devices: 0.85 and 0.75 were best on left-out shapes (-0.2 to -0.5 points). Quantised kernels of
    different frameworks share nothing (lending makes them worse); in-model series lend nothing.
    """
    formats, library, launch = key.split("|")
    other_formats, other_library, other_launch = other_key.split("|")
    if (
        formats != other_formats
        or "in_model" in (launch, other_launch)
        or device.architecture != other.architecture
    ):
        return 0.0
    same_library = library.split("-")[0] == other_library.split("-")[0]
    if device.name == other.name:
        return 0.85 if same_library or formats in ("bf16*bf16", "fp16*fp16") else 0.0
    return 0.75 if same_library else 0.0


def fit(table: Table, device: Device, time_s: FloatArray) -> Constants:
    """Constants of one class from its measurements. Raises ValueError under LEAST_ROWS rows."""
    if len(time_s) < LEAST_ROWS:
        raise ValueError(f"{len(time_s)} rows are too few for a GEMM class (at least {LEAST_ROWS})")
    if device.core_count <= 0 or device.l2_bandwidth <= 0:
        return SIMPLE
    plan = tiles.plan_of(table, device)
    s = tiles.shapes_of(table, device, plan)
    act, weight = storage(str(table["act_format"])), storage(tiles.weight_format(table))
    names = gemm_fit.names_of(plan, act.bits >= 16 and weight.bits >= 16)
    fitted: Constants = gemm_fit.fit_constants(
        s, device, plan, names, time_s, gemm_fit.row_weights(s, device)
    )
    return fitted
