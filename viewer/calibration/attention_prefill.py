"""Prefill attention (flash kernels over causal tiles), one call over ``batch`` prompts of ``seq`` tokens.

Notation: H query heads, K KV heads, g = H/K, D head dim, w window (s without one), SM cores, peak FLOP/s of
the math type at the rated clock, bw and l2bw bytes/s. Structure (searched): BM x BN tile, ``pack`` (the g
query heads of a KV head share a tile), ``occ`` CTAs a core, ``shrink`` (small tiles for few query rows),
``span`` (2: tiles outside a window are skipped; 1: they are computed; 3: the window is a chunk, so that a
token sees its own chunk of w tokens only), ``lo``/``hi`` ends of the L2 miss ramp in units of the L2.

    R = s g, G = b K when packed, else R = s, G = b H;  BM' = 16 (R <= 16), min(64, BM) (R <= 64), else BM
    u = G ceil(R / BM') CTAs;  n = ceil(s / BN) tiles across;  q = min(BM' / (pack ? g : 1), s)
    avg = min(n, (n + 1)/2 + max(q/BN - 1, 0)/2) tiles a CTA;  window: full = min(n, ceil((w + q)/BN)) and
          avg = min(n, ((ceil(w/BN) + 1)/2 w + (s - w) full) / s)
    tt = 4 BM' BN D SM / peak;  work = u avg tt / SM;  L = longest CTA's tiles
    rho = u sp / (SM occ);  k = floor(rho/2);  lpt = max((2k + 1 - 2k(k+1)/rho) L tt - work, 0)
    m = L2 miss of 4 b s H D + 4 b s K D + KV write;  QO = 4 b s H D, KV = 4 b s K D bytes

    T = t0 + ms work + long L tt + lpt + cta u/SM + waves ceil(rho) + m (qo QO + kv KV)/bw
      + l2 (QO + 3 KV)/l2bw + reread m u avg BN D 4/l2bw + exc max(m (QO + KV)/bw - 1.5 work, 0)
      + tokh b s H + thr work clip(ln(work/500us)/ln 40) + b batch
      + scan tiles that a window masks (a kernel that walks over them)
      + kvw b s min(K D, 512)/(2048 SM) + kve b s K D/(2048 SM) + kvn b s/(16 SM)
                                (a library whose KV write is a kernel of one CTA a token)
      + spl [sp > 1] + comb [sp > 1] 8 b s H D sp/l2bw
                                (FlashInfer splits positions while u sp <= 2 SM, chunks of 128 at least)

``lpt`` is the tail of a longest-first schedule of triangular tile rows, the closed form of pairing long
and short CTAs. ``thr`` is what long runs lose (read as power; clocks were not observed). Tiles of the
open kernels: flash-attention ``csrc/flash_attn/src/flash_fwd_launch_template.h``, ``hopper/tile_size.h``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from viewer.calibration import additive, additive_defaults
from viewer.calibration import attention_common as common
from viewer.calibration.additive import Additive, Structure, Terms
from viewer.calibration.base import Constants, Device, FloatArray, Table, TextArray, Work

OPS: tuple[str, ...] = ("attention_prefill",)
REQUIRED = common.REQUIRED
DEFAULTS = common.DEFAULTS
KEY_COLUMNS = common.KEY_COLUMNS
GROUP = common.GROUP
ANCHOR_COLUMNS: tuple[str, ...] = (*common.REQUIRED, "window")
FAMILY_DEFAULTS: Mapping[str, Constants] = additive_defaults.ATTENTION_PREFILL


def pairs(s: FloatArray, w: FloatArray) -> FloatArray:
    """Attended (query, key) pairs of one request: w(w+1)/2 + (s - w) w."""
    return w * (w + 1) / 2 + (s - w) * w


def work(table: Table, device: Device) -> Work:
    """FLOPs 4 b H D pairs; least bytes: Q and O at the activation width, K and V at the KV width."""
    b, s, heads, kv_heads, dim, w = common.columns(table)
    act_bytes, kv_bytes = common.storage(table)
    attended = pairs(s, w)
    return Work(
        flops=4 * b * heads * dim * attended,
        peak=device.peak(common.math_type(table)),
        bytes_=2 * b * s * heads * dim * act_bytes + 2 * b * s * kv_heads * dim * kv_bytes,
        warm=np.full(len(s), str(table.get("l2", "warm")) == "warm"),
        exps=b * heads * attended,
    )


def check(table: Table, device: Device) -> str:
    """ "" when the device has a rate for the products, else the reason."""
    try:
        device.peak(common.math_type(table))
    except KeyError as error:
        return str(error.args[0])
    return ""


def class_key(table: Table) -> str | TextArray:
    """``formats|library|all``: head dims and windows are leaves inside the constants."""
    return f"{common.format_tag(table)}|{common.library_tag(table)}|all"


def leaf(table: Table, device: Device) -> TextArray:  # noqa: ARG001 - signature of additive.Additive
    """``full/128``, ``window/64w``, ``wide/512``: small windows and very wide heads run other kernels."""
    given = common.window_of(table)
    dim = np.asarray(table["head_dim"], dtype=float) + np.zeros_like(given)
    small = (given > 0) & (given <= common.SMALL_WINDOW)
    kind = np.where((dim > 256) | (small & (dim >= 256)), 2, np.where(small, 1, 0))
    return common.leaf_names(("full", "window", "wide"), kind, dim, small)


def choices(table: Table, device: Device) -> Mapping[str, Sequence[float]]:  # noqa: ARG001
    """Structures to search: tile, packing, occupancy, L2 ramp, and how a window is run."""
    windowed = bool(np.any(np.asarray(table.get("window", 0.0), dtype=float) > 0))
    return {
        "pack": (1, 0),
        "tile_m": (128, 64, 32),
        "tile_n": (64, 128),
        "shrink": (1, 0),
        "span": (2, 1, 3) if windowed else (2,),
        "occ": (1, 2),
        "split": (0, 1),
        "ramp": (0.5, 0.3, 0.8, 1.0, 1.2),
    }


def _tiles(
    s: FloatArray, w: FloatArray, q: FloatArray, tile_n: float, span: float
) -> tuple[FloatArray, FloatArray]:
    """(average tiles a CTA, tiles of the longest CTA) for full, windowed (2) and chunked (3) spans."""
    across = np.ceil(s / tile_n)

    def triangle(length: FloatArray) -> FloatArray:
        n = np.ceil(length / tile_n)
        step = np.minimum(q, np.maximum(length, 1))
        return np.minimum(n, (n + 1) / 2 + np.maximum(step / tile_n - 1, 0) / 2)

    if span == 1:
        return triangle(s), across
    if span == 3:
        whole = np.floor(s / w)
        rest = s - whole * w
        return (whole * w * triangle(w) + rest * triangle(rest)) / s, np.ceil(w / tile_n)
    full = np.minimum(across, np.ceil((w + q) / tile_n))
    inside = np.minimum(across, ((np.ceil(w / tile_n) + 1) / 2 * w + (s - w) * full) / s)
    return np.where(w < s, inside, triangle(s)), np.where(w < s, full, across)


def terms(table: Table, device: Device, structure: Structure) -> Terms:
    """The columns of the module's formula, microseconds (or counts), for one structure."""
    b, s, heads, kv_heads, dim, w = common.columns(table)
    _, kv_bytes = common.storage(table)
    packed, cores, occ = structure["pack"] > 0, device.core_count, structure["occ"]
    tile_n, g, tokens = structure["tile_n"], heads / kv_heads, b * s
    rows, groups = (s * g, b * kv_heads) if packed else (s, b * heads)
    tile_m = np.full_like(s, structure["tile_m"])
    if structure["shrink"]:
        tile_m = np.where(rows <= 16, 16.0, np.where(rows <= 64, np.minimum(64.0, tile_m), tile_m))
    ctas = groups * np.ceil(rows / tile_m)
    average, longest = _tiles(s, w, np.minimum(tile_m / (g if packed else 1), s), tile_n, structure["span"])
    splits = np.ones_like(s)
    if structure["split"]:
        room = np.floor(np.floor(2 * cores / kv_heads) / (ctas / kv_heads))
        splits = np.clip(room, 1, np.maximum(1, np.ceil(w / 128)))
        longest = np.minimum(longest, np.ceil(w / splits / tile_n))
    tile_us = 4e6 * tile_m * tile_n * dim * cores / device.peak(common.math_type(table))
    work_us = ctas * average * tile_us / cores
    rho = ctas * splits / (cores * occ)
    k = np.floor(rho / 2)
    makespan = np.where(rho <= 1, 1.0, 2 * k + 1 - 2 * k * (k + 1) / np.maximum(rho, 1))
    q_out, keys = 4 * tokens * heads * dim, 4 * tokens * kv_heads * dim
    lost = common.miss(q_out + keys + 2 * tokens * kv_heads * dim * kv_bytes, device, *_ramp(structure))
    dram, l2 = 1e6 / device.dram_bandwidth, 1e6 / device.l2_bandwidth
    skipped = np.maximum(
        _tiles(s, s, np.minimum(tile_m / (g if packed else 1), s), tile_n, 1)[0] - average, 0
    )
    found: dict[str, FloatArray] = {
        "t0": np.ones_like(s),
        "ms": work_us,
        "long": longest * tile_us,
        "lpt": np.maximum(makespan * longest * tile_us - work_us, 0),
        "cta": ctas / cores,
        "waves": np.asarray(np.ceil(rho)),
        "qo": lost * q_out * dram,
        "kv": lost * keys * dram,
        "l2": (q_out + 3 * keys) * l2,
        "reread": lost * ctas * average * tile_n * dim * 4 * l2,
        "exc": np.maximum(lost * (q_out + keys) * dram - 1.5 * work_us, 0),
        "tokh": tokens * heads / 1e5,
        "thr": work_us * np.clip(np.log(np.maximum(work_us, 1) / 500) / np.log(40), 0, 1),
        "b": b / 100,
        "scan": ctas * skipped * tile_us / cores,
    }
    if structure["split"]:
        found["spl"] = np.where(splits > 1, 1.0, 0.0)
        found["comb"] = np.where(splits > 1, 8 * tokens * heads * dim * splits * l2, 0.0)
    return {**found, **_write_terms(table, tokens, kv_heads * dim, cores)}


def _write_terms(table: Table, tokens: FloatArray, values: FloatArray, cores: float) -> Terms:
    """Terms of the KV write (``values`` a token for K) where it is a kernel beside the attention kernel."""
    if "kv_write" in str(table.get("includes", "")):
        return {}
    return {
        "kvw": tokens * np.minimum(values, 512) / (2048 * cores),
        "kve": tokens * values / (2048 * cores),
        "kvn": tokens / (16 * cores),
    }


def _ramp(structure: Structure) -> tuple[float, float]:
    """Ends of the L2 miss ramp from its lower end: (0.3, 0.8), (0.5, 1.2), (0.8, 1.4), (1.2, 2)."""
    low = structure["ramp"]
    return low, {0.3: 0.8, 0.5: 1.2, 0.8: 1.4, 1.2: 2.0}.get(low, 1.6 * low)


MODEL = Additive(terms, choices, leaf)


def fit(table: Table, device: Device, time_s: FloatArray) -> Constants:
    """Constants of one class (all head dims and windows of a library and format)."""
    return additive.fit(MODEL, table, device, time_s)


def m2(table: Table, device: Device, constants: Constants) -> FloatArray:
    """Physics estimate of the seconds of each row."""
    return additive.predict(MODEL, table, device, constants)


def coordinates(
    table: Table,
    device: Device,  # noqa: ARG001 - signature of base.KernelModel
    constants: Constants,  # noqa: ARG001
    m2_s: FloatArray,  # noqa: ARG001
) -> FloatArray:
    """(rows, 6): log2 of s, b K, g, K, head dim and window in their correlation lengths."""
    b, s, heads, kv_heads, dim, w = common.columns(table)
    log2 = common.log2
    small = (w < s) & (w <= common.SMALL_WINDOW)
    scaled = [log2(s) / 0.7, log2(b * kv_heads) / 1.2, log2(heads / kv_heads) / 1.4, log2(kv_heads) / 1.8]
    return np.stack([*scaled, log2(dim), log2(np.where(small, w, 8192))], axis=1)
