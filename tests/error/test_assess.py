"""From settings to an ordinal class, and user sensitivities."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.error import (
    RISK_CLASSES,
    Assumed,
    OpSetting,
    assess,
    assumed_sqnr_db,
    load_sensitivities,
    risk_class,
)
from viewer.error.assess import output_noise, stream_noise
from viewer.errors import InputError

LINEAR = [("q_proj", 1.0), ("k_proj", 1.0), ("v_proj", 1.0), ("o_proj", 1.0),
          ("gate_proj", 2.7), ("up_proj", 2.7), ("down_proj", 2.7)]  # fmt: skip
ORDER = [label for _, label in RISK_CLASSES]


def _model(
    weight: str | None, act: str | None = None, kv: str | None = None, layers: int = 40
) -> list[OpSetting]:
    settings = [
        OpSetting(op, layer, weight, act, None, size * 26e6) for layer in range(layers) for op, size in LINEAR
    ]
    if kv:
        settings += [OpSetting("attention", layer, None, None, kv) for layer in range(layers)]
    return settings


def test_independent_noises_add() -> None:
    # 20 dB and 20 dB: 0.01 + 0.01 = 0.02 -> 16.99 dB; nothing, or an exact operand, adds nothing
    assert output_noise(20.0, 20.0) == pytest.approx(0.02)
    assert output_noise(20.0, None, math.inf) == pytest.approx(0.01)
    row = assess([("q_proj", 0, "int8", "int8", None, 1.0)]).rows()[0]
    w, a = assumed_sqnr_db("int8", "gaussian"), assumed_sqnr_db("int8", "outlier_channels")
    expected = -10 * math.log10(10 ** (-w / 10) + 10 ** (-a / 10))
    assert row["output_sqnr_db"] == pytest.approx(expected)
    assert row["distribution"] == "assumed"


def test_stream_noise_by_hand() -> None:
    # sublayers in order: attention 0 (weight 1/1), mlp 0 (1/2), attention 1 (1/3), mlp 1 (1/4); fused qkv is
    # 3 products: 3 * 0.1 + 0.1 / 2 + 0.1 / 3 + 2 * 0.1 / 4 + head 0.1 = 0.5333
    ops = [("qkv_proj", 0, 0.1), ("down_proj", 0, 0.1), ("o_proj", 1, 0.1), ("gate_up_proj", 1, 0.1),
           ("lm_head", None, 0.1)]  # fmt: skip
    assert stream_noise(ops) == pytest.approx(0.3 + 0.05 + 0.1 / 3 + 0.05 + 0.1)


def test_fusion_does_not_change_the_score() -> None:
    split = [(op, 0, "int4_g128", None, None, 1.0) for op in ("q_proj", "k_proj", "v_proj")]
    fused = [("qkv_proj", 0, "int4_g128", None, None, 3.0)]
    assert assess(split).stream_sqnr_db == pytest.approx(assess(fused).stream_sqnr_db)
    halves = [("qk_matmul", 0, None, None, "int8", 0.0), ("pv_matmul", 0, None, None, "int8", 0.0)]
    whole = [("attention", 0, None, None, "int8", 0.0)]
    assert assess(halves).stream_sqnr_db == pytest.approx(assess(whole).stream_sqnr_db)


@pytest.mark.parametrize(
    ("weight", "act", "risk"),
    [
        ("bf16", None, "negligible"),
        ("int8", None, "negligible"),
        ("fp8_e4m3_channel", "fp8_e4m3_channel", "low"),
        ("int4_g128_asym", None, "moderate"),
        ("nvfp4", None, "moderate"),
        ("int3_g128_asym16", None, "high"),
        ("int2_g128_asym16", None, "severe"),
        ("bf16+2:4", None, "severe"),
    ],
)
def test_classes_of_usual_settings(weight: str, act: str | None, risk: str) -> None:
    assert assess(_model(weight, act)).risk == risk


def test_risk_grows_with_every_further_quantization() -> None:
    steps = [_model("bf16"), _model("int8"), _model("int8", "int8"), _model("int4_g128", "int8"),
             _model("int4_g128", "int8", "int4_g128"), _model("int4", "int4", "int4_g128")]  # fmt: skip
    found = [assess(step) for step in steps]
    streams = [f.stream_sqnr_db for f in found]
    assert streams == sorted(streams, reverse=True)
    ranks = [ORDER.index(f.risk) for f in found]
    assert ranks == sorted(ranks)


@given(st.integers(1, 120))
def test_depth_counts_as_its_logarithm(layers: int) -> None:
    one, deep = assess(_model("int4_g128", layers=1)), assess(_model("int4_g128", layers=layers))
    assert deep.stream_sqnr_db <= one.stream_sqnr_db + 1e-9
    # sum of 1 / i up to 2 L is at most 1 + ln(2 L); the first sublayers hold at least 4 / 5.5 of one layer's
    # noise
    ratio = 10 ** ((one.stream_sqnr_db - deep.stream_sqnr_db) / 10)
    assert ratio <= 1 + math.log(2 * layers)


def test_frame_columns_and_summary() -> None:
    result = assess([*_model("int4_g128", layers=2), ("mlp_norm", 0, None, None, None, 0.0),
                     ("lm_head", None, "bf16", None, None, 1e6)])  # fmt: skip
    rows = result.rows()
    assert len(rows) == 15  # the norm has no format
    assert set(rows[0]) == set(result.columns)
    assert rows[-1]["op"] == "lm_head"
    worst = assumed_sqnr_db("int4_g128")
    assert result.min_sqnr_db == pytest.approx(worst)
    assert result.median_sqnr_db == pytest.approx(worst)
    assert result.mean_sqnr_db > worst
    assert result.distribution == "assumed"
    assert not any("perplexity" in name for name in result.columns)


def test_nothing_quantized_is_exact() -> None:
    for settings in ([], [("attn_norm", 0, None, None, None, 0.0)], [("q_proj", 0, "fp64", None, None, 1.0)]):
        result = assess(settings)
        assert (result.stream_sqnr_db, result.risk) == (math.inf, "negligible")


def test_measured_values_replace_the_assumption() -> None:
    settings = [("q_proj", 0, "int8", None, None, 1.0), ("q_proj", 1, "int8", None, None, 1.0)]
    half = assess(settings, measured={("q_proj", 0, "int8"): 30.0})
    assert [row["distribution"] for row in half.rows()] == ["measured", "assumed"]
    assert half.rows()[0]["weight_sqnr_db"] == 30.0
    assert half.distribution == "assumed"
    both = {("q_proj", 0, "int8"): 30.0, ("q_proj", 1, "int8"): 33.0}
    assert assess(settings, measured=both).distribution == "measured"
    # an assumed activation keeps the whole "assumed"
    mixed = [("q_proj", 0, "int8", "int8", None, 1.0)]
    assert assess(mixed, measured=both).distribution == "assumed"


def test_other_assumptions() -> None:
    settings = [("q_proj", 0, "int8", "int8", None, 1.0)]
    calm = assess(settings, assume=Assumed(activations="gaussian"))
    assert calm.min_sqnr_db > assess(settings).min_sqnr_db + 10
    with pytest.raises(InputError, match="normal"):
        assess(settings, assume=Assumed(weights="normal"))
    with pytest.raises(InputError, match="int9_g0"):
        assess([("q_proj", 0, "int9_g0", None, None, 1.0)])


def test_sensitivities_are_relative() -> None:
    settings = _model("int4_g128", layers=2)
    plain = assess(settings)
    doubled = assess(settings, sensitivities={(op, None): 2.0 for op, _ in LINEAR})
    assert doubled.stream_sqnr_db == pytest.approx(plain.stream_sqnr_db)
    skewed = {(op, layer): 9.0 if layer == 0 else 1.0 for op, _ in LINEAR for layer in range(2)}
    # layer 0 counts 9 / 5, layer 1 counts 1 / 5: the early layer has more noise in the stream
    found = assess(settings, sensitivities=skewed)
    assert found.stream_sqnr_db < plain.stream_sqnr_db
    assert found.rows()[0]["sensitivity"] == pytest.approx(1.8)
    with pytest.raises(InputError, match="above 0"):
        assess(settings, sensitivities={("q_proj", 0): -1.0})


def test_class_limits() -> None:
    assert [risk_class(v) for v in (math.inf, 20.0, 19.9, 5.0, 0.0, -2.1)] == [
        "negligible", "negligible", "low", "moderate", "high", "severe"]  # fmt: skip


def test_sensitivities_from_files(tmp_path: Path) -> None:
    expected = {("q_proj", 0): 2.0, ("down_proj", None): 0.5}
    table = tmp_path / "s.csv"
    table.write_text("op,layer,sensitivity\nq_proj,0,2.0\ndown_proj,,0.5\n")
    assert load_sensitivities(table) == expected
    entries = [{"op": "q_proj", "layer": 0, "sensitivity": 2}, {"op": "down_proj", "sensitivity": 0.5}]
    for content in (entries, {"q_proj": {"0": 2}, "down_proj": 0.5}):
        path = tmp_path / "s.json"
        path.write_text(json.dumps(content))
        assert load_sensitivities(path) == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "op,layer\nq_proj,0\n", "missing column sensitivity"),
        ("a.csv", "op,layer,sensitivity\nq_proj,0,x\n", "line 2: sensitivity must be a number, got 'x'"),
        ("a.csv", "op,layer,sensitivity\nq_proj,0,nan\n", "above 0"),
        ("a.csv", "op,layer,sensitivity\nq_proj,-1,1\n", "layer must be a whole number"),
        ("a.csv", "op,layer,sensitivity\nq_proj,0,1\nq_proj,0,2\n", "twice"),
        ("a.csv", "op,layer,sensitivity\n", "no sensitivities"),
        ("a.json", "[1]", "entry 0"),
        ("a.json", "{", "not JSON"),
        ("a.json", "3", "list or an object, got int"),
        ("a.json", '{"q_proj": true}', "number above 0"),
        ("a.txt", "", "ends in .csv or .json"),
    ],
)
def test_bad_sensitivity_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_sensitivities(path)
    assert "\n" not in str(caught.value)


def test_missing_and_binary_sensitivity_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such"):
        load_sensitivities(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        load_sensitivities(tmp_path / "b.csv")
