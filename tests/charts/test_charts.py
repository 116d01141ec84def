"""Charts are plain dicts that plotly accepts, and place ops where the arithmetic says."""

from __future__ import annotations

import json
import math

import pytest

from hardware_specs import load
from viewer.analysis import Analysis, analyze
from viewer.charts.base import decades, percent, seconds, significant
from viewer.charts.memory_bar import memory_bar
from viewer.charts.palette import BOUND_COLOURS, shape_of, with_alpha
from viewer.charts.roofline import points_of, roofline
from viewer.charts.roofs import roofs_of
from viewer.roofline import BOUNDS
from viewer.workload import Decode, Generation


@pytest.fixture(scope="module")
def result() -> Analysis:
    return analyze("llama-2-13b", "nvidia/a6000", Generation(batch=8, prompt=2048, output=256))


def test_every_bound_of_the_results_has_one_colour() -> None:
    assert set(BOUNDS) <= set(BOUND_COLOURS)
    assert len(set(BOUND_COLOURS.values())) == len(BOUND_COLOURS)


def test_points_lie_at_their_arithmetic(result: Analysis) -> None:
    """down_proj of a decode step, batch 8: 2*8*13824*5120 FLOP over its bytes; y = FLOP / time."""
    point = next(p for p in points_of(result.rows) if p["id"] == "decode/0-39/down_proj")
    flops = 2 * 8 * 13824 * 5120
    row = next(r for r in result.rows if r["name"] == "down_proj" and r["phase"] == "decode")
    assert point["x"] == pytest.approx(flops / row["dram_bytes"])
    assert point["y"] == pytest.approx(flops / row["time_s"])
    assert row["bound"] == "memory"
    assert point["y"] == pytest.approx(768e9 * point["x"])  # memory-bound: on the slope


def test_ops_without_arithmetic_are_no_points(result: Analysis) -> None:
    assert not [p for p in points_of(result.rows) if p["row"]["name"] == "embed"]


def test_shares_sum_to_one_per_phase(result: Analysis) -> None:
    share = sum(p["share"] for p in points_of(result.rows) if p["row"]["phase"] == "prefill")
    embed = next(r for r in result.rows if r["name"] == "embed" and r["phase"] == "prefill")
    total = sum(r["repeat"] * r["time_s"] for r in result.rows if r["phase"] == "prefill")
    assert share + embed["time_s"] / total == pytest.approx(1.0)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("compact", [False, True])
def test_figures_are_small_and_plotly_accepts_them(result: Analysis, theme: str, compact: bool) -> None:
    import plotly.graph_objects as go

    roofs = roofs_of(result.plan.hardware, {("tensor", "fp16")})
    older = analyze("llama-2-13b", "nvidia/a6000", Decode(batch=1, context=1024)).rows
    for spec in (
        roofline(result.rows, roofs, theme, older, compact),
        memory_bar([("now", result.memory)], theme),
    ):
        go.Figure(spec)  # raises on a property that plotly does not know
        assert len(json.dumps(spec)) < 40_000


def test_the_axes_hold_still_while_the_batch_changes() -> None:
    roofs = roofs_of(load("nvidia/a6000"), {("tensor", "fp16")})
    spans = []
    for batch in (4, 8, 16):
        rows = analyze("llama-2-13b", "nvidia/a6000", Decode(batch=batch, context=2048)).rows
        figure = roofline(rows, roofs)
        spans.append((figure["layout"]["xaxis"]["range"], figure["layout"]["yaxis"]["range"]))
    assert spans[0] == spans[1] == spans[2]


def test_a_baseline_adds_hollow_points_and_arrows(result: Analysis) -> None:
    roofs = roofs_of(result.plan.hardware, {("tensor", "fp16")})
    before = analyze("llama-2-13b", "nvidia/a6000", Generation(batch=1, prompt=2048, output=256)).rows
    figure = roofline(result.rows, roofs, baseline=before)
    ghosts = next(t for t in figure["data"] if t.get("name") == "baseline")
    assert all(symbol.endswith("-open") for symbol in ghosts["marker"]["symbol"])
    assert any(note["showarrow"] for note in figure["layout"]["annotations"])


def test_roofs_carry_value_and_source() -> None:
    """RTX A6000: 154.8 TFLOP/s FP16 tensor, 768 GB/s DRAM (its datasheet)."""
    roofs = roofs_of(load("nvidia/a6000"), {("tensor", "fp16")}, bandwidth_scale=2.0)
    fp16 = next(r for r in roofs if "fp16" in r["types"] and r["unit"] == "tensor")
    assert (fp16["value"], fp16["used"], fp16["kind"]) == (154.8e12, True, "datasheet")
    dram = next(r for r in roofs if r["unit"] == "dram")
    assert dram["value"] == 2 * 768e9
    assert all(r["source"] for r in roofs)


def test_every_device_draws(result: Analysis) -> None:
    from hardware_specs import available

    for name in available():
        roofs = roofs_of(load(name), set())
        figure = roofline(result.rows, roofs)
        assert figure["data"], name
        assert all(math.isfinite(v) for v in figure["layout"]["yaxis"]["range"]), name


def test_texts_of_a_hostile_name_are_escaped(result: Analysis) -> None:
    rows = [{**row, "name": "<img src=x onerror=alert(1)>"} for row in result.rows]
    figure = roofline(rows, roofs_of(result.plan.hardware, set()))
    shown = [text for t in figure["data"] for c in t.get("customdata", []) for text in c[1:]]
    shown += [note["text"] for note in figure["layout"]["annotations"]]
    assert shown
    assert not any("<img" in text for text in shown)


def test_words_for_numbers() -> None:
    assert seconds(0.0357) == "35.7 ms"
    assert significant(12345.6) == "12,300"
    assert percent(0.4213) == "42.1 %"
    assert percent(0.0002) == "<0.1 %"
    assert decades([2.0, 300.0]) == (1.0, 1000.0)
    assert with_alpha("#0072b2", 0.5) == "rgba(0,114,178,0.5)"
    assert shape_of("attention") == "diamond"
    assert shape_of("rms_norm") == "square"
