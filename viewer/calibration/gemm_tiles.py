"""Physics of a GEMM y[m,n] = x[m,k] W[k,n]: tiles x waves x split-K, L2 residency, quantize kernels.

Physics estimate (M2), seconds; SM = cores, bw = DRAM bytes/s, l2bw = L2 bytes/s, a candidate is (bm, bn, s):

    T = ceil(m'/bm) ceil(n/bn);  w = T s / SM;  wv = (1-q) max(w,1) + q ceil(w);  ks = 32 ceil(k/s/32)
    main = 2 bm bn ks SM / (peak ec);  feed = (min(bm,m) a_bytes + bn w_bytes) ks SM / (l2bw ls)
    tc = wv (norm_pf(main, feed) + tp + te min(bm,m) bn out_bytes SM / bw)
    h  = 1 / (1 + ((copies W + A + C) / (al L2))^12), 0 in a real model;  B = (W + A)(1 - h) + C
    tm = B / (bw min(.97, em (B/1e8)^g) min(1, ka w/wv)) + (W + A) h / (l2bw ls min(1, w))
    M2 = t0 + min over the menu of norm_p(tc, tm) + [s > 1] (8 s m n sk / (l2bw ls) + ep)

norm_p(x, y) = (x^p + y^p)^(1/p). Weight-only and INT8 with m <= 16 may run a GEMV kernel instead:
tg + B / (bw eg) (1 + cg (m - 1)). A call that quantizes its activations first adds tq + m max(3 k/(eq bw), tr).
A TensorRT FP8 plugin has a floor fl: (M2^8 + fl^8)^(1/8).

Constants of microseconds: t0 tp ep tg tq fl; tr nanoseconds; the others are plain fractions or exponents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from viewer.calibration.base import Device, FloatArray, Table
from viewer.calibration.gemm_formats import math_type, storage

TILES: tuple[tuple[int, int], ...] = (
    *((16, bn) for bn in (32, 64, 128)),
    *((32, bn) for bn in (64, 128)),
    *((64, bn) for bn in (32, 64, 128, 256)),
    *((128, bn) for bn in (64, 128, 256)),
    *((256, bn) for bn in (64, 128)),
)
DEEP_TILES: tuple[tuple[int, int], ...] = ((64, 64), (64, 128), (64, 256), (128, 128), (128, 256))
SPLITS: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 16)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a kernel class may choose from: the tile menu, split-K, row padding, extra kernels."""

    tiles: tuple[tuple[int, int], ...]
    splits: tuple[int, ...]
    pad_rows: bool = False
    tile_at_power_of_two: bool = False
    gemv: bool = False
    quantize: bool = False
    floor: bool = False


def plan_of(table: Table, device: Device) -> Plan:
    """The menu of a kernel class: which tiles and splits its libraries have on the device's family."""
    act, weight = str(table["act_format"]), weight_format(table)
    library = str(table["library"])
    weight_only = storage(weight).bits < storage(act).bits
    sixteen = storage(act).bits >= 16 and not weight_only
    hopper = device.family in ("hopper", "blackwell")
    block = "block" in weight
    trt_fp8 = library.startswith("trtllm") and act.startswith("fp8") and not block
    w8a8 = act == "int8"
    tiles = TILES
    if hopper and (block or weight_only):
        tiles = DEEP_TILES
    elif hopper and not sixteen:
        tiles = tuple(tile for tile in TILES if tile[0] >= 64)
    return Plan(
        tiles=tiles,
        splits=SPLITS if sixteen or weight_only else (1,),
        pad_rows=hopper and not sixteen and not trt_fp8 and not w8a8,
        tile_at_power_of_two=w8a8,
        gemv=weight_only or w8a8,
        quantize="act_quant" in str(table["includes"]),
        floor=trt_fp8,
    )


@dataclass(frozen=True, slots=True)
class Shapes:
    """Rows of one class with what does not depend on the constants (bytes; arrays of one length)."""

    m: FloatArray
    n: FloatArray
    k: FloatArray
    padded_m: FloatArray
    act_bytes: FloatArray
    weight_bytes: FloatArray
    out_bytes: FloatArray
    resident_bytes: FloatArray
    in_model: NDArray[np.bool_] | bool
    a_width: float
    w_width: float
    o_width: float
    peak: float


def weight_format(table: Table) -> str:
    """Format of the weights; the activations' when the table does not say."""
    return str(table["weight_format"]) or str(table["act_format"])


def out_width(table: Table) -> float:
    """Bytes of one output value; 2 (16-bit) when the table does not say."""
    out = str(table["out_format"])
    return storage(out).bytes_per_value if out else 2.0


def _copies(table: Table, shape: tuple[int, ...]) -> FloatArray:
    """Weight copies cycled through; where a row does not say, 1 when its L2 is warm, else 0 (never re-read)."""
    given = np.broadcast_to(np.asarray(table["weight_copies"], dtype=float), shape)
    warm = np.asarray(table.get("l2", "cold")) == "warm"
    return np.where(np.isnan(given), np.where(warm, 1.0, 0.0), given)


def shapes_of(table: Table, device: Device, plan: Plan) -> Shapes:
    """The constants-independent part of a table."""
    m, n, k = (np.asarray(table[c], dtype=float) for c in ("m", "n", "k"))
    act, weight = str(table["act_format"]), weight_format(table)
    a_width, w_width, o_width = storage(act).bits / 8, storage(weight).bytes_per_value, out_width(table)
    padded = np.where(m > 128, 256 * np.ceil(m / 256), m) if plan.pad_rows else m
    copies = _copies(table, m.shape)
    in_model = (copies <= 0) | (str(table["launch"]) == "in_model")
    act_bytes, weight_bytes, out_bytes = m * k * a_width, n * k * w_width, m * n * o_width
    resident = copies * weight_bytes + act_bytes + out_bytes
    return Shapes(m, n, k, padded, act_bytes, weight_bytes, out_bytes, resident, in_model,
                  a_width, w_width, o_width, device.peak(math_type(act, weight)))  # fmt: skip


def norm(a: FloatArray, b: FloatArray, p: float) -> FloatArray:
    """(a^p + b^p)^(1/p) without overflow; the maximum for p = inf."""
    high, low = np.maximum(a, b), np.minimum(a, b)
    if not np.isfinite(p):
        return high
    ratio = low / np.maximum(high, 1e-300)
    return high * np.exp(np.log1p(ratio**p) / p)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes from DRAM and from the L2, and their rates before the share of the cores is known."""

    dram_s: FloatArray
    l2_s: FloatArray


def traffic(c: Mapping[str, float], s: Shapes, device: Device) -> Traffic:
    """Seconds of DRAM and L2 traffic with all cores busy (see the module docstring)."""
    warm = np.zeros_like(s.m)
    if device.l2_bytes > 0:
        fill = s.resident_bytes / (c["al"] * device.l2_bytes)
        warm = np.where(s.in_model, 0.0, 1.0 / (1.0 + np.minimum(fill, 1e6) ** 12))
    operands = s.weight_bytes + s.act_bytes
    dram = operands * (1 - warm) + s.out_bytes
    rate = device.dram_bandwidth * np.minimum(0.97, c["em"] * (dram / 1e8) ** c["g"])
    return Traffic(dram / rate, operands * warm / (device.l2_bandwidth * c["ls"]))


def candidate_s(
    c: Mapping[str, float], s: Shapes, device: Device, t: Traffic, bm: FloatArray | int, bn: FloatArray | int,
    split: FloatArray | int,
) -> FloatArray:  # fmt: skip
    """Seconds of one candidate (numbers or one per row) without t0."""
    cores = device.core_count
    tiles = np.ceil(s.padded_m / bm) * np.ceil(s.n / bn)
    waves = tiles * split / cores
    quantised = (1 - c["q"]) * np.maximum(waves, 1) + c["q"] * np.ceil(waves)
    depth = 32 * np.ceil(s.k / split / 32)
    rows = np.minimum(bm, s.m)
    main = 2 * bm * bn * depth * cores / (s.peak * c["ec"]) + c.get("dq", 0.0) * bn * depth * 1.32e-10
    feed = (rows * s.a_width + bn * s.w_width) * depth * cores / (device.l2_bandwidth * c["ls"])
    tail = c["tp"] * 1e-6 + c["te"] * rows * bn * s.o_width * cores / device.dram_bandwidth
    compute = quantised * (norm(main, feed, c.get("pf", np.inf)) + tail)
    share = np.minimum(1.0, c["ka"] * waves / quantised)
    memory = t.dram_s / share + t.l2_s / np.minimum(1.0, waves)
    total = norm(compute, memory, c["p"])
    reduce = (
        8 * split * s.m * s.n * c.get("sk", 1.0) / (device.l2_bandwidth * c["ls"]) + c.get("ep", 1.0) * 1e-6
    )
    return total + np.where(np.asarray(split) > 1, reduce, 0.0)


def best_candidate(
    c: Mapping[str, float], s: Shapes, device: Device, plan: Plan
) -> tuple[FloatArray, FloatArray]:
    """(least seconds without t0, its tile rows, tile columns, splits) over the menu."""
    t = traffic(c, s, device)
    best = np.full(s.m.shape, np.inf)
    pick = np.zeros((3, *s.m.shape))
    for bm, bn in plan.tiles:
        tiles = np.ceil(s.padded_m / bm) * np.ceil(s.n / bn)
        for split in plan.splits:
            allowed = (s.k / split >= 128) & (tiles < 2 * device.core_count) if split > 1 else None
            if allowed is not None and not allowed.any():
                continue
            if allowed is None or allowed.all():
                rows: slice | NDArray[np.int64] = slice(None)
            else:
                rows = np.flatnonzero(allowed)
            time = candidate_s(c, take(s, rows), device, Traffic(t.dram_s[rows], t.l2_s[rows]), bm, bn, split)
            better = time < best[rows]
            where = np.arange(best.size)[rows][better]
            best[where] = time[better]
            pick[:, where] = np.array([[bm], [bn], [split]])
    return best, pick


def take(s: Shapes, rows: slice | NDArray[np.int64]) -> Shapes:
    """The shapes of some rows."""
    if isinstance(rows, slice):
        return s
    in_model = s.in_model if isinstance(s.in_model, bool) else s.in_model[rows]
    return Shapes(s.m[rows], s.n[rows], s.k[rows], s.padded_m[rows], s.act_bytes[rows], s.weight_bytes[rows],
                  s.out_bytes[rows], s.resident_bytes[rows], in_model, s.a_width, s.w_width, s.o_width,
                  s.peak)  # fmt: skip


def finish(c: Mapping[str, float], s: Shapes, device: Device, plan: Plan, core_s: FloatArray) -> FloatArray:
    """Add launch, the GEMV alternative, the quantize kernel and the plugin floor to the core's seconds."""
    time = core_s + c["t0"] * 1e-6
    bw = device.dram_bandwidth
    if plan.gemv and "eg" in c:  # a class that stands in may not have the alternative
        t = traffic({**c, "em": c["eg"], "g": 0.0}, s, device)
        gemv = c["tg"] * 1e-6 + t.dram_s * (1 + c["cg"] * (s.m - 1))
        time = np.where(s.m <= 16, np.minimum(time, gemv), time)
    if plan.quantize and "tq" in c:
        time = time + c["tq"] * 1e-6 + s.m * np.maximum(3 * s.k / (c["eq"] * bw), c["tr"] * 1e-9)
    if plan.floor and "fl" in c:
        time = norm(time, np.full_like(time, c["fl"] * 1e-6), 8.0)
    return time


def evaluate(c: Mapping[str, float], s: Shapes, device: Device, plan: Plan) -> FloatArray:
    """M2 seconds of each row."""
    if not plan.tile_at_power_of_two:
        return finish(c, s, device, plan, best_candidate(c, s, device, plan)[0])
    pick = chosen(c, s, device, plan)
    core = candidate_s(c, s, device, traffic(c, s, device), *pick)
    return finish(c, s, device, plan, core)


def chosen(c: Mapping[str, float], s: Shapes, device: Device, plan: Plan) -> FloatArray:
    """(tile rows, tile columns, splits) of each row; W8A8 tactics are chosen at m rounded up to 2^i."""
    if not plan.tile_at_power_of_two:
        return best_candidate(c, s, device, plan)[1]
    up = 2.0 ** np.ceil(np.log2(np.maximum(s.m, 1)))
    act, out = s.act_bytes / s.m * up, s.out_bytes / s.m * up
    resident = s.resident_bytes - s.act_bytes - s.out_bytes + act + out
    rounded = Shapes(up, s.n, s.k, up, act, s.weight_bytes, out, resident, s.in_model,
                     s.a_width, s.w_width, s.o_width, s.peak)  # fmt: skip
    return best_candidate(c, rounded, device, plan)[1]
