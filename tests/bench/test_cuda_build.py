"""Every kernel, compiled for every architecture without a GPU, and its machine code read back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from viewer.bench import build, sass
from viewer.bench.kernels import KERNELS, Arch, Kernel, select
from viewer.errors import InputError

ARCHS = ("sm_80", "sm_86", "sm_89", "sm_90a")
NEWER = ("sm_100a", "sm_120a")


@pytest.fixture(scope="session")
def compiler() -> build.Compiler:
    found = build.find_compiler()
    if found is None:
        pytest.skip(build.NO_COMPILER)
    return found


@pytest.fixture(scope="session")
def matrix(
    compiler: build.Compiler, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, build.Build]]:
    """arch -> kernel id -> Build, compiled on demand into a cache of this session alone."""
    return _Matrix(compiler, tmp_path_factory.mktemp("cubin"))


class _Matrix(dict[str, dict[str, build.Build]]):
    def __init__(self, compiler: build.Compiler, folder: Path) -> None:
        super().__init__()
        self.compiler, self.folder = compiler, folder

    def __missing__(self, arch: str) -> dict[str, build.Build]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ROOFLINE_CACHE", str(self.folder))
            if Arch.parse(arch).number not in self.compiler.archs():
                pytest.skip(f"{self.compiler.name} {self.compiler.version} cannot build for {arch}")
            rows = build.build_all(select(), Arch.parse(arch), self.compiler)
        self[arch] = {row.kernel: row for row in rows}
        return self[arch]


@pytest.mark.parametrize("arch", [*ARCHS, *(pytest.param(a, marks=pytest.mark.slow) for a in NEWER)])
def test_every_kernel_is_what_it_says(matrix: dict[str, dict[str, build.Build]], arch: str) -> None:
    """Expected instruction and count, 128-bit loads, no local memory, no performance-loss warning."""
    rows = matrix[arch]
    assert set(rows) == set(KERNELS)
    assert {k: r.problems for k, r in rows.items() if r.problems} == {}
    assert {k for k, r in rows.items() if r.status == "failed"} == set()
    for row in rows.values():
        if row.status == "native":
            assert row.registers is not None
            assert row.spill_bytes == 0
            if row.opcodes is not None:
                assert row.count == KERNELS[row.kernel].count


@pytest.mark.parametrize(
    ("arch", "kernel", "instruction"),
    [
        # what the tensor unit of each generation calls its instructions
        ("sm_80", "mma.bf16", "HMMA.16816.F32.BF16"),
        ("sm_80", "mma.s4", "IMMA.16864.S4.S4"),
        ("sm_86", "mma.sp-f16", "HMMA.SP.16832.F32"),
        ("sm_89", "mma.e4m3", "QMMA.16832.F32.E4M3.E4M3"),
        ("sm_90a", "wgmma.bf16", "HGMMA.64x256x16.F32.BF16"),
        ("sm_90a", "wgmma.sp-e4m3", "QGMMA.SP.64x256x64.F32.E4M3.E4M3"),
        ("sm_90a", "mma.f64-k16", "DMMA.16x8x16"),
        ("sm_80", "dram.read", "LDG.E.128.STRONG.GPU"),
        ("sm_90a", "shared.read", "LDS.128"),
    ],
)
def test_instruction(
    matrix: dict[str, dict[str, build.Build]], arch: str, kernel: str, instruction: str
) -> None:
    row = matrix[arch][kernel]
    if row.opcodes is None:
        pytest.skip("no disassembler (nvidia-cuda-nvdisasm or the CUDA toolkit)")
    assert row.instruction == instruction


@pytest.mark.parametrize(
    ("arch", "kernel", "becomes"),
    [
        # FP8 mma.sync on Hopper is FP16 in disguise; INT4 is INT8
        ("sm_90a", "mma.e4m3", r"HMMA\.16816\.F32"),
        ("sm_90a", "mma.s4", r"IMMA\.16832\.S8\.S8"),
    ],
)
def test_emulation_is_seen_and_labelled(
    matrix: dict[str, dict[str, build.Build]], arch: str, kernel: str, becomes: str
) -> None:
    row = matrix[arch][kernel]
    assert row.status == "emulated"
    assert "emulated" in row.note
    if row.opcodes is None:
        pytest.skip("no disassembler (nvidia-cuda-nvdisasm or the CUDA toolkit)")
    assert row.count == 0  # none of the native instruction
    assert sass.Sass(Counter(row.opcodes)).count(becomes) > 0


@pytest.mark.parametrize(
    ("arch", "kernel"), [("sm_80", "mma.e4m3"), ("sm_86", "mma.f64-k16"), ("sm_89", "wgmma.f16")]
)
def test_unsupported_is_a_row_with_the_reason(
    matrix: dict[str, dict[str, build.Build]], arch: str, kernel: str
) -> None:
    row = matrix[arch][kernel]
    assert (row.status, row.problems) == ("unsupported", ())
    assert row.note.startswith("needs sm_")


def test_registry_counts() -> None:
    # m16n8k16: 2*16*8*16 = 4096 FLOP; x 8 chains x 2 fragments x 8 warps = 524288 per block and iteration
    assert KERNELS["mma.bf16"].ops == 524288
    # m64n256k16: 524288 FLOP; x 4 slices x 2 rounds x 2 warpgroups = 8388608
    assert KERNELS["wgmma.bf16"].ops == 8388608
    # sparse counts the zeros: twice the k of its dense sister, half the slices
    assert KERNELS["wgmma.sp-bf16"].ops == KERNELS["wgmma.bf16"].ops
    # 256 threads x 128 FMA x 2 FLOP, two lanes in fp16
    assert KERNELS["vector.fp32"].ops == 65536
    assert KERNELS["vector.fp16"].ops == 131072
    assert all(k.id == name for name, k in KERNELS.items())


class _Broken:
    """A compiler whose output or answer is wrong in a chosen way."""

    name, version = "fake", "1.0"

    def __init__(self, cubin: bytes | None, log: str) -> None:
        self.cubin, self.log, self.calls = cubin, log, 0

    def compile(self, source: str, arch: Arch) -> tuple[bytes | None, str]:
        assert arch.number in self.archs()
        assert '#line 1 "' in source
        self.calls += 1
        return self.cubin, self.log

    def archs(self) -> frozenset[int]:
        return frozenset({80, 90})


def test_a_failing_compiler_gives_rows_not_exceptions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOFLINE_CACHE", str(tmp_path))
    bad = _Broken(None, "line 1\nroofline.cu(3): error: no such thing")
    rows = build.build_all(select(["mma"]), Arch.parse("sm_80"), bad)
    native = [r for r in rows if r.status != "unsupported"]
    assert {r.status for r in native} == {"failed"}
    assert all(r.problems == ("roofline.cu(3): error: no such thing",) for r in native)
    assert bad.calls == 1 + len(native)  # together, then each alone
    assert not list(tmp_path.rglob("*.cubin"))  # a failure is never cached


def test_performance_loss_is_a_problem() -> None:
    log = (
        "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized "
        "due to insufficient register resources for the wgmma pipeline in the function 'wg_bf16'\n"
        "ptxas info    : Compiling entry function 'wg_bf16' for 'sm_90a'\n"
        "ptxas info    : Function properties for wg_bf16\n"
        "    0 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads\n"
        "ptxas info    : Used 154 registers, used 1 barriers, 49152 bytes smem\n"
    )
    module = build.Module(b"not a cubin", log, "fake 1", "", "")
    row = build.check(KERNELS["wgmma.bf16"], Arch.parse("sm_90a"), module, None)
    assert (row.registers, row.spill_bytes, row.shared_bytes) == (154, 12, 49152)
    assert len(row.problems) == 1
    assert "C7510" in row.problems[0]
    assert build.performance_warnings(log, "wg_f16") == []  # somebody else's warning


def test_broken_expectations_are_named() -> None:
    code = sass.Sass(Counter({"HMMA.16816.F32.BF16": 4, "LDL": 2, "STL.64": 1}))
    module = build.Module(b"x", "", "fake 1", "", "")
    row = build.check(KERNELS["mma.bf16"], Arch.parse("sm_80"), module, code)
    text = "; ".join(row.problems)
    assert "4 x" in text
    assert "16 were expected" in text
    assert "local memory: 3 instructions" in text


def test_cache_hit_and_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOFLINE_CACHE", str(tmp_path))
    good = _Broken(b"cubin bytes", "log")
    arch = Arch.parse("sm_80")
    first = build.build_module(good, "shared.cu", (), arch)
    assert build.build_module(good, "shared.cu", (), arch) == first
    assert good.calls == 1
    (file,) = tmp_path.rglob("*.cubin")
    file.write_bytes(b"cut off")
    assert build.build_module(good, "shared.cu", (), arch) == first  # checksum fails: built again
    assert good.calls == 2
    build.build_module(good, "shared.cu", (), Arch.parse("sm_90a"))  # another architecture, another cubin
    assert good.calls == 3


def test_sass_parser() -> None:
    text = """
        .section        .text.one,"ax",@progbits
        /*0000*/                   HFMA2.MMA R3, -RZ, RZ, 0, 0 ;
        /*0010*/              @!P0 HFMA2.MMA R3, R4, R5, R6 ;
        /*0020*/                   LDG.E.128.STRONG.GPU R8, [R28.64] ;
        /*0030*/                   NOP ;
        .section        .text.two,"ax",@progbits
        /*0000*/              @P1 LDL.LU R1, [R2] ;
    """
    kernels = sass.parse(text)
    assert kernels["one"].opcodes == Counter({"MOV": 1, "HFMA2.MMA": 1, "LDG.E.128.STRONG.GPU": 1})
    assert (kernels["one"].wide_loads, kernels["one"].local_memory) == (1, 0)
    assert kernels["two"].local_memory == 1


@pytest.mark.parametrize(
    ("text", "name"), [("sm_90a", "sm_90a"), ("86", "sm_86"), ("9.0", "sm_90"), ("SM_120A", "sm_120a")]
)
def test_arch_spelling(text: str, name: str) -> None:
    assert Arch.parse(text).name == name


@pytest.mark.parametrize("text", ["", "sm", "ampere", "sm_9z", "sm_90b", "../../etc"])
def test_bad_arch_is_one_line(text: str) -> None:
    with pytest.raises(InputError, match="CUDA architecture") as error:
        Arch.parse(text)
    assert "\n" not in str(error.value)


def test_unknown_kernel_and_arch_name_the_nearest() -> None:
    with pytest.raises(InputError, match=r"mma\.bf16"):
        select(["mma.bf61"])
    with pytest.raises(InputError, match="sm_90"):
        build.parse_archs("sm_91", _Broken(None, ""))
    with pytest.raises(InputError, match="no architecture"):
        build.parse_archs(" , ", _Broken(None, ""))


def test_kernel_support_follows_the_generation() -> None:
    fp8: Kernel = KERNELS["mma.e4m3"]
    assert fp8.support(Arch.parse("sm_86")) == "needs sm_89 or later"
    assert fp8.support(Arch.parse("sm_89")) == "native"
    assert fp8.support(Arch.parse("sm_90a")) == "emulated"
    assert KERNELS["wgmma.f16"].support(Arch.parse("sm_90")) == "needs sm_90a"
    assert Arch.of_device(8, 6).name == "sm_86"
    assert Arch.of_device(9, 0).name == "sm_90a"
