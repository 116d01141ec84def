"""Decode attention: ``batch`` requests, one new token each, over ``seq`` positions in all.

Notation: H query heads, K KV heads, g = H/K, D head dim, se = min(s, window) positions read, SM cores,
kvB bytes a KV value, bw and l2bw bytes/s. Structure (searched): BN positions a step, ``occ`` CTAs a core,
``gp`` query heads that a CTA packs, ``mode`` of the split over positions, ``ramp`` of L2 misses, ``skip``
(0: positions outside the window are read too).

    u = b K ceil(g/gp) CTAs before the split;  n = ceil(se/BN);  slots = SM occ;  sc = BN D / 8192
    split sp:  none 1 | fill-M clip(floor(slots/u), 1, min(64, max(1, n/M)))
             | eff  1 when waves of u are 0.8 full, else the least k <= 32 with 0.85 full waves, else fill
             | fa2, fa3  1 when u >= 0.8 slots (fa3: or n <= 4), else the least k with 0.85 of the best waves
             | dynamic ceil(n / ceil(1.1 u n/slots)) | xqa, xqa2 (below)
    st = ceil(n/sp);  wv = ceil(u sp / slots);  chain = wv st sc occ;  KV = 2 b se K D kvB
    m = L2 miss of KV + 4 b H D

    T = t0 + chain wv st sc occ + step st sc + wave wv + thr u n sc/SM + uni u sp/SM + batch b/100
      + split [sp > 1] + comb [sp > 1] 8 b H D sp/l2bw + dram m KV/bw + l2 KV/l2bw
      + exc max(m KV/bw - 0.8 wv st sc occ, 0) + log log2(s) + odd [g no power of 2] u/SM
      + rows b H D/(1280 SM)
    FlashAttention-3, D > 64: + tall max(g - 32, 0)/32 u sp/SM           (higher query tile)
    FlashInfer, XQA: + tall [g > 16] u sp/SM + (tall_thr [g > 16] + odd_thr [g no power of 2]) u n sc/SM
    XQA: + [g > 32] (wide b H se D 1e-5/SM + heads b H/(10 SM))           (masked multi-head kernel)

Split rules: flash-attention ``num_splits_heuristic`` of versions 2 and 3 and the per-request split of
``prepare_varlen_num_blocks`` (dynamic); FlashInfer's plan fills the device (fill-M); TensorRT-LLM's
``computeMultiBlockCount`` (xqa: a power of two, at most s/128 and 64, while u sp stays under 8 or 2 SM occ).
``log`` and ``odd`` are empirical.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from viewer.calibration import additive, additive_defaults
from viewer.calibration import attention_common as common
from viewer.calibration.additive import Additive, Mask, Structure, Terms
from viewer.calibration.base import Constants, Device, FloatArray, Table, TextArray, Work

OPS: tuple[str, ...] = ("attention_decode",)
REQUIRED = common.REQUIRED
DEFAULTS = common.DEFAULTS
KEY_COLUMNS = common.KEY_COLUMNS
GROUP = common.GROUP
ANCHOR_COLUMNS: tuple[str, ...] = (*common.REQUIRED, "window")
FAMILY_DEFAULTS: Mapping[str, Constants] = additive_defaults.ATTENTION_DECODE

NONE, FILL, FILL2, FILL4, EFFICIENT, FA3, FA2, DYNAMIC, XQA, XQA2 = range(10)
"""Codes of the split rule (structure ``mode``)."""


def work(table: Table, device: Device) -> Work:
    """FLOPs 4 b H D se; least bytes: the cached K and V that are in the window once, and Q and O."""
    b, s, heads, kv_heads, dim, w = common.columns(table)
    act_bytes, kv_bytes = common.storage(table)
    read = np.minimum(s, w)
    return Work(
        flops=4 * b * heads * dim * read,
        peak=device.peak(common.math_type(table)),
        bytes_=2 * b * read * kv_heads * dim * kv_bytes + 2 * b * heads * dim * act_bytes,
        warm=np.full(len(s), str(table.get("l2", "warm")) == "warm"),
        exps=b * heads * read,
    )


def check(table: Table, device: Device) -> str:
    """ "" when the device has a rate for the products, else the reason."""
    try:
        device.peak(common.math_type(table))
    except KeyError as error:
        return str(error.args[0])
    return ""


def class_key(table: Table) -> str | TextArray:
    """``formats|library|all``: head dims, windows and group sizes are leaves inside the constants."""
    return f"{common.format_tag(table)}|{common.library_tag(table)}|all"


def leaf(table: Table, device: Device) -> TextArray:
    """``gqa/128``: kernels differ by group size (FlashInfer, XQA), window and head dim."""
    given = common.window_of(table)
    dim = np.asarray(table["head_dim"], dtype=float) + np.zeros_like(given)
    g = np.asarray(table["n_heads"], dtype=float) / np.asarray(table["n_kv_heads"], dtype=float)
    small = (given > 0) & (given <= common.SMALL_WINDOW)
    kernel = common.kernel(table, device)
    if kernel == "xqa":
        kind = np.where(g == 1, 1, np.where(g > 32, 3, 2))
    elif kernel == "fa2":
        small = given > 0
        kind = np.where(small, 5, np.where(g == 1, 1, 0))
    elif kernel == "flashinfer":
        kind = np.where(g == 1, 1, np.where(g < 4, 4, 2))
    else:
        kind = np.where(dim > 256, 6, np.where(small, 5, 0))
    return common.leaf_names(("full", "one", "gqa", "big", "few", "window", "wide"), kind, dim, small)


def choices(table: Table, device: Device) -> Mapping[str, Sequence[float]]:
    """Structures to search: split rule, step, occupancy, heads packed, L2 ramp, skipping by a window."""
    windowed = bool(np.any(np.asarray(table.get("window", 0.0), dtype=float) > 0))
    kernel = common.kernel(table, device)
    modes: dict[str, tuple[int, ...]] = {
        "fa3": (FA3, DYNAMIC, NONE),
        "fa2": (FA2, FILL2, NONE),
        "flashinfer": (FILL2, DYNAMIC, FILL4, FILL),
        "xqa": (XQA, XQA2, NONE, FILL2, DYNAMIC),
    }
    return {
        "mode": modes.get(kernel, (FILL2, NONE, FILL, FILL4, EFFICIENT, FA3)),
        "tile_n": (128, 64, 256),
        "occ": (1, 2, 4),
        "gp": (16, 32) if kernel == "xqa" else (64, 16) if kernel == "generic" else (64,),
        "ramp": (0.3, 0.2, 0.5, 0.8, 1.0),
        "skip": (1, 0) if windowed else (1,),
    }


def _packed(kernel: str, g: FloatArray, windowed: Mask, structure: Structure) -> FloatArray:
    """Query heads that one CTA serves: FlashAttention-2 packs none under a window, TensorRT-LLM none for
    g = 1 and g > 32 (masked multi-head kernel); FlashAttention-3 packs up to 128."""
    if kernel == "fa3":
        return np.full_like(g, 128.0)
    most = np.full_like(g, structure["gp"])
    if kernel == "fa2":
        return np.where(windowed, 1.0, most)
    if kernel == "xqa":
        return np.where(g > 32, 1.0, most)
    return most


def _ramp(structure: Structure) -> tuple[float, float]:
    """Ends of the L2 miss ramp from its lower end."""
    low = structure["ramp"]
    return low, {0.2: 0.6, 0.3: 0.8, 0.5: 1.2, 0.8: 1.2, 1.0: 1.6}[low]


def _by_wave_efficiency(units: FloatArray, slots: float, least: float, limit: FloatArray) -> FloatArray:
    """Least split k <= min(32, limit) whose waves u k / slots are ``least`` full; 0 where none is."""
    found = np.zeros_like(units)
    for k in range(32, 0, -1):
        waves = units * k / slots
        found = np.where((waves / np.ceil(waves) >= least) & (k <= limit), k, found)
    return found


def _fa3(units: FloatArray, slots: float, steps: FloatArray) -> FloatArray:
    """flash-attention's num_splits_heuristic: the least split within 0.85 of the best wave efficiency."""
    best = np.zeros_like(units)
    for k in range(1, 129):
        waves = units * k / slots
        best = np.maximum(best, np.where(k <= steps, waves / np.ceil(waves), 0))
    found = np.ones_like(units)
    for k in range(128, 0, -1):
        waves = units * k / slots
        good = (waves / np.ceil(waves) >= 0.85 * best) & (k <= steps)
        found = np.where(good, k, found)
    return np.where((units >= 0.8 * slots) | (steps <= 4), 1.0, found)


def _fa2(units: FloatArray, slots: float, steps: FloatArray) -> FloatArray:
    """FlashAttention-2's num_splits_heuristic: like FA3's, over splits that change the steps of a CTA."""
    best = np.zeros_like(units)
    per = [np.ceil(steps / k) for k in range(1, 65)]

    def efficiency(k: int) -> FloatArray:
        waves = units * k / slots
        usable = (k <= steps) & (k == 1 or per[k - 1] != per[max(k - 2, 0)])
        return np.where(usable, waves / np.ceil(waves), 0.0)

    for k in range(1, 65):
        best = np.maximum(best, efficiency(k))
    found = np.ones_like(units)
    for k in range(64, 0, -1):
        found = np.where(efficiency(k) >= np.maximum(0.85 * best, 1e-9), k, found)
    return np.where(units >= 0.8 * slots, 1.0, found)


def splits(
    units: FloatArray, slots: float, steps: FloatArray, positions: FloatArray, mode: float
) -> FloatArray:
    """Number of splits over positions of each row, by the rule ``mode`` (module docstring)."""
    if mode == NONE:
        return np.ones_like(units)
    if mode in (FA3, FA2):
        out, open_ = np.ones_like(units), units < 0.8 * slots
        rule = _fa3 if mode == FA3 else _fa2
        out[open_] = rule(units[open_], slots, steps[open_])
        return out
    if mode == DYNAMIC:
        each = np.ceil(1.1 * units * steps / slots)
        return np.clip(np.ceil(steps / each), 1.0, 128.0)
    if mode in (XQA, XQA2):
        room = np.minimum((8 if mode == XQA else 2) * slots / units, np.minimum(positions / 128, 64.0))
        return np.asarray(2.0 ** np.floor(np.log2(np.maximum(room, 1.0))))
    least = {FILL2: 2.0, FILL4: 4.0}.get(int(mode), 1.0)
    top = np.minimum(64.0, np.maximum(1.0, np.floor(steps / least)))
    filled = np.clip(np.floor(slots / units), 1.0, top)
    if mode != EFFICIENT:
        return filled
    waves = units / slots
    searched = _by_wave_efficiency(units, slots, 0.85, steps)
    return np.where(waves / np.ceil(waves) >= 0.8, 1.0, np.where(searched > 0, searched, filled))


def terms(table: Table, device: Device, structure: Structure) -> Terms:
    """The columns of the module's formula, microseconds (or counts), for one structure."""
    b, s, heads, kv_heads, dim, w = common.columns(table)
    _, kv_bytes = common.storage(table)
    cores, occ, g = device.core_count, structure["occ"], heads / kv_heads
    read = np.minimum(s, w) if structure["skip"] else s
    kernel, windowed = common.kernel(table, device), np.asarray(table.get("window", 0.0)) + 0 * s > 0
    units = b * kv_heads * np.ceil(g / _packed(kernel, g, windowed, structure))
    steps, slots = np.ceil(read / structure["tile_n"]), cores * occ
    scale = structure["tile_n"] * dim / 8192
    split = splits(units, slots, steps, read, structure["mode"])
    if kernel == "fa2":
        split = np.where((g == 1) | windowed, 1.0, split)
    own_steps, waves = np.ceil(steps / split), np.ceil(units * split / slots)
    chain = waves * own_steps * scale * occ
    kv = 2 * b * read * kv_heads * dim * kv_bytes
    lost = common.miss(kv + 4 * b * heads * dim, device, *_ramp(structure))
    dram, l2 = 1e6 / device.dram_bandwidth, 1e6 / device.l2_bandwidth
    many, big, odd = split > 1, g > 32, np.abs(np.log2(g) % 1) > 1e-6
    found: dict[str, FloatArray] = {
        "t0": np.ones_like(s),
        "chain": chain,
        "step": own_steps * scale,
        "wave": np.asarray(waves),
        "thr": units * steps * scale / cores,
        "uni": units * split / cores,
        "batch": b / 100,
        "split": np.where(many, 1.0, 0.0),
        "comb": np.where(many, 8 * b * heads * dim * split * l2, 0.0),
        "dram": lost * kv * dram,
        "l2": kv * l2,
        "exc": np.maximum(lost * kv * dram - 0.8 * chain, 0),
        "log": common.log2(s),
        "odd": odd * units / cores,
        "rows": b * heads * dim / (1280 * cores),
    }
    if kernel == "fa3":
        found["tall"] = (dim > 64) * np.maximum(g - 32, 0) / 32 * units * split / cores
    if kernel in ("xqa", "flashinfer"):
        tall = g > 16
        found["tall"] = tall * units * split / cores
        found["tall_thr"] = tall * units * steps * scale / cores
        found["odd_thr"] = odd * units * steps * scale / cores
    if kernel == "xqa":
        found["wide"] = big * b * heads * read * dim * 1e-5 / cores
        found["heads"] = big * b * heads / (10 * cores)
    return found


MODEL = Additive(terms, choices, leaf)


def fit(table: Table, device: Device, time_s: FloatArray) -> Constants:
    """Constants of one class (all head dims, windows and group sizes of a library and format)."""
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
    scaled = [log2(s) / 0.8, log2(b * kv_heads), log2(heads / kv_heads) / 1.6, log2(kv_heads) / 2]
    return np.stack([*scaled, log2(dim), log2(np.where(small, w, 8192))], axis=1)
