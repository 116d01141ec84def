"""Whole tables: predict keeps rows and order, calibrate repeats a known truth, validate scores it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from viewer.calibration import frames, gemm, store
from viewer.calibration.devices import device
from viewer.calibration.estimate import estimate, estimate_work
from viewer.calibration.tables import read_frame, write_frame
from viewer.errors import InputError
from viewer.validate import validate_frame

A100 = "nvidia/a100-sxm-80gb"
TRUTH = {"t0": 2.5, "tp": 2.0, "ec": 0.9, "em": 0.7, "ls": 1.1, "p": 4.0, "al": 0.3, "ka": 1.8, "q": 1.0,
         "te": 0.3, "g": 0.05, "pf": 3.0, "sk": 1.5, "ep": 1.5}  # fmt: skip


@pytest.fixture(scope="module")
def measured() -> pd.DataFrame:
    """240 rows whose times are M2 with known constants and 3 % noise."""
    rng = np.random.default_rng(3)
    shape = {"m": 2.0 ** rng.integers(0, 13, 240), "n": rng.choice([768, 2048, 4096, 11008, 16384], 240),
             "k": rng.choice([1024, 4096, 8192, 11008], 240)}  # fmt: skip
    table = {
        **gemm.DEFAULTS,
        **{k: np.asarray(v, float) for k, v in shape.items()},
        "weight_copies": np.zeros(240),
    }
    time = gemm.m2(table, device(A100), TRUTH) * np.exp(rng.normal(0, 0.03, 240))
    return pd.DataFrame({"hardware": A100, "op": "gemm", **shape, "act_format": "bf16", "library": "lab",
                         "weight_copies": 0, "time_us": time * 1e6, "source": "made", "series": "lab-1"})  # fmt: skip


@pytest.fixture(scope="module")
def book(measured: pd.DataFrame) -> dict[str, store.Calibration]:
    made, notes = frames.calibrate_frame(measured, A100, created="2025-01-01", command="roofline calibrate")
    assert notes == []
    return {A100: made}


def test_calibration_scores_itself_on_left_out_groups(book: dict[str, store.Calibration]) -> None:
    (fit,) = book[A100].classes
    assert fit.key == "bf16*bf16|lab|graph"
    assert (fit.points, fit.groups) == (240, 20)
    # the noise has a mean size of 3 % x sqrt(2/pi) = 2.4 %
    assert fit.scores["M2"]["non_tiny"] < 4.5
    assert fit.scores["M3"]["non_tiny"] < 4.5
    assert fit.scores["M0"]["non_tiny"] > fit.scores["M1"]["non_tiny"] > fit.scores["M3"]["non_tiny"]
    assert fit.sources == ("made lab-1",)


def test_validation_of_the_same_kind_of_data(
    measured: pd.DataFrame, book: dict[str, store.Calibration]
) -> None:
    result = validate_frame(measured, calibrations=book)
    assert result.mape < 0.04
    everything = result.scores.query("hardware == 'all' and op == 'all' and regime == 'all'").iloc[0]
    assert everything["rows"] == 240
    assert everything["coverage"] > 0.9
    assert everything["beats_bound"] == 0
    assert everything["m0_mape"] > everything["m1_mape"] > everything["mape"]
    assert set(result.rows["label"]) == {"calibrated"}


def test_predict_keeps_rows_order_and_columns(
    measured: pd.DataFrame, book: dict[str, store.Calibration]
) -> None:
    table = measured.drop(columns="time_us").head(6).copy()
    table["mine"] = list("abcdef")
    table.loc[table.index[1], "m"] = np.nan
    table.loc[table.index[2], "hardware"] = "nvidia/a1000000"
    table.loc[table.index[3], "op"] = "gem"
    table.loc[table.index[4], "act_format"] = "bf17"
    out = frames.predict_frame(table, calibrations=book)
    assert list(out.columns[: len(table.columns)]) == list(table.columns)
    assert list(out["mine"]) == list("abcdef")
    assert out["estimate_us"].notna().tolist() == [True, False, False, False, False, True]
    assert "positive numbers" in out["note"].iloc[1]
    assert "nvidia/a1000000" in out["note"].iloc[2]
    assert "did you mean 'gemm'" in out["note"].iloc[3]
    assert "bf17" in out["note"].iloc[4]
    good = out.dropna(subset="estimate_us")
    assert (good["bound_us"] <= good["low_us"]).all()
    assert (good["low_us"] <= good["estimate_us"]).all()
    assert (good["estimate_us"] <= good["high_us"]).all()
    assert set(good["bound"]) <= {"memory", "compute"}


def test_outside_the_data_the_interval_widens_and_says_so(book: dict[str, store.Calibration]) -> None:
    rows = pd.DataFrame({"hardware": A100, "op": "gemm", "m": [1024, 65536 * 4], "n": 4096, "k": 4096,
                         "library": "lab"})  # fmt: skip
    out = frames.predict_frame(rows, calibrations=book)
    width = np.log(out["high_us"] / out["estimate_us"])
    assert width.iloc[1] > 1.5 * width.iloc[0]
    assert out["note"].tolist()[0] == ""
    assert "outside" in out["note"].tolist()[1]


def test_kept_points_are_returned_exactly(measured: pd.DataFrame) -> None:
    some = measured.drop_duplicates(["m", "n", "k"])
    made, _ = frames.calibrate_frame(some, A100, created="x", command="roofline calibrate", keep_points=True)
    out = frames.predict_frame(some, calibrations={A100: made})
    assert out["estimate_us"].to_numpy() == pytest.approx(some["time_us"].to_numpy(), rel=1e-4)


def test_a_class_of_few_rows_stands_on_the_family(measured: pd.DataFrame) -> None:
    few = measured.head(8)
    made, notes = frames.calibrate_frame(few, A100, created="x", command="roofline calibrate")
    assert len(made.classes) + len(notes) >= 1


def test_one_point_equals_the_same_point_in_a_sweep(book: dict[str, store.Calibration]) -> None:
    m = np.array([1.0, 7.0, 300.0, 5000.0])
    chip = device(A100)
    columns = {"n": 4096, "k": 4096, "library": "lab"}
    sweep = estimate("gemm", {**columns, "m": m}, chip, calibrations=book)
    single = [float(estimate("gemm", {**columns, "m": v}, chip, calibrations=book).time_s) for v in m]
    assert sweep.time_s == pytest.approx(np.array(single))
    grid = estimate(
        "gemm", {**columns, "m": m[:, None], "n": np.array([[512, 4096]])}, chip, calibrations=book
    )
    assert grid.time_s.shape == (4, 2)
    assert grid.time_s[:, 1] == pytest.approx(sweep.time_s)


def test_launch_and_errors_of_estimates(book: dict[str, store.Calibration]) -> None:
    chip = device(A100)
    columns = {"m": 8, "n": 4096, "k": 4096}
    graph = estimate("gemm", columns, chip, calibrations=book)
    assert estimate("gemm", columns, chip, launch="eager", calibrations=book).time_s > graph.time_s
    for bad, message in [({"m": 8}, "needs n, k"), ({**columns, "m": 0}, "positive m"),
                         ({**columns, "act_format": "bf17"}, "bf17")]:  # fmt: skip
        with pytest.raises(InputError, match=message):
            estimate("gemm", bad, chip)
    with pytest.raises(InputError, match="launch"):
        estimate("gemm", columns, chip, launch="slow")


def test_every_described_device_gets_an_estimate() -> None:
    from hardware_specs import available, load

    for name in available():
        hardware = load(name)
        e = estimate("gemm", {"m": np.array([1, 64, 4096]), "n": 4096, "k": 4096}, hardware)
        assert (e.time_s >= e.bound_s).all(), name
        assert (e.low_s <= e.time_s).all(), name
        assert (e.high_s > e.time_s).all(), name
        assert e.label in ("calibrated", "family", "uncalibrated")


def test_generic_estimate_is_above_its_bound() -> None:
    from viewer.calibration.base import Work

    chip = device(A100)
    e = estimate_work(Work(np.array([1e12]), chip.peak("bf16"), np.array([1e6])), chip)
    # 1e12 / 312e12 / 0.6 + 3 us
    assert e.time_s[0] == pytest.approx(1e12 / 312e12 / 0.6 + 3e-6)
    assert e.bound_s[0] < e.time_s[0]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet", "t.tsv"])
def test_tables_survive_a_round_trip(tmp_path: Path, measured: pd.DataFrame, name: str) -> None:
    if "parquet" in name:
        pytest.importorskip("pyarrow")
    write_frame(measured.head(5), tmp_path / name)
    again = read_frame(tmp_path / name)
    assert list(again.columns) == list(measured.columns)
    assert again["time_us"].to_numpy() == pytest.approx(measured["time_us"].head(5).to_numpy())
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_unreadable_tables_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_frame(tmp_path / "none.csv")
    (tmp_path / "x.parquet").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot read"):
        read_frame(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="no column 'op'"):
        frames.predict_frame(pd.DataFrame({"m": [1]}))
    with pytest.raises(InputError, match="time_us"):
        validate_frame(pd.DataFrame({"op": ["gemm"], "hardware": [A100]}))
