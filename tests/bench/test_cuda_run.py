"""The CUDA runner on a stand-in driver: arguments, layouts, checks, counting, statistics, failures."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.bench.fake_cuda import LAUNCH_S, SMS, FailedStatus, FakeDriver
from viewer.bench import build, cuda_bench, cuda_compute, cuda_driver, cuda_memory, cuda_run, operands
from viewer.bench.cuda_bench import Settings, Timer, op_per_clock
from viewer.bench.cuda_driver import Gpu, GpuError
from viewer.bench.kernels import KERNELS, Arch, select
from viewer.bench.nvml import Monitor, Reading
from viewer.bench.schema import Record
from viewer.bench.statistics import StopRule

FAST = Settings(
    rule=StopRule(min_samples=6, min_seconds=0.0), warm_up_s=0.0, idle_s=0.0, burst_samples=0, sweep_points=2
)


class FakeCompiler:
    """Compiles anything to a cubin that the stand-in driver ignores."""

    name, version = "fake", "1"

    def compile(self, source: str, arch: Arch) -> tuple[bytes | None, str]:
        return f"{arch.name} {len(source)}".encode(), ""

    def archs(self) -> frozenset[int]:
        return frozenset({80, 90})


def _timer(api: FakeDriver | None = None, settings: Settings = FAST) -> Timer:
    return Timer(
        Gpu(api or FakeDriver()), Monitor("0", api=SimpleNamespace()), settings, sleep=lambda _: None
    )


@pytest.fixture(autouse=True)
def _no_disassembler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.sass, "disassemble", lambda _: None)


def _campaign(
    names: list[str], api: FakeDriver | None = None, settings: Settings = FAST
) -> tuple[dict[str, Record], list[str]]:
    records: list[Record] = []
    lines: list[str] = []
    timer = _timer(api, settings)
    cuda_run.campaign(timer, select(names), FakeCompiler(), 3, records.append, lines.append)
    return {r.id: r for r in records}, lines


def test_memory_kernels_pass_their_checks_and_count_their_bytes() -> None:
    records, lines = _campaign(["dram", "l2", "chase", "launch"])
    assert lines == []
    assert all(r.validity.numeric_ok for r in records.values())
    size = records["cuda.dram.read"].result.bytes / records["cuda.dram.read"].result.batch
    # free memory 12 MiB: a quarter of it per array, whole tiles of 64 KiB
    assert size == 3 << 20
    per_unit = {n: records[f"cuda.dram.{n}"].result.bytes / records[f"cuda.dram.{n}"].result.batch for n in
                ("write", "copy", "triad", "memcpy")}  # fmt: skip
    assert per_unit == {"write": size, "copy": 2 * size, "triad": 3 * size, "memcpy": 2 * size}
    read = records["cuda.dram.read"].result
    assert read.value == pytest.approx(read.bytes / LAUNCH_S)
    assert {"cuda.l2.read", "cuda.latency.l1", "cuda.latency.l2", "cuda.latency.dram"} <= set(records)
    # one launch of 11 ms for a batch of n launches: 11 ms / n each; a graph holds 200
    stream, graph = records["cuda.launch.stream"].result, records["cuda.launch.graph"].result
    assert stream.value == pytest.approx(LAUNCH_S / stream.batch)
    assert graph.value == pytest.approx(LAUNCH_S / graph.batch / 200)
    assert {"cuda.link.host_to_device", "cuda.link.device_to_host"} <= set(records)


@pytest.mark.parametrize(
    "kernel", ["dram_read", "dram_write", "dram_copy", "dram_triad", "chase_l1", "increment"]
)
def test_a_kernel_that_does_nothing_is_caught(kernel: str) -> None:
    api = FakeDriver()
    api.broken = {kernel}
    records, _ = _campaign(["dram", "chase", "launch"], api)
    bad = {name for name, r in records.items() if r.validity.numeric_ok is False}
    wanted = {"chase_l1": "cuda.latency.l1", "increment": "cuda.launch.chain"}.get(
        kernel, f"cuda.dram.{kernel.removeprefix('dram_')}"
    )
    assert wanted in bad


@pytest.mark.parametrize(
    "kernel",
    ["vector.fp64", "vector.fp32", "vector.fp16", "special.exp", "shared.read",
     "mma.f16", "mma.bf16", "mma.s8", "mma.sp-f16", "mma.sp-bf16"],
)  # fmt: skip
def test_arithmetic_kernels_pass_their_checks(kernel: str) -> None:
    records, lines = _campaign([kernel])
    assert lines == []
    (record,) = records.values()
    assert record.validity.numeric_ok, record.validity.numeric_error
    # operations of a batch: per block and iteration x blocks x iterations
    counted = record.result.ops or record.result.bytes
    assert counted == KERNELS[kernel].ops * SMS * record.result.batch
    # stamps say 1000 clocks for one block on each SM
    if record.result.ops:
        assert record.validity.op_per_clock_per_core == pytest.approx(
            KERNELS[kernel].ops * record.result.batch / 1000
        )


def test_fp8_on_ada_and_its_emulation_on_hopper() -> None:
    records, _ = _campaign(["mma.e4m3"], FakeDriver((8, 9)))
    assert records["cuda.mma.e4m3"].validity.numeric_ok
    records, lines = _campaign(["mma.e4m3"], FakeDriver((9, 0)))
    assert records == {}  # never measured as native
    assert "emulated" in lines[0]


def test_poison_shows_when_a_result_is_not_written() -> None:
    api = FakeDriver()
    api.broken = {"mma_f16"}
    records, _ = _campaign(["mma.f16"], api)
    assert records["cuda.mma.f16"].validity.numeric_ok is False
    assert records["cuda.mma.f16"].validity.numeric_error is None  # not a number


def test_burst_and_sustained_are_two_records() -> None:
    records, _ = _campaign(["vector.fp32"], settings=replace(FAST, burst_samples=4))
    assert set(records) == {"cuda.vector.fp32", "cuda.vector.fp32.burst"}
    burst = records["cuda.vector.fp32.burst"]
    assert (burst.result.regime, burst.stats.n, burst.stats.stopped) == ("burst", 4, "fixed")


def test_a_failing_driver_call_is_named_and_the_rest_goes_on() -> None:
    api = FakeDriver()
    api.fail = "cuGraphInstantiate"
    records, lines = _campaign(["launch", "vector.fp32"], api)
    assert "cuda.vector.fp32" in records
    assert lines == ["launch: cuGraphInstantiate: CUDA_ERROR_ILLEGAL_ADDRESS"]


def test_memory_is_given_back() -> None:
    api = FakeDriver()
    _campaign(["dram", "l2", "chase", "mma.f16"], api)
    assert api.memory == {}


def test_nothing_that_changes_a_device_is_ever_called() -> None:
    api = FakeDriver()
    _campaign(["dram", "l2", "chase", "launch", "vector.fp32", "mma.f16"], api)
    assert not {
        c for c in api.calls if "Reset" in c or "SetLimit" in c or "SetFlags" in c or "SetCacheConfig" in c
    }


def test_no_device_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GpuError, match="no CUDA device 5"):
        Gpu(FakeDriver(), 5)
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(GpuError, match="cuda-bindings"):
        cuda_driver.find_driver()

    def refuse(_: int) -> Any:
        raise RuntimeError("Failed to dlopen libcuda.so.1\nand a second line")

    for init, message in ((refuse, "no NVIDIA driver"), (lambda _: (FailedStatus(100),), "does not start")):
        fake = SimpleNamespace(driver=SimpleNamespace(cuInit=init))
        monkeypatch.setitem(sys.modules, "cuda.bindings", fake)
        with pytest.raises(GpuError, match=message) as error:
            cuda_driver.find_driver()
        assert "\n" not in str(error.value)


# --- counting clocks and merging processes ----------------------------------------------------------------


def test_op_per_clock_spans_the_blocks_of_an_sm() -> None:
    # SM 0 has two blocks from 0 to 100 and 50 to 150: 150 clocks; SM 1 two blocks in 0 ... 75
    stamps = np.zeros((4, 8), np.uint64)
    stamps[:, 0], stamps[:, 1], stamps[:, 4] = [0, 50, 0, 0], [100, 150, 75, 75], [0, 0, 1, 1]
    # 1200 operations in all, 300 a block: 600 / 150 = 4 and 600 / 75 = 8; the median of the two is 6
    assert op_per_clock(stamps, 1200) == 6
    assert op_per_clock(np.zeros((1, 8), np.uint64), 1) is None


def test_merging_three_processes() -> None:
    made = [_campaign(["vector.fp32"])[0]["cuda.vector.fp32"] for _ in range(3)]

    def slower(record: Record, factor: float) -> Record:
        samples = record.samples.model_copy(update={"seconds": [s * factor for s in record.samples.seconds]})
        stats = record.stats.model_copy(update={"median": record.stats.median * factor})
        return record.model_copy(update={"samples": samples, "stats": stats})

    merged = cuda_run.merged([made[0], slower(made[1], 1.1), slower(made[2], 1.2)])
    # medians 1, 1.1, 1.2 times 11 ms: the headline is the middle one
    assert merged.result.value == pytest.approx(made[0].result.value / 1.1)
    assert merged.result.uncertainty == pytest.approx(0.1 / 1.1)
    assert merged.stats.process_medians == pytest.approx([LAUNCH_S, 1.1 * LAUNCH_S, 1.2 * LAUNCH_S])
    assert sorted(set(merged.samples.process)) == [0, 1, 2]
    assert cuda_run.merged(made[:1]) is made[0]


def test_monitor_reads_what_there_is() -> None:
    class Nvml:
        def nvmlInit(self) -> None: ...  # noqa: N802
        def nvmlDeviceGetHandleByPciBusId(self, pci: bytes) -> str:  # noqa: N802
            assert pci == b"0000:17:00.0"
            return "handle"

        def nvmlDeviceGetClockInfo(self, _: str, which: int) -> int:  # noqa: N802
            return {1: 1410, 2: 1593}[which]

        def nvmlDeviceGetPowerUsage(self, _: str) -> int:  # noqa: N802
            return 400_000

        def nvmlDeviceGetCurrentClocksEventReasons(self, _: str) -> int:  # noqa: N802
            return 0x4

    reading = Monitor("0000:17:00.0", Nvml()).read()
    assert (reading.clock_hz, reading.power_w, reading.temperature_c) == (1.41e9, 400.0, None)
    assert reading.throttled  # software power cap
    assert not Reading(reasons=0x1).throttled  # idle is not throttled
    blind = Monitor("x", SimpleNamespace())
    assert (blind.works, blind.read(), blind.describe()) == (False, Reading(), {})


# --- operands -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", list(operands.BITS))
def test_random_operands_are_neither_constant_nor_broken(dtype: str) -> None:
    codes, values = operands.random_codes(np.random.default_rng(1), dtype, (64, 64))
    assert np.isfinite(values).all()
    assert len(np.unique(values)) >= min(2 ** operands.BITS[dtype], 15) or dtype == "b1"
    if dtype not in ("fp64", "b1", "fp4"):
        assert int(codes.max()) < 2 ** operands.BITS[dtype]


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "tf32", "fp8", "int8", "int4"])
def test_negated_codes_cancel(dtype: str) -> None:
    made = operands.mma_operands(
        np.random.default_rng(2), dtype, (16, 8, 256 // operands.BITS[dtype]), 2, sparse=False, swing=True
    )
    assert np.abs(made.expected).max() == 0
    codes, _ = operands.random_codes(np.random.default_rng(2), dtype, (4, 8))
    assert np.array_equal(operands.negated(dtype, operands.negated(dtype, codes)), codes)


def test_e4m3_table() -> None:
    # OCP FP8: 0x38 is 1, 0x7e is 448, 0x01 is 2^-9, 0xb8 is -1, 0x7f is NaN
    assert [operands.E4M3[c] for c in (0x38, 0x7E, 0x01, 0xB8)] == [1.0, 448.0, 2.0**-9, -1.0]
    assert np.isnan(operands.E4M3[0x7F])


@pytest.mark.parametrize("m", [8, 16])
def test_each_accumulator_lands_once(m: int) -> None:
    registers = np.arange(m * 8, dtype=np.float64).reshape(32, -1)
    assert sorted(operands.mma_result(m, registers).reshape(-1)) == list(range(m * 8))


def test_wgmma_layouts() -> None:
    registers = np.arange(128 * 128).reshape(128, 128)
    out = operands.wgmma_result(registers)
    assert sorted(out.reshape(-1)) == list(range(128 * 128))
    # PTX ISA, wgmma D fragment: thread 37 = warp 1, lane 5 (group 1, thread 1); d_6 -> row 16+1+8, column 8+2
    assert out[25, 10] == registers[37, 6]
    # core matrices: row 9, byte 20 of a 64 x 32 tile: second row group (256), second core (128), row 1, byte 4
    tile = np.arange(64 * 32, dtype=np.uint32).reshape(64, 32)
    assert operands.core_matrices(tile)[256 + 128 + 16 + 4] == tile[9, 20]


def test_wgmma_expectation_adds_slices_and_rounds() -> None:
    made = operands.wgmma_operands(np.random.default_rng(3), "int8", 32, 4, 2, sparse=False, swing=False)
    assert made.data.size == 2 * 4 * 64 * 32 + 4 * 256 * 32
    assert made.expected.shape == (2, 64, 256)
    assert (made.expected % 2 == 0).all()  # two rounds of integers
    swing = operands.wgmma_operands(np.random.default_rng(3), "int8", 32, 4, 2, sparse=False, swing=True)
    assert np.abs(swing.expected).max() == 0


def test_first_half_of_every_group_is_kept() -> None:
    assert operands.expanded("fp16", np.array([[1, 2, 3, 4]])).tolist() == [[1, 2, 0, 0, 3, 4, 0, 0]]
    assert operands.expanded("tf32", np.array([[1, 2]])).tolist() == [[1, 0, 2, 0]]
    assert operands.expanded("int4", np.array([[1, 2, 3, 4]])).tolist() == [[1, 2, 3, 4, 0, 0, 0, 0]]


def test_rounding_to_bf16() -> None:
    # 1 + 2^-8 is half way between 1 and 1 + 2^-7: ties to even gives 1; a little more goes up
    values = np.array([1 + 2.0**-8, 1 + 2.0**-8 + 2.0**-12, -3.0])
    assert cuda_compute.rounded("bf16", values).tolist() == [1.0, 1 + 2.0**-7, -3.0]


def test_chase_is_one_cycle() -> None:
    words = cuda_memory.chase_cycle(np.random.default_rng(5), 64, base=1 << 20)
    at, seen = 1 << 20, set()
    for _ in range(64):
        seen.add(at)
        at = int(words[(at - (1 << 20)) // 128, 0])
    assert len(seen) == 64
    assert at == 1 << 20


def test_pattern_xor_matches_the_pattern() -> None:
    words = cuda_memory.pattern(0, 1000, 42)
    assert cuda_memory.pattern_xor(1000, 42) == int(np.bitwise_xor.reduce(words, axis=None))
    assert len(np.unique(words)) > 3900


def test_timestamps_stride_is_that_of_the_source() -> None:
    assert f"#define STAMP_WORDS {cuda_bench.STAMP_WORDS}" in build.source_text("launch.cu")
