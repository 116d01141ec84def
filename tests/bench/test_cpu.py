"""The processor's probes: built with the system's compiler, checked against plain C, counted, recorded."""

from __future__ import annotations

import json
import math
import shutil
import stat
from pathlib import Path

import pytest

from viewer.bench import cpu_build, cpu_expect, cpu_plan, cpu_run, cpu_worker, host
from viewer.bench.cpu_plan import Job
from viewer.bench.schema import Record
from viewer.bench.statistics import StopRule

FAST = StopRule(min_samples=6, min_seconds=0.0, half_width=0.5, max_seconds=0.2)
ROW = 4096  # weights in a row of a dot probe


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> cpu_build.Built:
    if cpu_build.find_cc() is None:
        pytest.skip("no C compiler")
    return cpu_build.build(tmp_path_factory.mktemp("cpu"))


@pytest.fixture(scope="module")
def probes(built: cpu_build.Built) -> cpu_build.Probes:
    return cpu_build.Probes(built.path)


@pytest.mark.parametrize("name", [p for p in cpu_plan.MEANINGS if p not in cpu_plan.BLAS_PROBES])
@pytest.mark.parametrize("threads", [1, 2])
def test_every_probe_computes_what_plain_c_computes(
    probes: cpu_build.Probes, name: str, threads: int
) -> None:
    size = 64 * 1024
    if probes.counts(name, size) is None:
        assert name in ("dot_bf16", "dot_int8", "copy_nt", "triad_nt")  # only these depend on the processor
        pytest.skip(f"this processor has no {name}")
    with probes.open(name, [-1] * threads, size, seed=5) as pool:
        assert pool.check() < cpu_run.ERROR_LIMIT
        seconds, hz = pool.sample(reps=2, batches=3)
    assert len(seconds) == len(hz) == 3
    assert all(s > 0 for s in seconds)
    assert all(math.isfinite(h) for h in hz)


@pytest.mark.parametrize("tuning", ["-march=haswell", "-march=x86-64"])
def test_narrower_code_paths_agree_too(tuning: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The AVX2 and the plain C variants, on a machine that can run them."""
    if "avx2" not in host.isa_flags() or cpu_build.find_cc() is None:
        pytest.skip("needs an x86 processor with AVX2, and a compiler")
    monkeypatch.setattr(cpu_build, "TUNING", (tuning,))
    probes = cpu_build.Probes(cpu_build.build(tmp_path).path)
    assert probes.isa == {"-march=haswell": "avx2", "-march=x86-64": "generic"}[tuning]
    for name in ("fma_f32", "fma_f64", "exp_f32", "triad", *cpu_plan.DOTS):
        with probes.open(name, [-1], 64 * 1024, seed=9) as pool:
            assert pool.check() < cpu_run.ERROR_LIMIT, name


def test_counts(probes: cpu_build.Probes) -> None:
    size = 1 << 20
    # read moves its array once, copy twice, triad three times with 2 FLOP per 4 bytes
    assert probes.counts("read", size) == (0, size)
    assert probes.counts("copy", size) == (0, 2 * size)
    assert probes.counts("triad", size) == (size / 2, 3 * size)
    # Q4_0: 18 bytes per 32 weights -> a row of 4096 is 2304 bytes; 455 whole rows in 1 MiB, 2 FLOP a weight
    rows = size // 2304
    assert probes.counts("q4_0", size) == (rows * 2 * ROW, rows * 2304)
    assert probes.counts("q4_0_x4", size) == (4 * rows * 2 * ROW, rows * 2304)
    # Q8_0: 34 bytes per 32; Q4_K: 144 per 256; f16: 2 a weight
    assert probes.counts("q8_0", 4352) == (2 * ROW, 4352)
    assert probes.counts("q4_k", 2304) == (2 * ROW, 2304)
    assert probes.counts("f16", 8192) == (2 * ROW, 8192)
    # fp64 has half the lanes of fp32; bf16 twice; int8 four times
    fp32 = probes.counts("fma_f32", 0)
    assert fp32 is not None
    for name, factor in (("fma_f64", 0.5), ("dot_bf16", 2), ("dot_int8", 4)):
        found = probes.counts(name, 0)
        if found is not None:
            assert found[0] == factor * fp32[0]
    assert probes.counts("no_such_probe", size) is None


def test_impossible_requests_are_refused(probes: cpu_build.Probes) -> None:
    with pytest.raises(cpu_build.BuildError, match="no_such"):
        probes.open("no_such", [-1], 4096, seed=1)
    with pytest.raises(cpu_build.BuildError, match="memory"):
        probes.open("read", [-1], 1 << 60, seed=1)


def test_fma_reaches_the_architecture_at_some_moment(probes: cpu_build.Probes) -> None:
    """Operations per clock are positive and no more than 5 % above what the architecture allows."""
    counts = probes.counts("fma_f32", 0)
    assert counts is not None
    with probes.open("fma_f32", [-1], 0, seed=1) as pool:
        pool.check()
        seconds, hz = pool.sample(reps=20000, batches=5)
    best = counts[0] * 20000 / min(seconds) / (max(hz) or 1e9)
    assert best > 0
    expected = cpu_expect.expected_op_per_clock("fma_f32")
    if expected and any(hz):
        assert best < 1.05 * expected


def test_expectations_by_family() -> None:
    # Zen 5 server: 2 pipes x 16 lanes x 2 = 64
    assert cpu_expect.table_for("AuthenticAMD", 26, 2, ["avx512f"])["fma_f32"] == 64
    assert cpu_expect.table_for("AuthenticAMD", 25, 17, ["avx512f"])["fma_f32"] == 32  # Zen 4
    assert (
        cpu_expect.table_for("GenuineIntel", 6, 143, ["avx512f", "fma"])["fma_f64"] == 32
    )  # Sapphire Rapids
    assert cpu_expect.table_for("GenuineIntel", 6, 60, ["fma"])["fma_f32"] == 32  # Haswell
    assert (
        cpu_expect.table_for("GenuineIntel", 6, 126, ["avx512f", "fma"]) == {}
    )  # one or two units: not known
    assert cpu_expect.table_for("ARM", 8, 1, []) == {}


def test_repeats_are_left_out_when_time_is_up(built: cpu_build.Built) -> None:
    out: list[dict[str, object]] = []
    request = {
        "library": str(built.path),
        "seed": 1,
        "cpus": [-1],
        "rule": {"max_seconds": 0.05},
        "budget_s": -1.0,
        "jobs": [Job("a", "read", 1, 4096).as_dict()],
    }
    cpu_worker.serve(request | {"repeat": True}, out.append)
    cpu_worker.serve(request | {"repeat": False}, out.append)
    assert "out of time" in str(out[0]["skip"])
    assert "seconds" in out[1]


# --- compilers that are missing, broken or hostile ----------------------------------------------------


def _fake_cc(folder: Path, script: str) -> str:
    path = folder / "fake-cc"
    path.write_text("#!/bin/sh\n" + script, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 3", "--version failed"),
        (
            '[ "$1" = --version ] && echo fake 1 && exit 0; echo "x.c:1: error: no" >&2; exit 1',
            "x.c:1: error: no",
        ),
        ('[ "$1" = --version ] && echo fake 1; exit 0', "no output"),  # claims success, writes nothing
    ],
)
def test_bad_compilers_are_one_line(
    script: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", _fake_cc(tmp_path, script))
    with pytest.raises(cpu_build.BuildError, match=message) as error:
        cpu_build.build(tmp_path / "out")
    assert "\n" not in str(error.value)


def test_garbage_from_the_compiler_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = '[ "$1" = --version ] && echo fake 1 && exit 0\nwhile [ "$1" != -o ]; do shift; done; echo junk > "$2"'
    monkeypatch.setenv("CC", _fake_cc(tmp_path, script))
    made = cpu_build.build(tmp_path / "out")
    with pytest.raises(cpu_build.BuildError, match="cannot load"):
        cpu_build.Probes(made.path)


def test_missing_compiler_falls_back_to_numpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", str(tmp_path / "nothing-here"))
    lines: list[str] = []
    jobs = [
        Job("cpu.np_sum.dram.t1", "np_sum", 1, 1 << 20, "dram"),
        Job("cpu.gemm_f32.64.t1", "gemm_f32", 1, size=64),
    ]
    records, notes = cpu_run.run(
        quick=True, seed=1, report=lines.append, keep=lambda _: None, jobs=jobs, rule=FAST
    )
    assert [r.id for r in records] == [j.id for j in jobs]
    assert records[0].result.quality == "C"
    assert any("no C compiler" in n for n in notes)
    assert any("falling back" in line for line in lines)


def test_the_build_is_cached(built: cpu_build.Built, monkeypatch: pytest.MonkeyPatch) -> None:
    before = built.path.stat().st_mtime_ns
    monkeypatch.setattr(cpu_build, "_compile", lambda *_: pytest.fail("compiled again"))
    assert cpu_build.build(built.path.parent).path.stat().st_mtime_ns == before


# --- campaigns ----------------------------------------------------------------------------------------


def test_a_small_campaign(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if cpu_build.find_cc() is None:
        pytest.skip("no C compiler")
    monkeypatch.setenv("ROOFLINE_CACHE", str(tmp_path))
    kept: list[list[Record]] = []
    jobs = [
        Job("cpu.fma_f32.t1", "fma_f32", 1),
        Job("cpu.read.l2.t1", "read", 1, 65536, "l2"),
        Job(
            "cpu.read.none.t1", "read", 1, 4096 + 1, "l2"
        ),  # not whole pages: refused, named, and not the end
        Job("cpu.gemm_f32.64.t1", "gemm_f32", 1, size=64, headline=False),
    ]
    records, notes = cpu_run.run(
        quick=False, seed=3, report=lambda _: None, keep=kept.append, jobs=jobs, rule=FAST, budget_s=5
    )
    assert [r.id for r in records] == ["cpu.fma_f32.t1", "cpu.read.l2.t1", "cpu.gemm_f32.64.t1"]
    assert any("cpu.read.none.t1" in note for note in notes)
    fma, read, gemm = records
    assert len(fma.stats.process_medians) == cpu_run.PROCESSES  # headline: three fresh processes
    assert len(gemm.stats.process_medians) == 1
    assert set(fma.samples.process) == {0, 1, 2}
    assert len(fma.samples.seconds) == fma.stats.n
    assert all(r.validity.numeric_ok for r in records)
    # the count of a batch: 64^3 x 2 per product; reading moves the array once per repetition
    assert gemm.result.ops == 2 * 64**3 * gemm.result.batch
    assert read.result.bytes == 65536 * read.result.batch
    assert read.result.value == pytest.approx(read.result.bytes / sorted(read.stats.process_medians)[1])
    assert len(kept[-1]) == 3
    assert [len(k) for k in kept] == sorted(len(k) for k in kept)  # never loses a record


def test_a_dying_probe_takes_only_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is killed in its second job: the first is kept and the campaign goes on."""
    rows = iter([{"id": "a", "seconds": [1.0] * 6, "clock_hz": [0.0] * 6, "reps": 1, "stopped": "converged",
                  "other_cpu_share": None, "ops_per_rep": 1.0, "bytes_per_rep": 8.0, "error": 0.0}])  # fmt: skip

    class Dying:
        def __init__(self, *_: object, **__: object) -> None: ...
        def __iter__(self) -> object:
            return rows

        def close(self) -> str:
            return "exit status -4"

    monkeypatch.setattr(cpu_run, "Worker", Dying)
    monkeypatch.setattr(cpu_run, "build_or_explain", lambda _: (None, ""))
    jobs = [Job("a", "read", 1, 4096), Job("b", "read", 1, 4096)]
    records, notes = cpu_run.run(quick=True, seed=1, report=lambda _: None, keep=lambda _: None, jobs=jobs)
    assert [r.id for r in records] == ["a"]
    assert "exit status -4" in notes[0]
    assert "after 1 of 2" in notes[0]


def test_flags() -> None:
    def row(seconds: list[float], clocks: list[float], stopped: str, other: float) -> dict[str, object]:
        return {"seconds": seconds, "clock_hz": clocks, "reps": 1, "stopped": stopped, "other_cpu_share": other,
                "ops_per_rep": 64.0, "bytes_per_rep": 0.0, "error": 0.0}  # fmt: skip

    job = Job("cpu.fma_f32.t1", "fma_f32", 1)
    quiet = cpu_run.make_record(job, [row([1.0] * 9, [4e9] * 9, "converged", 0.0)], None)
    assert quiet.flags == []
    # the clock falls from 4 to 3.5 GHz; the median is 10 % behind the best; never converged
    bad = cpu_run.make_record(
        job, [row([1.0] + [1.1] * 8, [4e9] * 4 + [3.5e9] * 5, "not_converged", 0.0)], None
    )
    assert bad.flags == ["throttled", "disturbed", "not_converged"]
    # somebody else used a fifth of the machine
    busy = cpu_run.make_record(job, [row([1.0] * 9, [4e9] * 9, "converged", 0.2)], None)
    assert busy.flags == ["disturbed"]
    # 64 operations in the best second at 4 GHz: 1.6e-8 per clock
    assert quiet.validity.op_per_clock_per_core == pytest.approx(64 / 4e9)


def test_not_a_number_fails_the_check() -> None:
    row = {"seconds": [1.0] * 6, "clock_hz": [0.0] * 6, "reps": 1, "stopped": "converged", "other_cpu_share": None,
           "ops_per_rep": 1.0, "bytes_per_rep": 0.0, "error": float("nan")}  # fmt: skip
    record = cpu_run.make_record(Job("x", "fma_f32", 1), [row], None)
    assert record.validity.numeric_ok is False
    json.loads(record.model_dump_json())


def test_worker_keeps_to_its_budget_and_names_what_it_cannot_do(built: cpu_build.Built) -> None:
    out: list[dict[str, object]] = []
    request = {
        "library": str(built.path),
        "seed": 1,
        "cpus": [-1, -1],
        "rule": {"max_seconds": 0.05, "min_seconds": 0.0, "min_samples": 3},
        "budget_s": 0.2,
        "jobs": [Job("a", "read", 1, 4096).as_dict(), Job("b", "nonsense", 1, 4096).as_dict()],
    }
    cpu_worker.serve(request, out.append)
    assert [row["id"] for row in out] == ["a", "b"]
    assert "nonsense" in str(out[1]["skip"])


def test_plan_covers_what_later_predictions_need() -> None:
    jobs = cpu_plan.plan(quick=False, compiled=True, environment_blas=True)
    ids = [j.id for j in jobs]
    assert len(set(ids)) == len(ids)
    n = len(host.usable_cpus())
    for t in cpu_plan.thread_counts(n, quick=False):
        for name in ("fma_f32", "read.dram", "q8_0", "q4_0", "q4_k", "f16", "dot_int8"):
            assert f"cpu.{name}.t{t}" in ids
    assert any(j.native_blas for j in jobs)
    assert {j.probe for j in cpu_plan.plan(quick=True, compiled=False, environment_blas=False)} == {
        "np_sum", "np_copy", "gemm_f32", "gemv_f32"}  # fmt: skip
    assert cpu_plan.thread_counts(6, quick=False) == [1, 2, 4, 6]
    assert cpu_plan.thread_counts(6, quick=True) == [1, 6]
    assert cpu_plan.thread_counts(1, quick=False) == [1]


def test_levels_are_divided_among_the_threads_that_share_them() -> None:
    cache = {"l1": {"bytes": 49152, "shared_by": 1}, "l3": {"bytes": 1 << 25, "shared_by": 8}}
    # half of 48 KiB, whole pages; half of 32 MiB over 4 threads
    assert cpu_plan.level_bytes(4, cache) == {"l1": 24576, "l3": (1 << 24) // 4}
    assert cpu_plan.level_bytes(16, cache)["l3"] == (1 << 24) // 8


def test_cpu_lists() -> None:
    assert host._list_length("0-3,8") == 5
    assert host._list_length("7") == 1
    assert host._list_length("garbage") == 1
    assert sorted(host.usable_cpus()) == sorted(set(host.usable_cpus()))
    assert shutil.which("cc") is None or cpu_build.find_cc()
