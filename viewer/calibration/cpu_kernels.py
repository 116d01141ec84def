"""Times of the kernels of a CPU engine (llama.cpp) from the rates of a processor: physics with few constants.

A product streams its weights and unpacks them on the vector units; which of the two takes longer is named. Constants
compare the engine's kernels with the measured core's, so they belong to the kernels, not to one processor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viewer.calibration.cpu import CpuRates

FloatArray = NDArray[np.float64]
PARTS = ("memory", "vector", "compute", "latency")

# Streaming and unpacking overlap, but not perfectly: one core waits for either now and then.
# t = (t_mem^p + t_vec^p)^(1/p). Q8_0 rows from DRAM on Zen 5: 30.6 GB/s where DRAM gives 34 and the L2 41 (p = 3.2);
# 58.5 where 80 and 77 (p = 2.7).
OVERLAP_POWER = 3.0


@dataclass(frozen=True, slots=True)
class Kernel:
    """How an engine's product compares with the measured core: ``column`` times the one-column rate for a vector,
    ``tile`` times the four-column rate (``of_fma``: times the multiply-add rate) for many columns."""

    column: float
    tile: float
    of_fma: bool = False


# llama.cpp on AVX-512 with VNNI (Zen 5, llama-cpp-python 0.3.36), GEMM time of prompts of 128 against probes of the
# same minute; fitted on the two shapes that tests/engine runs, so that test is no proof on another processor. Q4_0
# and Q4_K: eight rows interleaved at load time (ggml-cpu/repack.cpp); Q8_0, F16, F32: tiles of
# ggml-cpu/llamafile/sgemm.cpp; one column: ggml-cpu/arch/x86/quants.c (Q8_0) and vec.h (F16).
KERNELS = {
    "f16": Kernel(column=1.0, tile=0.70, of_fma=True),
    "f32": Kernel(column=1.0, tile=0.70, of_fma=True),
    "q8_0": Kernel(column=1.0, tile=1.32),
    "q4_0": Kernel(column=1.46, tile=3.3),
    "q4_k": Kernel(column=1.1, tile=1.65),
}
QUANTIZED = frozenset({"q8_0", "q4_0", "q4_k"})

# Activations to 8-bit blocks before every product of quantized weights: absmax, scale, round, pack; cycles a value.
QUANTIZE_CYCLES = 1.0
# One (query head, key) pair of attention, cycles = a + b * (key width + value width): FP16 dot product, exp, FP16
# multiply-add. One query: a head at a time (Zen 5: 13.8 ns at 64 + 64, 18.8 ns at 128 + 128); many: tiles.
# Known miss: keys of 128 values in a cache of 4 or 5 KV heads (a new page every few keys) took 50 to 66 ns a pair
# there, 2.5 times this; 2 KV heads, or heads of 64, did not.
PAIR_DECODE = (36.0, 0.165)
PAIR_PREFILL = (12.0, 0.052)
VALUE_CYCLES = 1.0  # element-wise: cycles a value (RMS norm, SiLU and rotary kernels on FP32)
# A node of the engine's graph: dispatch, and one barrier of all threads (Zen 5: 0.5 us at 1 thread, 1.4 us at 2).
NODE_S = 0.5e-6
BARRIER_S = 0.9e-6


@dataclass(frozen=True)
class Parts:
    """Seconds of an op: in all, and per part of PARTS (memory, vector, compute, latency)."""

    time_s: Any
    parts: tuple[Any, Any, Any, Any]

    def __add__(self, other: Parts) -> Parts:
        pairs = zip(self.parts, other.parts, strict=True)
        memory, vector, compute, latency = (a + b for a, b in pairs)
        return Parts(self.time_s + other.time_s, (memory, vector, compute, latency))

    @property
    def bound(self) -> str:
        """The name of the longest part (of a grid: of most points)."""
        stack = np.stack(np.broadcast_arrays(*(np.asarray(p, dtype=float) for p in self.parts)))
        return PARTS[int(np.bincount(stack.argmax(axis=0).ravel(), minlength=len(PARTS)).argmax())]


NOTHING = Parts(0.0, (0.0, 0.0, 0.0, 0.0))


def layout_of(name: str) -> tuple[str, bool]:
    """(layout of the measured core, whether it is that very format) for a storage format's name."""
    short = name.removeprefix("gguf_")
    if short in KERNELS:
        return short, True
    if short in ("fp16", "bf16"):
        return "f16", True
    if short == "fp32":
        return "f32", True
    if short.startswith(("int8", "fp8", "q8")):
        return "q8_0", False
    if short.startswith(("q4_1", "q5_0", "q5_1", "int4", "iq4_nl", "mxfp4", "nf4")):
        return "q4_0", False
    return "q4_k", False


def combine(*seconds: Any) -> Any:
    """Times that overlap imperfectly: (sum t^p)^(1/p)."""
    total: Any = sum(np.power(s, OVERLAP_POWER) for s in seconds)
    return np.power(total, 1.0 / OVERLAP_POWER)


def nodes(rates: CpuRates, count: float) -> Parts:
    """``count`` nodes of the graph: NODE_S + BARRIER_S * log2(threads) each."""
    seconds = count * (NODE_S + BARRIER_S * float(np.log2(rates.threads)))
    return Parts(seconds, (0.0, 0.0, 0.0, seconds))


def stream_seconds(rates: CpuRates, layout: str, bytes_: Any, ops: Any) -> Any:
    """Seconds to bring ``bytes_`` of weights from DRAM: bytes / bandwidth, or, where a dot product from DRAM was
    measured, what is left of it beside its vector work."""
    memory = bytes_ / rates.dram_bytes_per_s
    if layout not in rates.stream:
        return memory
    beside = np.power(1.0 / rates.stream[layout], OVERLAP_POWER) - np.power(
        1.0 / rates.one[layout], OVERLAP_POWER
    )
    return np.maximum(memory, ops * np.power(max(beside, 0.0), 1.0 / OVERLAP_POWER))


def linear(rates: CpuRates, layout: str, rows: Any, out: float, width: float, weight_bytes: Any) -> Parts:
    """y[rows, out] = x[rows, width] W: weights streamed once, unpacked and multiplied.

    t_mem = bytes / DRAM; t_vec = max(2 out width / one-column rate, 2 rows out width / tile rate); and, for quantized
    weights, QUANTIZE_CYCLES rows width / (clock threads) before it. Bound: memory, vector (unpacking on the vector
    units) or compute (multiply-adds of F16 and F32 tiles).
    """
    kernel = KERNELS[layout]
    ops = 2.0 * out * width
    tile = kernel.tile * (rates.fma_per_s if kernel.of_fma else rates.four[layout])
    column_s = ops / (kernel.column * rates.one[layout])
    tile_s = rows * ops / tile
    memory = stream_seconds(rates, layout, weight_bytes, ops)
    work = np.maximum(column_s, tile_s)
    quantize = 0.0
    if layout in QUANTIZED:
        quantize = rows * width * QUANTIZE_CYCLES / (rates.clock_hz * np.minimum(rates.threads, rows))
    multiplies = (tile_s > column_s) & kernel.of_fma
    vector = np.where(multiplies, 0.0, work) + quantize
    return Parts(
        combine(memory, work) + quantize, (memory, vector, np.where(multiplies, work, 0.0), 0.0)
    ) + nodes(rates, 1)


def attention(rates: CpuRates, pairs: Any, widths: float, kv_bytes: Any, decode: Any) -> Parts:
    """Attention over ``pairs`` (query head, key) pairs; ``widths``: key width + value width.

    t = pairs (a + b widths) / (clock threads) + KV bytes / DRAM: a head's keys are read just before they are used, so
    little of the two overlaps.
    """
    one, many = (a + b * widths for a, b in (PAIR_DECODE, PAIR_PREFILL))
    vector = pairs * np.where(decode, one, many) / (rates.clock_hz * rates.threads)
    memory = kv_bytes / rates.dram_bytes_per_s
    return Parts(vector + memory, (memory, vector, 0.0, 0.0)) + nodes(rates, 1)


def elementwise(rates: CpuRates, values: Any, moved_bytes: Any, count: float = 1.0) -> Parts:
    """Element-wise work on activations that the kernel before has left in the caches, where they fit."""
    fits = np.asarray(moved_bytes) <= rates.cache_bytes
    memory = moved_bytes / np.where(fits, rates.cache_bytes_per_s, rates.dram_bytes_per_s)
    vector = values * VALUE_CYCLES / (rates.clock_hz * rates.threads)
    return Parts(np.maximum(memory, vector), (memory, vector, 0.0, 0.0)) + nodes(rates, count)
