"""``roofline predict | validate | calibrate`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from viewer.cli import main

ROWS = """hardware,op,act_format,weight_format,m,n,k,launch,l2,weight_copies,time_us,series
nvidia/h100-sxm,gemm,bf16,bf16,1,8192,8192,graph,cold,5,52.0,vllm-0.24.0
nvidia/h100-sxm,gemm,bf16,bf16,4096,8192,8192,graph,cold,5,760.0,vllm-0.24.0
nvidia/h100-sxm,gemm,bf16,bf16,0,8192,8192,graph,cold,5,1.0,vllm-0.24.0
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    path.write_text(ROWS)
    return path


def test_predict_writes_the_contract_columns(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.csv"
    assert main(["predict", "--data", str(table), "--out", str(out)]) == 0
    frame = pd.read_csv(out)
    assert list(frame.columns[:12]) == ROWS.splitlines()[0].split(",")
    assert {"bound_us", "estimate_us", "low_us", "high_us", "bound", "note"} <= set(frame.columns)
    # 8192 x 8192 x 2 B / 3.352 TB/s = 40.0 us and 16 KiB of x and y each
    assert frame["bound_us"].iloc[0] == pytest.approx(40.04, abs=0.05)
    assert np.isnan(frame["estimate_us"].iloc[2])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "2 of 3 rows predicted" in captured.err


def test_predict_without_estimates(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert main(["predict", "--data", str(table), "--out", str(out), "--rung", "M0"]) == 0
    assert pd.read_csv(out)["estimate_us"].isna().all()


def test_validate_json_and_its_limit(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--data", str(table), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["rows"] == 2
    keys = {"hardware", "op", "format", "regime", "mape", "median", "p90", "bias", "coverage", "beats_bound", "m0_mape",
            "m1_mape"}  # fmt: skip
    assert keys <= set(data["scores"][0])
    assert main(["validate", "--data", str(table), "--max-mape", "0", "--csv"]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("hardware,op")
    assert "over the limit" in captured.err
    assert main(["validate", "--data", str(table), "--max-mape", "1000"]) == 0
    assert "nvidia/h100-sxm" in capsys.readouterr().out


def test_calibrate_then_use_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"op": "gemm", "m": rng.integers(1, 4096, 60), "n": rng.choice([1024, 4096, 8192], 60),
                         "k": rng.choice([2048, 8192], 60), "library": "mine"})  # fmt: skip
    seconds = 20e-6 + 2.0 * rows["m"] * rows["n"] * rows["k"] / 50e12
    data = tmp_path / "mine.csv"
    rows.assign(time_us=1e6 * seconds).to_csv(data, index=False)
    made = tmp_path / "mine.json"
    options = ["--data", str(data), "--hardware", "nvidia/a6000"]
    assert main(["calibrate", *options, "--out", str(made), "--folds", "3"]) == 0
    captured = capsys.readouterr()
    assert "left out" in captured.err
    assert str(made) in captured.out
    assert main(["validate", *options, "--calibration", str(made), "--max-mape", "1"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "--data", "none.csv", "--out", "x.csv"], "no such file"),
        (["validate", "--data", "none.csv"], "no such file"),
        (["calibrate", "--data", "none.csv", "--hardware", "nvidia/a6000"], "no such file"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_unknown_rung_and_hardware(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "o.csv")
    assert main(["predict", "--data", str(table), "--out", out, "--rung", "M9"]) == 2
    assert "M9" in capsys.readouterr().err
    assert main(["calibrate", "--data", str(table), "--hardware", "nvidia/h1000"]) == 2
    assert "h1000" in capsys.readouterr().err
