"""Every CUDA kernel of the measured core: where its source is, what it must compile to, and what it counts.

One entry a kernel. ``opcode`` is the machine instruction that makes it a measurement of that unit; an
architecture listed in ``emulated_on`` turns it into something else (seen in the SASS), so its rate there is
the rate of an emulation and is labelled so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from viewer.errors import InputError, unknown


@dataclass(frozen=True, slots=True)
class Tile:
    """One matrix instruction: D[m,n] += A[m,k] B[k,n]; sparse tiles have the logical (doubled) k."""

    m: int
    n: int
    k: int

    @property
    def flops(self) -> int:
        """2 m n k: multiply and add, zeros of a sparse A included."""
        return 2 * self.m * self.n * self.k


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel and what is asserted about it.

    ``count`` is the number of ``opcode`` instructions in its SASS; ``wide`` those of 128-bit global or shared
    loads. ``ops`` is the number of counted operations (FLOP, exp, load ...) per block and iteration.
    """

    id: str
    source: str
    entry: str
    define: str
    threads: int
    opcode: str
    count: int
    unit: str
    dtype: str = ""
    accumulate: str = ""
    sparse: bool = False
    ops: int = 0
    tile: Tile | None = None
    wide: int = 0
    since: int = 80
    only: frozenset[int] = frozenset()
    emulated_on: frozenset[int] = frozenset()

    def support(self, arch: Arch) -> str:
        """``native``, ``emulated`` or the reason why the kernel does not exist on the architecture."""
        if self.only and (arch.number not in self.only or arch.suffix != "a"):
            return "needs " + " or ".join(f"sm_{n}a" for n in sorted(self.only))
        if arch.number < self.since:
            return f"needs sm_{self.since} or later"
        return "emulated" if arch.number in self.emulated_on else "native"


@dataclass(frozen=True, slots=True)
class Arch:
    """A CUDA architecture such as sm_90a: compute capability x 10 and the feature suffix."""

    number: int
    suffix: str = ""

    @property
    def name(self) -> str:
        """As compilers spell it."""
        return f"sm_{self.number}{self.suffix}"

    @classmethod
    def parse(cls, text: str) -> Arch:
        """``sm_90a``, ``90a`` or ``9.0`` -> Arch; raises InputError for anything else."""
        match = re.fullmatch(r"(?:sm_?)?(\d{1,2})\.?(\d)([af]?)", text.strip().lower())
        if not match:
            raise InputError(f"unknown CUDA architecture {text[:40]!r} (write it as sm_86 or sm_90a)")
        return cls(int(match[1] + match[2]), match[3])

    @classmethod
    def of_device(cls, major: int, minor: int) -> Arch:
        """The architecture to build for a device: with the ``a`` features where there are any (9.0 on)."""
        return cls(major * 10 + minor, "a" if major >= 9 else "")


_BLACKWELL = frozenset({100, 103, 107, 110, 120, 121})
_BLACKWELL_AND_HOPPER = _BLACKWELL | {90}
# sm_120 has native FP8 mma.sync; sm_90 and sm_100 convert to FP16 first.
_NO_FP8_MMA = frozenset({90, 100, 103, 107, 110})

WARPS = 8
THREADS = 32 * WARPS


def _mma(
    name: str, tile: tuple[int, int, int], opcode: str, dtype: str, acc: str, **more: object
) -> tuple[str, Kernel]:
    shape = Tile(*tile)
    chains = 4 if name == "f64-k16" else 8
    define = "MMA_" + name.upper().replace("-", "_")
    kernel = Kernel(
        id=f"mma.{name}",
        source="mma.cu",
        entry=define.lower(),
        define=define,
        threads=THREADS,
        opcode=opcode,
        count=2 * chains,
        unit="tensor",
        dtype=dtype,
        accumulate=acc,
        sparse=name.startswith("sp-"),
        ops=WARPS * 2 * chains * shape.flops,
        tile=shape,
        **more,  # type: ignore[arg-type]
    )
    return kernel.id, kernel


def _wgmma(name: str, k: int, opcode: str, dtype: str, acc: str) -> tuple[str, Kernel]:
    sparse = name.startswith("sp-")
    define = "WG_" + name.upper().replace("-", "_")
    shape, slices = Tile(64, 256, k), 2 if sparse else 4
    kernel = Kernel(
        id=f"wgmma.{name}",
        source="wgmma.cu",
        entry=define.lower(),
        define=define,
        threads=THREADS,
        opcode=opcode,
        count=2 * slices,
        unit="tensor",
        dtype=dtype,
        accumulate=acc,
        sparse=sparse,
        ops=2 * 2 * slices * shape.flops,
        tile=shape,
        only=frozenset({90}),
    )
    return kernel.id, kernel


def _vector(
    name: str, define: str, opcode: str, dtype: str, lanes: int, since: int = 80
) -> tuple[str, Kernel]:
    # 8 steps x 8 pairs x 2 FMA x 2 FLOP x lanes per thread and iteration
    return name, Kernel(
        id=name,
        source="vector.cu",
        entry=define.lower(),
        define=define,
        threads=THREADS,
        opcode=opcode,
        count=128,
        unit="vector",
        dtype=dtype,
        accumulate=dtype,
        ops=THREADS * 128 * 2 * lanes,
        since=since,
    )


def _memory(name: str, entry: str, opcode: str, count: int, wide: int, unit: str) -> tuple[str, Kernel]:
    return name, Kernel(
        id=name,
        source="memory.cu",
        entry=entry,
        define="",
        threads=512,
        opcode=opcode,
        count=count,
        unit=unit,
        wide=wide,
    )


_WIDE_LOAD = r"LDG\.E\.128\.STRONG\.GPU"
_WIDE_STORE = r"STG\.E\.128(\.STRONG\.GPU)?"

KERNELS: dict[str, Kernel] = dict(
    [
        _memory("dram.read", "dram_read", _WIDE_LOAD, 8, 8, "dram"),
        _memory("dram.write", "dram_write", _WIDE_STORE, 8, 0, "dram"),
        _memory("dram.copy", "dram_copy", _WIDE_STORE, 8, 8, "dram"),
        _memory("dram.triad", "dram_triad", _WIDE_STORE, 8, 16, "dram"),
        _memory("l2.read", "l2_read", _WIDE_LOAD, 8, 8, "l2"),
        (
            "shared.read",
            Kernel(
                "shared.read",
                "shared.cu",
                "shared_read",
                "",
                THREADS,
                r"LDS\.128",
                8,
                "shared",
                ops=THREADS * 8 * 16,
                wide=8,
            ),
        ),
        *(
            (
                f"chase.{level}",
                Kernel(
                    f"chase.{level}",
                    "chase.cu",
                    f"chase_{level}",
                    "",
                    32,
                    rf"LDG\.E\.64\.STRONG\.{scope}",
                    16,
                    "latency",
                    ops=16,
                ),
            )
            for level, scope in (("l1", "SM"), ("l2", "GPU"))
        ),
        ("launch.empty", Kernel("launch.empty", "launch.cu", "empty", "", 32, "EXIT", 1, "launch")),
        ("launch.chain", Kernel("launch.chain", "launch.cu", "increment", "", 32, r"LDG\.E", 1, "launch")),
        _vector("vector.fp64", "VEC_F64", "DFMA", "fp64", 1),
        _vector("vector.fp32", "VEC_F32", "FFMA", "fp32", 1),
        _vector("vector.fp16", "VEC_F16", r"HFMA2(\.MMA)?", "fp16", 2),
        _vector("vector.bf16", "VEC_BF16", r"HFMA2(\.MMA)?\.BF16_V2", "bf16", 2),
        (
            "special.exp",
            Kernel(
                "special.exp",
                "vector.cu",
                "vec_exp",
                "VEC_EXP",
                THREADS,
                r"MUFU\.EX2",
                64,
                "special",
                dtype="exp",
                ops=THREADS * 64,
            ),
        ),
        _mma("f64-k4", (8, 8, 4), r"DMMA\.(884|8x8x4)", "fp64", "fp64", emulated_on=frozenset({120, 121})),
        _mma("f64-k16", (16, 8, 16), r"DMMA\.16x8x16", "fp64", "fp64", since=90, emulated_on=_BLACKWELL),
        _mma("tf32", (16, 8, 8), r"HMMA\.1688\.F32\.TF32", "tf32", "fp32"),
        _mma("f16", (16, 8, 16), r"HMMA\.16816\.F32", "fp16", "fp32"),
        _mma("f16-acc16", (16, 8, 16), r"HMMA\.16816\.F16", "fp16", "fp16"),
        _mma("bf16", (16, 8, 16), r"HMMA\.16816\.F32\.BF16", "bf16", "fp32"),
        _mma(
            "e4m3",
            (16, 8, 32),
            r"QMMA\.16832\.F32\.E4M3\.E4M3",
            "fp8",
            "fp32",
            since=89,
            emulated_on=_NO_FP8_MMA,
        ),
        _mma(
            "e4m3-acc16",
            (16, 8, 32),
            r"QMMA\.16832\.F16\.E4M3\.E4M3",
            "fp8",
            "fp16",
            since=89,
            emulated_on=_NO_FP8_MMA,
        ),
        _mma("s8", (16, 8, 32), r"IMMA\.16832\.S8\.S8", "int8", "int32"),
        _mma("s4", (16, 8, 64), r"IMMA\.16864\.S4\.S4", "int4", "int32", emulated_on=_BLACKWELL_AND_HOPPER),
        _mma("b1", (16, 8, 256), r"BMMA\.168256\.AND\.POPC", "b1", "int32", emulated_on=_BLACKWELL),
        _mma("sp-tf32", (16, 8, 16), r"HMMA\.SP\.16816\.F32\.TF32", "tf32", "fp32"),
        _mma("sp-f16", (16, 8, 32), r"HMMA\.SP\.16832\.F32", "fp16", "fp32"),
        _mma("sp-f16-acc16", (16, 8, 32), r"HMMA\.SP\.16832\.F16", "fp16", "fp16"),
        _mma("sp-bf16", (16, 8, 32), r"HMMA\.SP\.16832\.F32\.BF16", "bf16", "fp32"),
        _mma(
            "sp-e4m3",
            (16, 8, 64),
            r"QMMA\.SP\.16864\.F32\.E4M3\.E4M3",
            "fp8",
            "fp32",
            since=89,
            emulated_on=_NO_FP8_MMA,
        ),
        _mma("sp-s8", (16, 8, 64), r"IMMA\.SP\.16864\.S8\.S8", "int8", "int32"),
        _mma(
            "sp-s4",
            (16, 8, 128),
            r"IMMA\.SP\.168128\.S4\.S4",
            "int4",
            "int32",
            emulated_on=_BLACKWELL_AND_HOPPER,
        ),
        _mma("nvfp4", (16, 8, 64), r"OMMA\.SF\.16864\..*", "fp4", "fp32", only=frozenset({120, 121})),
        _wgmma("f16", 16, r"HGMMA\.64x256x16\.F32", "fp16", "fp32"),
        _wgmma("f16-acc16", 16, r"HGMMA\.64x256x16\.F16", "fp16", "fp16"),
        _wgmma("bf16", 16, r"HGMMA\.64x256x16\.F32\.BF16", "bf16", "fp32"),
        _wgmma("tf32", 8, r"HGMMA\.64x256x8\.F32\.TF32", "tf32", "fp32"),
        _wgmma("e4m3", 32, r"QGMMA\.64x256x32\.F32\.E4M3\.E4M3", "fp8", "fp32"),
        _wgmma("s8", 32, r"IGMMA\.64x256x32\.S8\.S8", "int8", "int32"),
        _wgmma("b1", 256, r"BGMMA\.64x256x256\.AND\.POPC", "b1", "int32"),
        _wgmma("sp-f16", 32, r"HGMMA\.SP\.64x256x32\.F32", "fp16", "fp32"),
        _wgmma("sp-bf16", 32, r"HGMMA\.SP\.64x256x32\.F32\.BF16", "bf16", "fp32"),
        _wgmma("sp-tf32", 16, r"HGMMA\.SP\.64x256x16\.F32\.TF32", "tf32", "fp32"),
        _wgmma("sp-e4m3", 64, r"QGMMA\.SP\.64x256x64\.F32\.E4M3\.E4M3", "fp8", "fp32"),
        _wgmma("sp-s8", 64, r"IGMMA\.SP\.64x256x64\.S8\.S8", "int8", "int32"),
    ]
)


def select(names: list[str] | None = None) -> list[Kernel]:
    """The kernels named (an id, or a prefix such as ``mma``), or all; InputError for an unknown one."""
    if not names:
        return list(KERNELS.values())
    chosen: dict[str, Kernel] = {}
    for name in names:
        found = [k for k in KERNELS.values() if k.id == name or k.id.startswith(name + ".")]
        if not found:
            raise unknown("kernel", name, [*KERNELS, *{i.split(".")[0] for i in KERNELS}])
        chosen.update({k.id: k for k in found})
    return list(chosen.values())
