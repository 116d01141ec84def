"""Work for the arithmetic units: operands on the device, launches, and the numeric check of each kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from viewer.bench import operands
from viewer.bench.build import Build
from viewer.bench.cuda_bench import STAMP_WORDS, Work
from viewer.bench.cuda_driver import Arguments, Gpu, pointer, u32
from viewer.bench.kernels import KERNELS, Kernel
from viewer.bench.operands import Array, Rng

SETS = 16  # different fragment sets over the warps of the grid
POISON = 0x7FC0DEAD
SCALE_ONE = 0x38383838  # four UE4M3 block scales of 1.0
PAIRS, STEPS = 8, 8

# Relative to the largest sum of magnitudes: rounding of the accumulator, a few of its ulp
_LIMITS = {"fp64": 1e-13, "fp32": 2e-4, "fp16": 2e-2, "int32": 0.0}


def work_for(gpu: Gpu, built: Build, rng: Rng) -> Work:
    """The Work of a compiled arithmetic or shared-memory kernel."""
    kernel = KERNELS[built.kernel]
    assert built.module is not None
    assert built.module.cubin is not None
    function = gpu.function(built.module.cubin, kernel.entry)
    blocks = gpu.sm_count * max(1, gpu.blocks_per_sm(function, kernel.threads))
    stamps = gpu.alloc(blocks * STAMP_WORDS * 8)
    make = {"tensor": _tensor, "vector": _vector, "special": _exp, "shared": _shared}[kernel.unit]
    arguments, out, check_of = make(gpu, kernel, blocks, rng, stamps)

    def enqueue(iterations: int) -> None:
        gpu.launch(function, blocks, kernel.threads, arguments(False, iterations))

    def check() -> float:
        gpu.fill(out[0], out[1], POISON)
        gpu.launch(function, blocks, kernel.threads, arguments(True, 1))
        gpu.synchronize()
        return check_of(gpu)

    shared = kernel.unit == "shared"
    return Work(
        id=kernel.id,
        metric=f"{kernel.unit}_bandwidth" if shared else f"{kernel.unit}_rate",
        unit="B/s" if shared else "op/s",
        enqueue=enqueue,
        ops=float(kernel.ops * blocks),
        bytes=float(kernel.ops * blocks) if shared else 0.0,
        counted="by construction: blocks x iterations x instructions x operations each; instructions read in SASS",
        check=check,
        limit=_limit(kernel),
        stamps=lambda: gpu.download(stamps, (blocks, STAMP_WORDS), np.uint64),
        build=built,
        facts={
            "dtype": kernel.dtype or None,
            "accumulate": kernel.accumulate or None,
            "structure": "sparse" if kernel.sparse else "dense",
            "instruction": built.instruction,
            "launch": {"blocks": blocks, "threads": kernel.threads},
        },
    )


def _limit(kernel: Kernel) -> float:
    if kernel.unit == "special":
        return 0.05  # eight steps of an expanding map
    if kernel.unit == "vector":
        return {"fp64": 1e-12, "fp32": 1e-5, "fp16": 1e-2, "bf16": 0.1}[kernel.dtype]
    return _LIMITS.get(kernel.accumulate, 0.0)


Made = tuple[Callable[[bool, int], Arguments], tuple[int, int], Callable[[Gpu], float]]


def relative_error(got: Array, want: Array, scale: float) -> float:
    """max |got - want| / scale; infinity when something is not a number."""
    error = float(np.abs(got.astype(np.float64) - want).max()) / scale
    return error if np.isfinite(error) else float("inf")


def _accumulators(kernel: Kernel, raw: Array) -> Array:
    """(threads, words) uint32 or uint64 -> values of the accumulator type."""
    kinds: dict[str, Any] = {"fp64": np.float64, "fp32": np.float32, "fp16": np.float16, "int32": np.int32}
    return np.ascontiguousarray(raw).view(kinds[kernel.accumulate])


def _tensor(gpu: Gpu, kernel: Kernel, blocks: int, rng: Rng, stamps: int) -> Made:
    return (_wgmma if kernel.source == "wgmma.cu" else _mma)(gpu, kernel, blocks, rng, stamps)


def _mma(gpu: Gpu, kernel: Kernel, blocks: int, rng: Rng, stamps: int) -> Made:
    tile = kernel.tile
    assert tile is not None
    chains, shape = kernel.count // 2, (tile.m, tile.n, tile.k)

    def sets(count: int, swing: bool) -> list[operands.Operands]:
        return [
            operands.mma_operands(rng, kernel.dtype, shape, chains, sparse=kernel.sparse, swing=swing)
            for _ in range(count)
        ]

    checking = sets(1, False)[0]
    timing = gpu.upload(np.stack([one.data for one in sets(SETS, True)]))
    check_data = gpu.upload(checking.data)
    word = 8 if kernel.accumulate == "fp64" else 4
    per_thread = chains * tile.m * tile.n // 32 * {"fp16": 2}.get(kernel.accumulate, word) // word
    size = blocks * kernel.threads * per_thread * word
    out = gpu.alloc(size)
    fixed = SCALE_ONE if kernel.dtype == "fp4" else operands.FIRST_HALF

    def arguments(check: bool, iterations: int) -> Arguments:
        extra = fixed if check or kernel.dtype == "fp4" else operands.BOTH_HALVES
        data, count = (check_data, 1) if check else (timing, SETS)
        return Arguments(
            pointer(data), u32(count), u32(extra), u32(iterations), pointer(out), pointer(stamps)
        )

    def verify(device: Gpu) -> float:
        raw = device.download(out, (32, per_thread), np.uint64 if word == 8 else np.uint32)
        values = _accumulators(kernel, raw).reshape(32, chains, -1)
        got = np.stack([operands.mma_result(tile.m, values[:, c]) for c in range(chains)])
        return relative_error(got, checking.expected, checking.scale)

    return arguments, (out, size), verify


def _wgmma(gpu: Gpu, kernel: Kernel, blocks: int, rng: Rng, stamps: int) -> Made:
    assert kernel.tile is not None
    slices, rounds = kernel.count // 2, 2

    def made(swing: bool) -> operands.Operands:
        return operands.wgmma_operands(
            rng, kernel.dtype, kernel.tile.k, slices, rounds, sparse=kernel.sparse, swing=swing  # type: ignore[union-attr]
        )  # fmt: skip

    checking = made(False)
    timing, check_data = gpu.upload(made(True).data), gpu.upload(checking.data)
    words = 64 if kernel.accumulate == "fp16" else 128
    size = blocks * kernel.threads * words * 4
    out = gpu.alloc(size)

    def arguments(check: bool, iterations: int) -> Arguments:
        metadata = operands.FIRST_HALF if check else operands.BOTH_HALVES
        data = check_data if check else timing
        return Arguments(pointer(data), u32(metadata), u32(iterations), pointer(out), pointer(stamps))

    def verify(device: Gpu) -> float:
        raw = device.download(out, (2, 128, words), np.uint32)
        got = np.stack([operands.wgmma_result(_accumulators(kernel, raw[w])) for w in range(2)])
        return relative_error(got, checking.expected, checking.scale)

    return arguments, (out, size), verify


# --- vector units -----------------------------------------------------------------------------------------


def rounded(dtype: str, value: Array) -> Array:
    """float64 values rounded to the nearest of a type (ties to even), as float64."""
    if dtype == "fp64":
        return value
    if dtype == "bf16":
        word = value.astype(np.float32).view(np.uint32).astype(np.int64)
        even = (word + 0x7FFF + ((word >> 16) & 1)) & 0xFFFF0000
        return even.astype(np.uint32).view(np.float32).astype(np.float64)
    return value.astype({"fp32": np.float32, "fp16": np.float16}[dtype]).astype(np.float64)


def leapfrog(dtype: str, x: Array, y: Array, s: Array) -> tuple[Array, Array]:
    """One iteration of the vector kernel: STEPS times x += s y, y -= s x, rounded after each."""
    for _ in range(STEPS):
        x = rounded(dtype, x + y * s)
        y = rounded(dtype, y - x * s)
    return x, y


def vector_words(dtype: str, values: Array) -> Array:
    """Values as the kernel's words: two neighbours in a word for 16-bit types."""
    if dtype == "fp64":
        return values.astype(np.float64)
    if dtype == "fp32":
        return values.astype(np.float32)
    if dtype == "fp16":
        half = values.astype(np.float16).view(np.uint16)
    else:
        half = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return np.ascontiguousarray(half).view(np.uint32)


def vector_values(dtype: str, words: Array) -> Array:
    """The inverse of ``vector_words``, as float64."""
    if dtype in ("fp64", "fp32"):
        return words.astype(np.float64)
    half = np.ascontiguousarray(words).view(np.uint16)
    if dtype == "fp16":
        return half.view(np.float16).astype(np.float64)
    return (half.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def _vector(gpu: Gpu, kernel: Kernel, blocks: int, rng: Rng, stamps: int) -> Made:
    lanes = 2 if kernel.dtype in ("fp16", "bf16") else 1
    xy = rounded(kernel.dtype, rng.standard_normal((kernel.threads, 2 * PAIRS, lanes)))
    s = rounded(kernel.dtype, rng.uniform(0.1, 0.6, (kernel.threads, 1, lanes)))
    table = np.concatenate([xy, s], axis=1).reshape(kernel.threads, -1)
    data = gpu.upload(vector_words(kernel.dtype, table))
    word = 8 if kernel.dtype == "fp64" else 4
    size = blocks * kernel.threads * 2 * PAIRS * word
    out = gpu.alloc(size)
    want = np.concatenate(leapfrog(kernel.dtype, xy[:, :PAIRS], xy[:, PAIRS:], s), axis=1)

    def arguments(_: bool, iterations: int) -> Arguments:
        return Arguments(pointer(data), u32(iterations), pointer(out), pointer(stamps))

    def verify(device: Gpu) -> float:
        kinds: dict[str, Any] = {"fp64": np.float64, "fp32": np.float32}
        raw = device.download(out, (kernel.threads, 2 * PAIRS), kinds.get(kernel.dtype, np.uint32))
        got = vector_values(kernel.dtype, raw).reshape(want.shape)
        return relative_error(got, want, float(np.abs(want).max()))

    return arguments, (out, size), verify


def _exp(gpu: Gpu, kernel: Kernel, blocks: int, rng: Rng, stamps: int) -> Made:
    start = rng.uniform(-1, 0.5, (kernel.threads, PAIRS)).astype(np.float32)
    data = gpu.upload(start)
    size = blocks * kernel.threads * PAIRS * 4
    out = gpu.alloc(size)
    want = start.astype(np.float64)
    for _ in range(STEPS):
        want = 2 - 3 * np.exp2(want)

    def arguments(_: bool, iterations: int) -> Arguments:
        return Arguments(pointer(data), u32(iterations), pointer(out), pointer(stamps))

    def verify(device: Gpu) -> float:
        got = device.download(out, start.shape, np.float32)
        return relative_error(got, want, float(np.abs(want).max()))

    return arguments, (out, size), verify


def _shared(gpu: Gpu, kernel: Kernel, blocks: int, rng: Rng, stamps: int) -> Made:
    words = rng.integers(0, 1 << 32, (8, kernel.threads, 4), dtype=np.uint32)
    data = gpu.upload(words)
    size = blocks * kernel.threads * 4
    out = gpu.alloc(size)
    want = np.bitwise_xor.reduce(words, axis=(0, 2))

    def arguments(_: bool, iterations: int) -> Arguments:
        return Arguments(pointer(data), u32(iterations), pointer(out), pointer(stamps))

    def verify(device: Gpu) -> float:
        got = device.download(out, (blocks, kernel.threads), np.uint32)
        return 0.0 if np.array_equal(got, np.broadcast_to(want, got.shape)) else float("inf")

    return arguments, (out, size), verify
