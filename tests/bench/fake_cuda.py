"""A stand-in for the CUDA driver API: memory is the host's, kernels are re-written here from their description.

It lets the runner's launches, argument order, data layouts and checks run for real without a GPU. Fragment layouts
are written from the PTX ISA's element formulas (a_i -> row, column), not from the code under test.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np

from viewer.bench.operands import E4M3

SMS = 2
FREE_BYTES = 12 << 20
LAUNCH_S = 0.011


class Status(int):
    """A driver status: an int with a name."""

    name = "CUDA_SUCCESS"


OK = Status(0)


class FailedStatus(Status):
    name = "CUDA_ERROR_ILLEGAL_ADDRESS"


SIGNATURES = {
    "dram_read": "pqpp",
    "dram_write": "pqip",
    "dram_copy": "ppqp",
    "dram_triad": "pppfqp",
    "l2_read": "pqipp",
    "shared_read": "pipp",
    "chase_l1": "qipp",
    "chase_l2": "qipp",
    "empty": "",
    "increment": "p",
}
KINDS = {"p": ctypes.c_uint64, "q": ctypes.c_uint64, "i": ctypes.c_uint32, "f": ctypes.c_float}


def view(address: int, count: int, dtype: Any) -> np.ndarray:
    """Memory at an address as a writable array."""
    size = count * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype=dtype, count=count)


class FakeDriver:
    """Enough of cuda.bindings.driver. ``fail`` names a call that returns an error; ``broken`` kernels do nothing."""

    def __init__(self, cc: tuple[int, int] = (8, 0)) -> None:
        self.cc, self.memory, self.calls, self.fail = cc, {}, [], ""
        self.broken: set[str] = set()
        self.launched: list[str] = []
        self.capturing: list[tuple[Any, ...]] | None = None

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append(name)
            if name == self.fail:
                return (FailedStatus(700),)
            handler = getattr(self, "do_" + name, None)
            found = handler(*arguments) if handler else None
            if found is None:
                return (OK,)
            return (OK, *found) if isinstance(found, tuple) else (OK, found)

        return call

    # --- device ---
    def do_cuDeviceGetCount(self) -> int:  # noqa: N802
        return 1

    def do_cuDeviceGet(self, ordinal: int) -> int:  # noqa: N802
        return ordinal

    def do_cuDevicePrimaryCtxRetain(self, _: Any) -> str:  # noqa: N802
        return "context"

    def do_cuStreamCreate(self, _: int) -> str:  # noqa: N802
        return "stream"

    def do_cuDeviceGetAttribute(self, number: int, _: Any) -> int:  # noqa: N802
        return {75: self.cc[0], 76: self.cc[1], 16: SMS, 38: 1 << 18}.get(int(number), 1)

    def do_cuDeviceGetName(self, *_: Any) -> bytes:  # noqa: N802
        return b"Fake GPU\0\0\0"

    def do_cuDeviceGetUuid(self, _: Any) -> Any:  # noqa: N802
        return SimpleNamespace(bytes=bytes(range(16)))

    def do_cuDriverGetVersion(self) -> int:  # noqa: N802
        return 13000

    def do_cuDeviceTotalMem(self, _: Any) -> int:  # noqa: N802
        return 1 << 30

    def do_cuMemGetInfo(self) -> tuple[int, int]:  # noqa: N802
        return FREE_BYTES, 1 << 30

    # --- memory ---
    def do_cuMemAlloc(self, size: int) -> int:  # noqa: N802
        buffer = ctypes.create_string_buffer(size + 256)
        address = (ctypes.addressof(buffer) + 255) & ~255
        self.memory[address] = buffer
        return address

    do_cuMemAllocHost = do_cuMemAlloc  # noqa: N815

    def do_cuMemFree(self, address: int) -> None:  # noqa: N802
        del self.memory[address]

    do_cuMemFreeHost = do_cuMemFree  # noqa: N815

    def _move(self, to: int, source: int, size: int, *_: Any) -> None:
        ctypes.memmove(to, source, size)

    do_cuMemcpyHtoD = do_cuMemcpyDtoH = do_cuMemcpyDtoDAsync = _move  # noqa: N815
    do_cuMemcpyHtoDAsync = do_cuMemcpyDtoHAsync = _move  # noqa: N815

    def do_cuMemsetD32Async(self, address: int, word: int, count: int, _: Any) -> None:  # noqa: N802
        view(address, count, np.uint32)[:] = word

    # --- code and time ---
    def do_cuModuleLoadData(self, cubin: bytes) -> bytes:  # noqa: N802
        return cubin

    def do_cuModuleGetFunction(self, _: bytes, name: bytes) -> str:  # noqa: N802
        return name.decode()

    def do_cuOccupancyMaxActiveBlocksPerMultiprocessor(self, *_: Any) -> int:  # noqa: N802
        return 1

    def do_cuEventCreate(self, _: int) -> str:  # noqa: N802
        return "event"

    def do_cuEventElapsedTime(self, *_: Any) -> float:  # noqa: N802
        return LAUNCH_S * 1e3

    def do_cuStreamBeginCapture(self, *_: Any) -> None:  # noqa: N802
        self.capturing = []

    def do_cuStreamEndCapture(self, _: Any) -> Any:  # noqa: N802
        graph, self.capturing = self.capturing, None
        return (graph,)

    def do_cuGraphInstantiate(self, graph: Any, _: int) -> Any:  # noqa: N802
        return (graph,)

    def do_cuGraphLaunch(self, graph: Any, _: Any) -> None:  # noqa: N802
        for one in graph:
            self.do_cuLaunchKernel(*one)

    def do_cuLaunchKernel(self, *words: Any) -> None:  # noqa: N802
        if self.capturing is not None:
            self.capturing.append(words)
            return
        name, blocks, threads, address = words[0], words[1], words[4], words[9]
        self.launched.append(name)
        if name in self.broken:
            return
        signature = SIGNATURES.get(name) or {"mma_": "piiipp", "wg_b": "piipp", "vec_": "pipp"}.get(
            name[:4], "piipp"
        )
        signature = SIGNATURES.get(name, signature)
        pointers = view(address, len(signature), np.uint64) if signature else []
        given = [KINDS[c].from_address(int(p)).value for c, p in zip(signature, pointers, strict=True)]
        group = {"mma_": "mma", "vec_": "vec", "chas": "chase"}.get(name[:4], name)
        getattr(self, "run_" + group)(name, blocks, threads, *given)

    # --- kernels ---
    def _stamp(self, blocks: int, stamps: int, clocks: int = 1000) -> None:
        table = view(stamps, blocks * 8, np.uint64).reshape(blocks, 8)
        table[:, 0], table[:, 1] = 100, 100 + clocks
        table[:, 4] = np.arange(blocks) % SMS

    def run_empty(self, *_: Any) -> None:
        return

    def run_increment(self, _n: str, _b: int, _t: int, counter: int) -> None:
        view(counter, 1, np.uint32)[0] += 1

    def run_dram_write(
        self, _n: str, blocks: int, _t: int, dst: int, vectors: int, seed: int, stamps: int
    ) -> None:
        words = view(dst, 4 * vectors, np.uint32).reshape(-1, 4)
        for start in range(0, vectors, 4096):
            i = np.arange(start, min(start + 4096, vectors), dtype=np.int64)
            h = ((i ^ seed) & 0xFFFFFFFF) * 2654435761 % (1 << 32)
            words[i, 0], words[i, 1] = h, h ^ 0x9E3779B9
            words[i, 2], words[i, 3] = h ^ 0xFFFFFFFF, h * 2246822519 % (1 << 32)
        self._stamp(blocks, stamps)

    def run_dram_read(
        self, _n: str, blocks: int, threads: int, src: int, vectors: int, out: int, stamps: int
    ) -> None:
        sums = view(out, blocks * threads, np.uint32)
        sums[:] = 0
        sums[3] = np.bitwise_xor.reduce(view(src, 4 * vectors, np.uint32))
        self._stamp(blocks, stamps)

    def run_dram_copy(
        self, _n: str, blocks: int, _t: int, src: int, dst: int, vectors: int, stamps: int
    ) -> None:
        ctypes.memmove(dst, src, 16 * vectors)
        self._stamp(blocks, stamps)

    def run_dram_triad(
        self, _n: str, blocks: int, _t: int, b: int, c: int, dst: int, scale: float, vectors: int, stamps: int
    ) -> None:
        count = 4 * vectors
        x, y = (view(p, count, np.float32) for p in (b, c))
        view(dst, count, np.float32)[:] = x * np.float32(scale) + y
        self._stamp(blocks, stamps)

    def run_l2_read(
        self, _n: str, blocks: int, threads: int, src: int, vectors: int, passes: int, out: int, stamps: int
    ) -> None:
        sums = view(out, blocks * threads, np.uint32).reshape(blocks, threads)
        sums[:] = 0
        sums[:, 7] = np.bitwise_xor.reduce(view(src, 4 * vectors, np.uint32)) * (passes % 2)
        self._stamp(blocks, stamps)

    def run_shared_read(
        self, _n: str, blocks: int, threads: int, src: int, iterations: int, out: int, stamps: int
    ) -> None:
        words = view(src, 8 * threads * 4, np.uint32).reshape(8, threads, 4)
        value = np.bitwise_xor.reduce(np.bitwise_xor.reduce(words, axis=0), axis=1) * np.uint32(
            iterations % 2
        )
        view(out, blocks * threads, np.uint32).reshape(blocks, threads)[:] = value
        self._stamp(blocks, stamps)

    def run_chase(
        self, _n: str, _b: int, _t: int, start: int, iterations: int, out: int, stamps: int
    ) -> None:
        at = start
        for _ in range(16 * min(iterations, 8)):
            at = int(view(at, 1, np.uint64)[0])
        view(out, 1, np.uint64)[0] = at
        self._stamp(1, stamps)

    def run_vec(
        self, name: str, blocks: int, threads: int, data: int, iterations: int, out: int, stamps: int
    ) -> None:
        if name == "vec_exp":
            x = view(data, threads * 8, np.float32).copy()
            for _ in range(8 * min(iterations, 1)):
                x = (2 - 3 * np.exp2(x.astype(np.float64))).astype(np.float32)
            view(out, blocks * threads * 8, np.float32).reshape(blocks, -1)[:] = x
        else:
            kind = {"vec_f64": np.float64, "vec_f32": np.float32, "vec_f16": np.float16}[name]
            lanes = 2 if kind is np.float16 else 1
            table = view(data, threads * 17 * lanes, kind).reshape(threads, 17, lanes).astype(np.longdouble)
            x, y, s = table[:, :8], table[:, 8:16], table[:, 16:]
            for _ in range(8 * min(iterations, 1)):
                x = (x + y * s).astype(kind).astype(np.longdouble)
                y = (y - x * s).astype(kind).astype(np.longdouble)
            result = np.concatenate([x, y], axis=1).astype(kind).reshape(-1)
            view(out, blocks * result.size, kind).reshape(blocks, -1)[:] = result
        self._stamp(blocks, stamps)

    def run_mma(
        self,
        name: str,
        blocks: int,
        threads: int,
        data: int,
        _s: int,
        extra: int,
        iterations: int,
        *more: int,
    ) -> None:
        out, stamps = more
        if "_sp_" in name and extra != 0x44444444:
            return  # other metadata: timed, never checked
        one = emulate_mma(name, data)
        words = view(out, blocks * threads * one.shape[1], one.dtype).reshape(-1, 32, one.shape[1])
        words[:] = one if iterations == 1 else 0
        self._stamp(blocks, stamps)


def emulate_mma(name: str, data: int) -> np.ndarray:
    """(32 lanes, accumulator words) after one iteration, for the 16-bit, 8-bit and 2:4 16-bit kernels."""
    sparse, eight = "_sp_" in name, name.endswith(("_s8", "_e4m3"))
    per = 4 if eight else 2  # elements in a register
    nb, chains = (4 if sparse else 2), 8
    words = view(data, 32 * (8 + chains * nb), np.uint32).reshape(32, -1)
    k_stored, k = 8 * per, 8 * per * (2 if sparse else 1)
    a = [np.zeros((16, k)), np.zeros((16, k))]
    for which in (0, 1):
        for lane in range(32):
            group, thread = lane // 4, lane % 4
            for i in range(4 * per):  # element a_i: PTX ISA, "matrix fragments for mma.m16n8k16 / k32"
                row = group if (i // per) % 2 == 0 else group + 8
                column = thread * per + i % per + (k_stored // 2 if i >= 2 * per else 0)
                if sparse:  # kept element number c of the row sits at 4 (c / 2) + c % 2 under metadata 0x4
                    column = 4 * (column // 2) + column % 2
                a[which][row, column] = element(name, words[lane, 4 * which + i // per], i % per)
    out = []
    for chain in range(chains):
        b = np.zeros((k, 8))
        for lane in range(32):
            group, thread = lane // 4, lane % 4
            for i in range(nb * per):
                row = thread * per + i % per + 4 * per * (i // per)
                b[row, group] = element(name, words[lane, 8 + chain * nb + i // per], i % per)
        d = (a[0] + a[1]) @ b
        mine = np.zeros((32, 4))
        for lane in range(32):
            for i in range(4):
                mine[lane, i] = d[lane // 4 + (8 if i >= 2 else 0), lane % 4 * 2 + i % 2]
        out.append(mine)
    full = np.concatenate(out, axis=1)
    return full.astype(np.int32) if name.endswith("_s8") else full.astype(np.float32)


def element(name: str, word: np.uint32, place: int) -> float:
    """One element of a register."""
    if name.endswith("_s8"):
        return float(np.array(word >> np.uint32(8 * place) & np.uint32(255), np.uint8).view(np.int8))
    if name.endswith("_e4m3"):
        return float(E4M3[int(word) >> 8 * place & 255])
    half = np.array(int(word) >> 16 * place & 0xFFFF, np.uint16)
    if "bf16" in name:
        return float((half.astype(np.uint32) << 16).view(np.float32))
    return float(half.view(np.float16))
