"""Result files, hardware files and the command around them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import hardware_specs
from viewer.bench import cpu_run, hardware_file, storage
from viewer.bench.campaign import Target, Writer
from viewer.bench.cpu_plan import Job
from viewer.bench.roofs import products_against_roofs
from viewer.bench.schema import Campaign, Record, load_campaign
from viewer.cli import bench
from viewer.cli.common import run
from viewer.errors import InputError

REPO = Path(__file__).resolve().parents[2]
DEVICE = {
    "kind": "cpu",
    "name": "Example CPU @ 3.00GHz",
    "cores": 2,
    "processors": 2,
    "isa": ["avx2"],
    "memory_bytes": 8 << 30,
    "caches": {"l1": {"bytes": 49152, "shared_by": 1}, "l3": {"bytes": 1 << 25, "shared_by": 2}},
}


def _record(
    name: str, probe: str, threads: int, *, ops: float = 0, moved: float = 0, noisy: bool = False
) -> Record:
    seconds = [1.0, 2.0, 2.0, 2.0, 2.0, 2.0] if noisy else [1.0] * 6
    row = {
        "seconds": seconds,
        "clock_hz": [4e9] * 6,
        "reps": 1,
        "stopped": "converged",
        "other_cpu_share": 0.0,
        "ops_per_rep": ops,
        "bytes_per_rep": moved,
        "error": 0.0,
    }
    return cpu_run.make_record(Job(name, probe, threads, 4096), [row], None)


def _writer(target: Target | None = None, *, noisy: bool = False) -> Writer:
    writer = Writer(target, DEVICE, {}, "roofline bench cpu", "full", 1)
    writer.records = [
        _record("cpu.fma_f32.t2", "fma_f32", 2, ops=512e9, noisy=noisy),
        _record("cpu.fma_f64.t2", "fma_f64", 2, ops=256e9),
        _record("cpu.dot_int8.t2", "dot_int8", 2, ops=2e12),
        _record("cpu.exp_f32.t2", "exp_f32", 2, ops=30e9),
        _record("cpu.read.dram.t2", "read", 2, moved=60e9),
        _record("cpu.read.dram.t1", "read", 1, moved=35e9),
        _record("cpu.read.l3.t2", "read", 2, moved=240e9),
        _record("cpu.q4_0.t1", "q4_0", 1, ops=60e9, moved=17e9),
    ]
    return writer


def test_round_trip(tmp_path: Path) -> None:
    campaign = _writer(Target(tmp_path / "r.json", tmp_path / "r.yaml")).save(complete=True)
    assert load_campaign(tmp_path / "r.json") == campaign
    assert campaign.run.complete
    assert campaign.record("cpu.fma_f32.t2") is not None
    assert campaign.record("nothing") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not JSON"),
        ("[]", "schema_version"),
        ('{"schema_version": 2}', "schema_version 2"),
        ('{"schema_version": 1}', "run"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_bad_result_files_are_one_line(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message) as error:
        load_campaign(path)
    assert "\n" not in str(error.value)


def test_unknown_fields_and_missing_files_are_refused(tmp_path: Path) -> None:
    data = json.loads(_writer().campaign(complete=True).model_dump_json())
    data["records"][0]["surprise"] = 1
    path = tmp_path / "x.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(InputError, match=r"records\.0\.surprise"):
        load_campaign(path)
    with pytest.raises(InputError, match="No such file"):
        load_campaign(tmp_path / "absent.json")


def test_hardware_file_is_one_that_every_command_loads(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    hardware_file.write(path, hardware_file.describe_cpu(_writer().campaign(complete=True)))
    hw = hardware_specs.load(path)
    assert hw.name == "local/example-2c"
    assert hw.architecture == "avx2"
    assert hw.peak("vector", "fp32") == hw.peak("tensor", "fp32") == 512e9
    assert hw.peak("special", "exp") == 30e9
    assert hw.bandwidth_bytes_per_s("dram") == 60e9
    assert hw.bandwidth_bytes_per_s("l2") == 240e9  # the last level answers for the L2
    assert hw.clock_hz() == 4e9
    q4 = hw.measured_value("q4_0_dot_rate_t1")
    assert q4 is not None
    assert (q4.value, q4.unit) == (60e9, "op/s")
    assert hw.measured_value("read_dram_bandwidth_t1") is not None
    assert {figure.kind for figure in hw.figures()} == {"measured"}
    assert not hw.has_peak("vector", "fp16")  # unknown stays absent
    # 512e9 operations a second / 4 GHz / 2 threads = 64 per clock and core
    rate = hw.rate("vector", "fp32")
    assert rate.op_per_clock is not None
    assert rate.op_per_clock.value == 64


def test_a_disturbed_ceiling_is_the_best_batch_and_says_so() -> None:
    found = hardware_file.describe_cpu(_writer(noisy=True).campaign(complete=True))
    peak = found["compute"]["vector"]["fp32"]["peak"]
    # best batch 1 s, median 2 s
    assert peak["value"] == 512e9
    assert "median 2.56e+11" in peak["note"]


def test_without_a_bandwidth_there_is_no_hardware_file() -> None:
    writer = _writer()
    writer.records = writer.records[:1]
    with pytest.raises(InputError, match="no DRAM"):
        hardware_file.describe_cpu(writer.campaign(complete=False))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AMD EPYC 9654 96-Core Processor", "amd-epyc-9654-96"),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "intel-xeon"),
        ("", "cpu"),
    ],
)
def test_slug(name: str, expected: str) -> None:
    assert hardware_file.slug(name) == expected


# --- files on disk ------------------------------------------------------------------------------------


def test_overwriting_needs_force(tmp_path: Path) -> None:
    for name in ("a.json", "a.yaml"):
        (tmp_path / name).write_text("precious", encoding="utf-8")
        with pytest.raises(InputError, match="exists"):
            Target.of(tmp_path / "a.yaml", force=False)
        (tmp_path / name).unlink()
    (tmp_path / "a.json").write_text("old", encoding="utf-8")
    assert Target.of(tmp_path / "a.json", force=True).yaml == tmp_path / "a.yaml"


@pytest.mark.parametrize("out", ["x.txt", "no/such/folder/x.yaml"])
def test_bad_targets(out: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--out"):
        Target.of(tmp_path / out, force=False)


def test_atomic_write_leaves_the_old_file_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    storage.write_atomic(path, "old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        storage.write_atomic(path, "new")
    monkeypatch.undo()
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


# --- the command --------------------------------------------------------------------------------------


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer(pretty_exceptions_enable=False)
    bench.register(made)
    return made


def _fake_run(records: list[Record], *, stop: bool = False):  # type: ignore[no-untyped-def]
    def run_it(**options):  # type: ignore[no-untyped-def]
        options["keep"](records)
        if stop:
            raise KeyboardInterrupt
        return records, []

    return run_it


def test_command_writes_both_files(app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_run, "run", _fake_run(_writer().records))
    out = tmp_path / "my.yaml"
    result = CliRunner().invoke(app, ["bench", "cpu", "--quick", "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert Campaign.model_validate_json(result.stdout).run.mode == "quick"
    assert load_campaign(tmp_path / "my.json").run.complete
    assert out.exists()
    assert run(app, ["bench", "cpu", "--quick", "--out", str(out)]) == 2  # refused: they are there


def test_interruption_keeps_the_finished_part(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_run, "run", _fake_run(_writer().records[:1], stop=True))
    result = CliRunner().invoke(app, ["bench", "cpu", "--out", str(tmp_path / "my.json")])
    assert result.exit_code == bench.INTERRUPTED
    kept = load_campaign(tmp_path / "my.json")
    assert not kept.run.complete
    assert len(kept.records) == 1
    assert not (tmp_path / "my.yaml").exists()  # one rate does not describe a machine


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_real_interruption(tmp_path: Path) -> None:
    """SIGTERM in the middle of a running campaign: a readable partial file and status 130."""
    out = tmp_path / "real.json"
    command = [
        sys.executable,
        "-c",
        "import typer,sys; from viewer.cli import bench, common; a=typer.Typer(); bench.register(a);"
        f"sys.exit(common.run(a, ['bench','cpu','--out',{str(out)!r}]))",
    ]
    process = subprocess.Popen(
        command, cwd=REPO, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "[2/" in line:
            os.kill(process.pid, signal.SIGTERM)
            break
    process.stderr.read()
    assert process.wait(timeout=60) == bench.INTERRUPTED
    kept = load_campaign(out)
    assert not kept.run.complete
    assert len(kept.records) >= 2


def test_build_only_as_data(app: typer.Typer, capsys: pytest.CaptureFixture[str]) -> None:
    from viewer.bench import build

    if build.find_compiler() is None:
        pytest.skip(build.NO_COMPILER)
    code = run(app, ["bench", "cuda", "--build-only", "--arch", "sm_90a", "--kernel", "launch", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert code == 0
    assert [(r["kernel"], r["arch"], r["status"]) for r in rows] == [
        ("launch.empty", "sm_90a", "native"),
        ("launch.chain", "sm_90a", "native"),
    ]
    assert {"instruction", "registers", "spill_bytes", "problems"} <= set(rows[0])


@pytest.mark.parametrize(
    "words",
    [
        ["--build-only", "--arch", "sm_1"],
        ["--build-only", "--arch", "banana"],
        ["--build-only", "--kernel", "nothing"],
        ["--build-only", "--compiler", "clang"],
    ],
)
def test_bad_input_is_one_line_and_status_2(
    app: typer.Typer, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, ["bench", "cuda", *words]) == 2
    errors = capsys.readouterr().err.strip()
    assert errors.startswith("roofline: ")
    assert "\n" not in errors


def test_products_are_predicted_from_the_roofs() -> None:
    writer = _writer()
    gemm = Job("cpu.gemm_f32.1024.t2", "gemm_f32", 2, size=1024)
    gemv = Job("cpu.gemv_f32.8192.t2", "gemv_f32", 2, size=8192)

    def timed(job: Job, seconds: float, ops: float, moved: float) -> Record:
        row = {"seconds": [seconds] * 6, "clock_hz": [0.0] * 6, "reps": 1, "stopped": "converged",
               "other_cpu_share": 0.0, "ops_per_rep": ops, "bytes_per_rep": moved, "error": 0.0}  # fmt: skip
        return cpu_run.make_record(job, [row], None)

    matrix = 4.0 * (8192**2 + 2 * 8192)
    writer.records += [timed(gemm, 5e-3, 2.0 * 1024**3, 0.0), timed(gemv, 5e-3, 2.0 * 8192**2, matrix)]
    products, vectors = products_against_roofs(writer.campaign(complete=True))
    # 2 x 1024^3 / 512e9 = 4.194 ms of 5 measured: 16.1 % below the roof
    assert (products["bound"], products["bound_ms"]) == ("compute", pytest.approx(4.194304))
    assert products["error_pct"] == pytest.approx(-16.11, abs=0.01)
    # 268.5 MB / 60e9 = 4.475 ms
    assert vectors["bound"] == "memory (dram)"
    assert vectors["bound_ms"] == pytest.approx(matrix / 60e9 * 1e3)
