"""Work for the memory levels, latency, launches and the host link."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from viewer.bench.build import Build
from viewer.bench.cuda_bench import STAMP_WORDS, Settings, Work
from viewer.bench.cuda_driver import Arguments, Gpu, f32, pointer, u32, u64
from viewer.bench.kernels import KERNELS
from viewer.bench.operands import Array, Rng

THREADS = 512
TILE_BYTES = 8 * THREADS * 16
MIB = 1 << 20
LINE = 128
SCALE = 0.4375


def pattern(first: int, count: int, seed: int) -> Array:
    """(count, 4) words that ``dram_write`` leaves at vectors first ... first + count - 1."""
    with np.errstate(over="ignore"):
        i = np.arange(first, first + count, dtype=np.uint64).astype(np.uint32)
        h = (i ^ np.uint32(seed)) * np.uint32(2654435761)
        return np.stack([h, h ^ np.uint32(0x9E3779B9), ~h, h * np.uint32(2246822519)], axis=1)


def pattern_xor(vectors: int, seed: int) -> int:
    """XOR of all words of the pattern, computed in pieces."""
    total = np.uint32(0)
    for first in range(0, vectors, 1 << 20):
        words = pattern(first, min(1 << 20, vectors - first), seed)
        total ^= np.bitwise_xor.reduce(words, axis=None)
    return int(total)


def dram_bytes(gpu: Gpu) -> int:
    """Bytes per array: max(8 x L2, 1 GiB), whole tiles, three of them within three quarters of the free memory."""
    wanted = max(8 * gpu.facts["l2_bytes"], 1 << 30)
    return max(TILE_BYTES, min(wanted, gpu.free_bytes() // 4) // TILE_BYTES * TILE_BYTES)


class Dram:
    """The three arrays and the four kernels over them."""

    def __init__(self, gpu: Gpu, builds: dict[str, Build], rng: Rng) -> None:
        self.gpu, self.builds, self.seed = gpu, builds, int(rng.integers(1, 1 << 31))
        self.size = dram_bytes(gpu)
        self.vectors = self.size // 16
        self.a, self.b, self.c = (gpu.alloc(self.size) for _ in range(3))
        self.blocks = 0
        self._tile = rng.standard_normal(min(self.size, 64 * MIB) // 4).astype(np.float32)
        for array in (self.b, self.c):
            self._fill(array)

    def _fill(self, address: int) -> None:
        """Random normal floats: one uploaded piece, copied along."""
        piece = self.gpu.upload(self._tile)
        for offset in range(0, self.size, self._tile.nbytes):
            self.gpu.copy(address + offset, piece, min(self._tile.nbytes, self.size - offset))
        self.gpu.synchronize()

    def works(self) -> list[Work]:
        """read, write, copy, triad, and the driver's own copy as a second opinion."""
        found = [
            self._work(name) for name in ("write", "read", "copy", "triad") if f"dram.{name}" in self.builds
        ]
        found.append(
            Work(
                id="dram.memcpy",
                metric="dram_memcpy_bandwidth",
                unit="B/s",
                enqueue=self._driver_copy,
                ops=0.0,
                bytes=2.0 * self.size,
                counted="bytes read plus bytes written by the driver's device-to-device copy",
                check=lambda: 0.0,
                facts={"working_set_bytes": 2 * self.size},
            )
        )
        return found

    def _driver_copy(self, count: int) -> None:
        for _ in range(count):
            self.gpu.copy(self.a, self.b, self.size)

    def _work(self, name: str) -> Work:
        gpu, built = self.gpu, self.builds[f"dram.{name}"]
        assert built.module is not None
        assert built.module.cubin is not None
        function = gpu.function(built.module.cubin, KERNELS[built.kernel].entry)
        blocks = gpu.sm_count * max(1, gpu.blocks_per_sm(function, THREADS))
        stamps, out = gpu.alloc(blocks * STAMP_WORDS * 8), gpu.alloc(blocks * THREADS * 4)
        a, b, c, out_, end = (pointer(x) for x in (self.a, self.b, self.c, out, stamps))
        n = u64(self.vectors)
        choice: dict[str, tuple[Arguments, int, Callable[[int, int], float]]] = {
            "read": (Arguments(a, n, out_, end), 1, self._check_read),
            "write": (Arguments(a, n, u32(self.seed), end), 1, self._check_write),
            "copy": (Arguments(b, a, n, end), 2, self._check_copy),
            "triad": (Arguments(b, c, a, f32(SCALE), n, end), 3, self._check_triad),
        }
        arguments, arrays, check = choice[name]

        def enqueue(count: int) -> None:
            for _ in range(count):
                gpu.launch(function, blocks, THREADS, arguments)

        def verified() -> float:
            if name == "read":  # what is read has to be known first
                self._write_pattern()
            else:
                gpu.fill(self.a, self.size, 0x7FC0DEAD)
            enqueue(1)
            gpu.synchronize()
            return check(out, blocks)

        return Work(
            id=f"dram.{name}",
            metric=f"dram_{name}_bandwidth",
            unit="B/s",
            enqueue=enqueue,
            ops=self.vectors * 8.0 if name == "triad" else 0.0,
            bytes=float(arrays * self.size),
            counted=f"{arrays} arrays, each byte once (the check proves it)",
            check=verified,
            limit=1e-6 if name == "triad" else 0.0,
            build=built,
            facts={"working_set_bytes": arrays * self.size, "launch": {"blocks": blocks, "threads": THREADS}},
        )

    def _write_pattern(self) -> None:
        built = self.builds["dram.write"]
        assert built.module is not None
        assert built.module.cubin is not None
        function = self.gpu.function(built.module.cubin, "dram_write")
        stamps = self.gpu.alloc(self.gpu.sm_count * STAMP_WORDS * 8)
        arguments = Arguments(pointer(self.a), u64(self.vectors), u32(self.seed), pointer(stamps))
        self.gpu.launch(function, self.gpu.sm_count, THREADS, arguments)

    def _check_read(self, out: int, blocks: int) -> float:
        got = int(np.bitwise_xor.reduce(self.gpu.download(out, (blocks * THREADS,), np.uint32)))
        return 0.0 if got == pattern_xor(self.vectors, self.seed) else float("inf")

    def _pieces(self) -> list[int]:
        """First vectors of the pieces that are compared word by word: start, middle, end."""
        count = min(65536, self.vectors)
        return sorted({0, (self.vectors - count) // 2, self.vectors - count})

    def _piece(self, address: int, first: int, dtype: Any) -> Array:
        count = min(65536, self.vectors)
        return self.gpu.download(address + 16 * first, (count, 4), dtype)

    def _check_write(self, *_: int) -> float:
        for first in self._pieces():
            got = self._piece(self.a, first, np.uint32)
            if not np.array_equal(got, pattern(first, len(got), self.seed)):
                return float("inf")
        return 0.0

    def _check_copy(self, *_: int) -> float:
        same = [
            np.array_equal(self._piece(self.a, f, np.uint32), self._piece(self.b, f, np.uint32))
            for f in self._pieces()
        ]
        return 0.0 if all(same) else float("inf")

    def _check_triad(self, *_: int) -> float:
        worst = 0.0
        for first in self._pieces():
            a, b, c = (self._piece(x, first, np.float32).astype(np.float64) for x in (self.a, self.b, self.c))
            error = float(np.abs(a - (b * SCALE + c)).max())
            worst = max(worst, error if np.isfinite(error) else float("inf"))
        return worst


def l2_works(gpu: Gpu, built: Build, settings: Settings, rng: Rng) -> list[Work]:
    """Reads of sets from 1 MiB to 4 x L2 by every block; id l2.read is the set of 0.3 x L2."""
    l2 = max(gpu.facts["l2_bytes"], 4 * MIB)
    sizes = np.geomspace(MIB, 4 * l2, settings.sweep_points)
    named = [("l2.read", 0.3 * l2), *((f"l2.read.{int(s) // 1024}KiB", s) for s in sizes)]
    assert built.module is not None
    assert built.module.cubin is not None
    function = gpu.function(built.module.cubin, "l2_read")
    blocks = gpu.sm_count * max(1, gpu.blocks_per_sm(function, THREADS))
    largest = max(TILE_BYTES, int(max(s for _, s in named)) // TILE_BYTES * TILE_BYTES)
    host = rng.integers(0, 1 << 32, largest // 4, dtype=np.uint32)
    data, out = gpu.upload(host), gpu.alloc(blocks * THREADS * 4)
    stamps = gpu.alloc(blocks * STAMP_WORDS * 8)

    def make(name: str, wanted: float) -> Work:
        size = max(TILE_BYTES, int(wanted) // TILE_BYTES * TILE_BYTES)

        def enqueue(passes: int) -> None:
            arguments = Arguments(pointer(data), u64(size // 16), u32(passes), pointer(out), pointer(stamps))
            gpu.launch(function, blocks, THREADS, arguments)

        def check() -> float:
            enqueue(1)
            gpu.synchronize()
            got = np.bitwise_xor.reduce(gpu.download(out, (blocks, THREADS), np.uint32), axis=1)
            return 0.0 if (got == np.bitwise_xor.reduce(host[: size // 4])).all() else float("inf")

        return Work(
            id=name,
            metric="l2_read_bandwidth",
            unit="B/s",
            enqueue=enqueue,
            ops=0.0,
            bytes=float(blocks * size),
            counted="set x passes x blocks; L1 bypassed (.cg)",
            check=check,
            build=built,
            facts={"working_set_bytes": size, "launch": {"blocks": blocks, "threads": THREADS}},
        )

    return [make(name, wanted) for name, wanted in named]


def chase_cycle(rng: Rng, lines: int, base: int) -> Array:
    """(lines, LINE/8) words: the first word of each line is the address of the next line of one random cycle."""
    order = rng.permutation(lines)
    words = np.zeros((lines, LINE // 8), np.uint64)
    words[order, 0] = base + LINE * np.roll(order, -1).astype(np.uint64)
    return words


def chase_works(gpu: Gpu, builds: dict[str, Build], rng: Rng) -> list[Work]:
    """Latency of L1 (16 KiB), L2 (a quarter of it) and DRAM (8 x L2, at most 1 GiB); cycles per load."""
    l2 = max(gpu.facts["l2_bytes"], 4 * MIB)
    sets = [
        ("l1", "chase.l1", 16384),
        ("l2", "chase.l2", l2 // 4),
        ("dram", "chase.l2", min(8 * l2, 1 << 30)),
    ]
    found = []
    for level, kernel, size in sets:
        built = builds.get(kernel)
        if built is None or built.module is None or built.module.cubin is None:
            continue
        found.append(_chase(gpu, built, level, size // LINE, rng))
    return found


def _chase(gpu: Gpu, built: Build, level: str, lines: int, rng: Rng) -> Work:
    assert built.module is not None
    assert built.module.cubin is not None
    function = gpu.function(built.module.cubin, KERNELS[built.kernel].entry)
    base = gpu.alloc(lines * LINE)
    words = chase_cycle(rng, lines, base)
    gpu.write(base, words)
    out, stamps = gpu.alloc(8), gpu.alloc(STAMP_WORDS * 8)

    def enqueue(iterations: int) -> None:
        arguments = Arguments(u64(base), u32(iterations), pointer(out), pointer(stamps))
        gpu.launch(function, 1, 32, arguments)

    def check() -> float:
        enqueue(4)
        gpu.synchronize()
        at = base
        for _ in range(4 * KERNELS[built.kernel].ops):
            at = int(words[(at - base) // LINE, 0])
        return 0.0 if int(gpu.download(out, (1,), np.uint64)[0]) == at else float("inf")

    return Work(
        id=f"latency.{level}",
        metric=f"{level}_latency",
        unit="s",
        enqueue=enqueue,
        ops=float(KERNELS[built.kernel].ops),
        bytes=0.0,
        counted="seconds per load of a chain of dependent loads; loads per clock beside it",
        check=check,
        stamps=lambda: gpu.download(stamps, (1, STAMP_WORDS), np.uint64),
        build=built,
        facts={"working_set_bytes": lines * LINE, "launch": {"blocks": 1, "threads": 32}},
        distribution="one random cycle over 128-byte lines",
    )


def launch_works(gpu: Gpu, builds: dict[str, Build], nodes: int = 200) -> list[Work]:
    """Seconds per launch: stream, graph node, dependent chain, and the host's time to enqueue one."""
    functions = {}
    for name in ("launch.empty", "launch.chain"):
        built = builds.get(name)
        if built is None or built.module is None or built.module.cubin is None:
            return []
        functions[name] = gpu.function(built.module.cubin, KERNELS[name].entry)
    counter = gpu.upload(np.zeros(1, np.uint32))
    nothing, chained = Arguments(), Arguments(pointer(counter))

    def stream(count: int) -> None:
        for _ in range(count):
            gpu.launch(functions["launch.empty"], 1, 32, nothing)

    def chain(count: int) -> None:
        for _ in range(count):
            gpu.launch(functions["launch.chain"], 1, 32, chained)

    graph = gpu.graph_of(lambda: stream(nodes))

    def graphs(count: int) -> None:
        for _ in range(count):
            gpu.launch_graph(graph)

    def counted() -> float:
        gpu.fill(counter, 4, 0)
        chain(nodes)
        gpu.synchronize()
        return 0.0 if int(gpu.download(counter, (1,), np.uint32)[0]) == nodes else float("inf")

    def work(
        name: str, enqueue: Callable[[int], None], note: str, check: Callable[[], float], each: int = 1
    ) -> Work:
        return Work(
            id=f"launch.{name}", metric=f"launch_{name}_time", unit="s", enqueue=enqueue, ops=float(each), bytes=0.0,
            counted=note, check=check, distribution="none",
        )  # fmt: skip

    return [
        work("stream", stream, "empty kernels back to back on one stream", lambda: 0.0),
        work("graph", graphs, f"graphs of {nodes} empty kernels in a row, per kernel", lambda: 0.0, nodes),
        work("chain", chain, "kernels that each increment one word", counted),
    ]


def host_enqueue_s(gpu: Gpu, built: Build, launches: int = 1000) -> float:
    """Host seconds per launch call, the queue never full."""
    assert built.module is not None
    assert built.module.cubin is not None
    function, nothing = gpu.function(built.module.cubin, "empty"), Arguments()
    gpu.synchronize()
    began = time.perf_counter()
    for _ in range(launches):
        gpu.launch(function, 1, 32, nothing)
    elapsed = time.perf_counter() - began
    gpu.synchronize()
    return elapsed / launches


def link_works(gpu: Gpu, rng: Rng, size: int = 512 * MIB) -> list[Work]:
    """Pinned host memory to the device and back."""
    size = max(MIB, min(size, gpu.free_bytes() // 4))
    host = gpu.alloc_host(size)
    device = gpu.upload(rng.integers(0, 1 << 32, size // 4, dtype=np.uint32))
    gpu.synchronize()
    gpu.call("cuMemcpyDtoH", host, device, size)

    def to_device(count: int) -> None:
        for _ in range(count):
            gpu.call("cuMemcpyHtoDAsync", device, host, size, gpu.stream)

    def to_host(count: int) -> None:
        for _ in range(count):
            gpu.call("cuMemcpyDtoHAsync", host, device, size, gpu.stream)

    def work(name: str, enqueue: Callable[[int], None]) -> Work:
        return Work(
            id=f"link.{name}", metric=f"{name}_bandwidth", unit="B/s", enqueue=enqueue, ops=0.0, bytes=float(size),
            counted="bytes copied, pinned host memory, one direction", check=lambda: 0.0,
            facts={"working_set_bytes": size},
        )  # fmt: skip

    return [work("host_to_device", to_device), work("device_to_host", to_host)]
