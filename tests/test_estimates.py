"""Whole-step estimates: never below the bound, labelled, with an interval; one kernel class per op."""

from __future__ import annotations

import pytest

from viewer import Decode, Generation, Prefill, analyze
from viewer.estimates import combined_interval, equal_prefill, worst_label
from viewer.expert_estimates import fused_experts
from viewer.planned import plan_of
from viewer.workload import Segment, causal_pairs

CASES = [
    ("llama-3.1-8b", "nvidia/h100-sxm", Decode(batch=16, context=2000), "w16a16"),
    ("llama-3.1-8b", "nvidia/a100-sxm-80gb", Prefill(prompt=1024), "w8a8-int8"),
    ("mixtral-8x7b", "nvidia/h200-sxm", Decode(batch=8, context=100), "checkpoint"),
    ("deepseek-v2-lite", "nvidia/l40s", Decode(batch=4, context=300), "w4a16-g128+kv8"),
    ("mamba2-2.7b", "nvidia/a6000", Decode(batch=2), "checkpoint"),
    ("llama-2-7b", "amd/mi300x", Generation(prompt=64, output=8), "checkpoint"),
    ("llama-2-7b", "cpu/epyc-9654", Decode(), "gguf-q4_k"),
]


@pytest.mark.parametrize(("model", "hardware", "load", "compression"), CASES)
def test_estimates_are_above_the_bound_and_inside_their_interval(model, hardware, load, compression):
    bound = analyze(model, hardware, load, compression)
    result = analyze(model, hardware, load, compression, fidelity="estimate")
    assert result.totals.label in ("calibrated", "family", "uncalibrated")
    assert result.totals.time_s > bound.totals.time_s
    assert result.totals.time_low_s <= result.totals.time_s <= result.totals.time_high_s
    for row in result.rows:
        assert row["time_s"] >= row["lower_time_s"] * (1 - 1e-12)
        assert row["time_low_s"] <= row["time_s"] <= row["time_high_s"] * (1 + 1e-12)
        assert row["label"] in ("calibrated", "family", "uncalibrated")
    total = sum(row["repeat"] * row["time_s"] for row in result.rows)
    assert total == pytest.approx(result.totals.time_s)


def test_eager_launches_cost_more_than_graphs():
    graph, eager = (
        analyze("llama-3.1-8b", "nvidia/h100-sxm", Decode(), fidelity="estimate", launch=launch).totals.time_s
        for launch in ("graph", "eager")
    )
    # 32 layers x 9 kernels + 3, 4 us of host time each
    assert eager - graph == pytest.approx(291 * 4e-6, rel=1e-6)


def test_a_chunk_is_a_prefill_with_as_many_pairs():
    seg = Segment(1.0, 512.0, 2048.0)
    s = equal_prefill(seg)
    assert s * (s + 1) / 2 <= causal_pairs(seg) < (s + 1) * (s + 2) / 2
    assert equal_prefill(Segment(1.0, 777.0, 0.0)) == 777


def test_intervals_add_within_a_kind_and_in_quadrature_across():
    # linear: widths 1 + 1 = 2; attention: width 2 -> sqrt(4 + 4) = 2.83 below 12
    low, high = combined_interval(["linear", "linear", "attention"], [(4, 3, 5), (4, 3, 5), (4, 2, 6)])
    assert low == pytest.approx(12 - 8**0.5)
    assert high == pytest.approx(12 + 8**0.5)
    assert worst_label(["calibrated", "uncalibrated", "family"]) == "uncalibrated"


def test_experts_are_timed_as_one_fused_call():
    plan = plan_of(analyze("qwen3-30b-a3b", "nvidia/h100-sxm", Decode(batch=8)).scenario)
    ops = next(g.ops for g in plan.graph.groups if g.layers)
    names = [ops[i].name for i in fused_experts(ops)]
    assert names == ["moe_permute", "experts_gate_up", "experts_act", "experts_down", "moe_combine"]
    result = analyze("qwen3-30b-a3b", "nvidia/h100-sxm", Decode(batch=8), fidelity="estimate")
    inside = [row for row in result.rows if row["name"] in names]
    assert len({row["basis"] for row in inside}) == 1
    # shared out in proportion to the bounds
    ratios = [row["time_s"] / row["lower_time_s"] for row in inside if row["lower_time_s"]]
    assert max(ratios) == pytest.approx(min(ratios))
