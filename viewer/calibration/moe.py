"""Fused mixture-of-experts layer on one rank: permute, grouped gate/up GEMM, activation, down GEMM, combine.

Notation: T tokens, k = top_k, E experts, El = E/ep on this rank, h hidden, f intermediate, SM cores, bw
bytes/s, peak FLOP/s of the activation's math type, nm matrices an expert (3, gated; see :func:`matrices`).

    load_e  tokens of local expert e: balanced T k/E each; ``power_law_a``: quantiles of the density x^-a on
            [1, 0.8 T], scaled to T k in all, at most T, times ``skew`` on a rank of several
    rows = sum load_e (at least 1);  hit = experts with a token;  W = hit nm h f weight_bytes
    BM' = clip(2^ceil(log2(rows/hit)), 16, BM);  tiles = sum ceil(load_e/BM')
    comp = 2 nm h f rows/peak;  pad = 2 nm h f (tiles BM' - rows)/peak
    two grouped GEMMs of c = tiles ceil(N/BN) CTAs (N, K) = (f (nm-1), h), (h, f):
        wave = sum ceil(c/SM) 2 BM' BN K SM/peak;  lat = sum ceil(c/SM) K/4096

    T = t0 + w W/bw + exc max(W/bw - tau comp, 0) + comp' + pad + wave + lat + kh 4 rows h/bw + kf 6 rows f/bw
      + token T/1e4 + pair T k/1e5 + expert E/100 + hit hit/100 + local El/100 + most load_max h f/peak'
      + thr comp clip(ln(comp/500us)/ln 40) + other 2 nm h f (T k - rows)/peak    (non-local rows too)

Each term with its own constant. ``other``: SGLang's Triton kernel with expert parallelism costs the same as
without it at large T, as if non-local rows were computed too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from viewer.calibration import additive, additive_defaults
from viewer.calibration.additive import Additive, Structure, Terms
from viewer.calibration.attention_common import bytes_of, library_tag, log2
from viewer.calibration.base import Constants, Device, FloatArray, Table, TextArray, Work

OPS: tuple[str, ...] = ("moe",)
REQUIRED: tuple[str, ...] = ("tokens", "hidden", "intermediate", "top_k", "experts", "ep")
DEFAULTS: Mapping[str, float | str] = {
    "act_format": "bf16",
    "weight_format": "",
    "library": "",
    "distribution": "balanced",
    "ep": 1.0,
    "launch": "graph",
}
KEY_COLUMNS: tuple[str, ...] = ("act_format", "weight_format", "library", "distribution", "launch")
FAMILY_DEFAULTS: Mapping[str, Constants] = additive_defaults.MOE
GROUP: tuple[str, ...] = ("hidden", "intermediate", "experts")

_BITS: Mapping[str, float] = {
    "int4": 4.125,
    "int8": 8.0,
    "mxfp4": 4.25,
    "nvfp4": 4.5,
    "fp8_e4m3_block": 8.002,
}
"""Bits a weight value with its scales: int4_g128 4 + 16/128; mxfp4 4 + 8/32; nvfp4 4 + 8/16; fp8 blocks
of 128 x 128 one FP32 scale."""


def weight_bytes(name: str) -> float:
    """Stored bytes of one weight value with its scales."""
    for prefix, bits in sorted(_BITS.items(), key=lambda item: -len(item[0])):
        if name.startswith(prefix):
            return bits / 8
    return bytes_of(name)


def math_type(table: Table) -> str:
    """Type that the products run in: the activation's (weight-only formats are converted up)."""
    act = str(table["act_format"])
    return "fp8" if act.startswith(("fp8", "mxfp8")) else "int8" if act.startswith("int8") else "bf16"


def matrices(table: Table) -> FloatArray:
    """Matrices an expert: gate, up and down; 2 where top_k is 22 (the one public model of that top_k,
    with 512 experts, has ungated experts; the tables do not say so, the times do)."""
    return np.where(np.asarray(table["top_k"], dtype=float) == 22, 2.0, 3.0)


def _exponent(distribution: str) -> float:
    """Exponent of ``power_law_1.2``; 0 for a balanced router."""
    return float(distribution.rpartition("_")[2]) if distribution.startswith("power_law") else 0.0


def _power_law(tokens: float, top_k: float, experts: float, exponent: float) -> FloatArray:
    """Loads of all experts, descending: quantiles of the density x^-a on [1, 0.8 T] (few tokens: [0.01, 2]),
    scaled to T k in all, at most T."""
    u = (np.arange(experts) + 0.5) / experts
    low, top = (1.0, max(0.8 * tokens, 1.01)) if tokens * top_k > experts else (0.01, 2.0)
    power = 1.0 - exponent
    draws = (low**power + u * (top**power - low**power)) ** (1.0 / power)
    loads = np.minimum(draws / draws.sum() * tokens * top_k, tokens)
    return np.asarray(np.sort(loads)[::-1])


def _routed(
    table: Table, tile_m: float, skew: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """(rows, experts hit, tile height, tiles, largest load) of the rank, one value a row of the table."""
    tokens, top_k, experts, ep = (
        np.asarray(table[c], dtype=float) for c in ("tokens", "top_k", "experts", "ep")
    )
    local = experts / ep
    exponent = _exponent(str(table.get("distribution", "balanced")))
    if not exponent:
        rows = np.maximum(tokens * top_k / ep, 1.0)
        hit = np.minimum(local, rows)
        height = np.clip(2.0 ** np.ceil(log2(rows / hit)), 16, tile_m)
        return rows, hit, height, hit * np.ceil(rows / hit / height), rows / hit
    keys = np.stack([tokens, top_k, experts, ep], axis=1)
    unique, inverse = np.unique(keys, axis=0, return_inverse=True)
    out = np.array([_skewed(tuple(map(float, key)), exponent, tile_m, skew) for key in unique])
    rows, hit, height, tiles, most = out[inverse.ravel()].T
    return rows, hit, height, tiles, most


def _skewed(
    shape: tuple[float, ...], exponent: float, tile_m: float, skew: float
) -> tuple[float, float, float, float, float]:
    """The five numbers of :func:`_routed` for one power-law shape.

    The timed rank of several is the fullest: it holds the ``skew`` largest experts, and an even sample of
    the others (the load of a heavy-tailed group is that of its largest members).
    """
    tokens, top_k, experts, ep = shape
    loads = _power_law(tokens, top_k, experts, exponent)
    local = max(1, int(experts / ep))
    large = min(int(skew), local) if ep > 1 else 0
    mine = np.concatenate([loads[:large], loads[large :: int(ep)][: local - large]])
    whole = np.round(mine)
    hit = max(1.0, float((whole >= 1).sum()))
    rows = max(1.0, float(mine.sum()))
    height = float(np.clip(2.0 ** np.ceil(np.log2(max(rows / hit, 1e-9))), 16, tile_m))
    return rows, hit, height, max(1.0, float(np.ceil(whole / height).sum())), float(mine.max())


def work(table: Table, device: Device) -> Work:
    """FLOPs 2 nm h f per routed row; bytes: weights of the experts hit, and each row in and out once."""
    tokens, hidden, inner = (np.asarray(table[c], dtype=float) for c in ("tokens", "hidden", "intermediate"))
    top_k, ep = np.asarray(table["top_k"], dtype=float), np.asarray(table["ep"], dtype=float)
    experts = np.asarray(table["experts"], dtype=float)
    nm = matrices(table)
    share = tokens * top_k / ep
    hit = _routed(table, 64.0, 0.0)[1] if _exponent(str(table.get("distribution", ""))) else experts / ep
    weight = weight_bytes(str(table["weight_format"]) or str(table["act_format"]))
    return Work(
        flops=2 * nm * hidden * inner * share,
        peak=device.peak(math_type(table)),
        bytes_=np.minimum(hit, np.maximum(share, 1.0)) * nm * hidden * inner * weight + 4 * tokens * hidden,
        warm=np.ones(len(tokens), dtype=bool),
    )


def check(table: Table, device: Device) -> str:
    """ "" when the device has a rate for the products, else the reason."""
    try:
        device.peak(math_type(table))
    except KeyError as error:
        return str(error.args[0])
    return ""


def class_key(table: Table) -> str | TextArray:
    """``act*weight|library|distribution``."""
    weight = str(table["weight_format"]) or str(table["act_format"])
    return f"{table['act_format']}*{weight}|{library_tag(table)}|{table.get('distribution') or 'balanced'}"


def leaf(table: Table, device: Device) -> TextArray:  # noqa: ARG001
    """One leaf a class."""
    return np.full(len(np.asarray(table["tokens"])), "all")


def choices(table: Table, device: Device) -> Mapping[str, Sequence[float]]:  # noqa: ARG001
    """Structures to search: tile height and width, how much of the product hides the weights, rank skew."""
    skewed = bool(_exponent(str(table.get("distribution", "balanced"))))
    return {
        "tile_m": (128, 64, 256),
        "tile_n": (128, 64, 256),
        "tau": (1.0, 0.5, 1.5),
        "skew": (1, 0, 2, 4) if skewed else (0,),
    }


def terms(table: Table, device: Device, structure: Structure) -> Terms:
    """The columns of the module's formula, microseconds (or counts), for one structure."""
    tokens, h, f, top_k, experts, ep = (np.asarray(table[c], dtype=float) for c in REQUIRED)
    nm, cores, tile_n = matrices(table), device.core_count, structure["tile_n"]
    rows, hit, height, tiles, most = _routed(table, structure["tile_m"], structure["skew"])
    flop, dram = 1e6 / device.peak(math_type(table)), 1e6 / device.dram_bandwidth
    expert = nm * h * f
    read = hit * expert * weight_bytes(str(table["weight_format"]) or str(table["act_format"])) * dram
    comp = 2 * expert * rows * flop
    up, down = (np.ceil(tiles * np.ceil(n / tile_n) / cores) for n in (f * (nm - 1), h))
    tile_us = 2 * height * tile_n * cores * flop
    found: dict[str, FloatArray] = {
        "t0": np.ones_like(h),
        "w": read,
        "exc": np.maximum(read - structure["tau"] * comp, 0),
        "comp": comp,
        "pad": 2 * expert * (tiles * height - rows) * flop,
        "wave": (up * h + down * f) * tile_us,
        "lat": (up * h + down * f) / 4096,
        "kh": 4 * rows * h * dram,
        "kf": 6 * rows * f * dram,
        "token": tokens / 1e4,
        "pair": tokens * top_k / 1e5,
        "expert": experts / 100,
        "hit": hit / 100,
        "local": experts / ep / 100,
        "thr": comp * np.clip(np.log(np.maximum(comp, 1) / 500) / np.log(40), 0, 1),
    }
    if _exponent(str(table.get("distribution", "balanced"))):
        found["most"] = 2 * expert * most * flop * cores / 64
    if library_tag(table) == "sglang":
        others = 2 * expert * np.maximum(tokens * top_k - rows, 0) * flop
        found["other"] = (experts / ep >= top_k) * others
        found["other_few"] = (experts / ep < top_k) * others
    return found


MODEL = Additive(terms, choices, leaf)


def fit(table: Table, device: Device, time_s: FloatArray) -> Constants:
    """Constants of one class (formats, library and distribution)."""
    return additive.fit(MODEL, table, device, time_s)


def m2(table: Table, device: Device, constants: Constants) -> FloatArray:
    """Physics estimate of the seconds of each row."""
    return additive.predict(MODEL, table, device, constants)


def coordinates(table: Table, device: Device, constants: Constants, m2_s: FloatArray) -> FloatArray:  # noqa: ARG001
    """(rows, 5): log2 of tokens, tokens an expert, h f, experts, ranks, in correlation lengths."""
    tokens, h, f, top_k, experts, ep = (np.asarray(table[c], dtype=float) for c in REQUIRED)
    per = tokens * top_k / experts
    return np.stack(
        [log2(tokens) / 2, log2(per) / 2, log2(h * f) / 2, log2(experts) / 2, log2(ep) / 3], axis=1
    )
