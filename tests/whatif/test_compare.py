"""Side by side: the same numbers as single analyses; the survey's three regimes are told apart and named."""

from __future__ import annotations

import numpy as np
import pytest

from viewer import Decode, Generation, InputError, Prefill, analyze, compare
from viewer.analysis import make_scenario
from viewer.whatif.opdelta import canonical

BASE = make_scenario("llama-2-13b", "nvidia/a6000", Decode(context=2047))
SETTINGS = ["w16a16", "w8a8-int8", "w4a16-g128", "w4a16-g128+kv4"]


def test_rows_are_single_analyses():
    found = compare(BASE, SETTINGS, estimates=False)
    for row, setting in zip(found.rows, SETTINGS, strict=True):
        single = analyze(BASE.with_(compression=setting))
        assert row["time_s"] == single.totals.time_s
        assert row["total_bytes"] == single.memory.total_bytes
        assert row["bitops"] == single.totals.bitops
        assert row["energy_j"] == single.totals.energy_j
    # worked totals: 35.65 ms, 3.20x with W4A16, 3.74x with a 4-bit cache on top (weights and cache only)
    gains = [row["speedup"] for row in found.rows]
    assert gains[2] == pytest.approx(3.20, abs=0.01)
    assert gains[3] == pytest.approx(3.74, abs=0.01)


def test_error_and_risk_follow_the_bits():
    found = compare(BASE, ["w16a16", "w8a16", "w4a16-g128", "w3a16-g128", "w2a16-g128"], estimates=False)
    stream = [row["stream_sqnr_db"] for row in found.rows]
    assert stream[0] == np.inf
    assert stream == sorted(stream, reverse=True)
    assert [row["risk"] for row in found.rows] == ["negligible", "negligible", "moderate", "high", "severe"]
    # symmetric 4-bit groups of 128 on Gaussian weights: 18.6 dB per matrix
    assert found.rows[2]["min_sqnr_db"] == pytest.approx(18.6, abs=0.3)


def test_the_three_regimes_on_one_op():
    # qkv_proj W16 -> W4: T* is 219 and 57 tokens (5120-wide; merged ones a little lower), so 16, 128 and 512 tokens
    # are memory-memory, memory-compute and compute-compute
    seen = []
    for prompt in (16, 128, 512):
        base = BASE.with_(workload=Prefill(prompt=prompt))
        ops = compare(base, ["w16a16", "w4a16-g128"], estimates=False).op_rows
        row = next(r for r in ops if r["name"] == "qkv_proj")
        seen.append((row["regime"], row["regime_name"]))
        if prompt == 512:
            assert row["speedup"] == pytest.approx(1.0, rel=1e-12)
            assert "fewer bytes bring nothing" in row["why"]
    assert seen == [
        (1, "memory-bound before and after"),
        (2, "memory-bound turns compute-bound"),
        (3, "compute-bound before and after"),
    ]


def test_integers_raise_the_roof():
    base = BASE.with_(workload=Prefill(prompt=2048))
    ops = compare(base, ["w16a16", "w8a8-int8"], estimates=False).op_rows
    row = next(r for r in ops if r["name"] == "qkv_proj")
    assert row["speedup"] == pytest.approx(2.0, rel=0.001)
    assert "the faster math type brings the gain" in row["why"]
    quantize = next(r for r in ops if r["name"].startswith("quantize"))
    assert quantize["why"].startswith("runs only after")


@pytest.mark.parametrize("load", [Decode(batch=8), Prefill(prompt=300), Generation(prompt=64, output=8)])
@pytest.mark.parametrize("setting", ["w8a8-int8+kv8", "gguf-q4_k_m", "2:4"])
def test_ops_add_up_to_both_totals(load, setting):
    # mixed formats split layers and un-merge q, k, v: still every op is counted once on both sides
    base = BASE.with_(workload=load)
    found = compare(base, ["w16a16", setting], estimates=False)
    for column, row in (("time_s_before", found.rows[0]), ("time_s_after", found.rows[1])):
        total = sum(r["repeat"] * r[column] for r in found.op_rows)
        assert total == pytest.approx(row["time_s"], rel=1e-12)
    assert sum(found.regimes().values()) == pytest.approx(1.0)


def test_other_models_and_devices_side_by_side():
    other = make_scenario("llama-3.1-8b", "nvidia/h100-sxm", Decode(context=2047))
    found = compare([BASE, other], estimates=False)
    assert found.labels[0].startswith("llama-2-13b, nvidia/a6000")
    assert found.rows[1]["speedup"] > 1
    assert {r["scenario"] for r in found.op_rows} == {found.labels[1]}


def test_estimate_lies_above_the_bound():
    (row,) = compare(BASE, ["w16a16"]).rows
    assert row["bound_time_s"] <= row["estimate_time_s"]
    assert row["estimate_low_s"] <= row["estimate_time_s"] <= row["estimate_high_s"]


def test_chart_and_frames():
    found = compare(BASE, SETTINGS)
    chart = found.chart()
    assert next(t["x"] for t in chart["data"] if t["name"] == "bound") == [
        1e3 * r["bound_time_s"] for r in found.rows
    ]
    assert len(found.frame) == 4
    assert set(found.ops.scenario) == set(SETTINGS[1:])


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("q_proj", "qkv_proj"),
        ("qkv_proj", "qkv_proj"),
        ("gate_up_proj", "gate_up_proj"),
        ("shared_up_proj", "shared_gate_up_proj"),
        ("encoder_k_proj", "encoder_qkv_proj"),
        ("down_proj", "down_proj"),
    ],
)
def test_fused_and_apart_are_the_same_work(name, whole):
    assert canonical(name) == whole


def test_too_many():
    with pytest.raises(InputError, match="1 to 64 scenarios, not 65"):
        compare([BASE.with_(workload=Decode(batch=b)) for b in range(1, 66)])
