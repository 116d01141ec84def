"""Crossovers and inverses: worked figures, closed forms, and a brute-force scan over single analyses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hardware_specs import load as load_hardware
from viewer import Decode, Generation, InputError, Prefill, analyze, solve
from viewer.analysis import make_scenario


def crossover(
    hardware: str, peak: str, width: int, w_bits: float, a_bits: float, scale: float = 1.0
) -> float:
    """T* = r io b_w/8 / (2 io - r (i b_a + o b_o)/8), r = peak / bandwidth, i = o = width."""
    hw = load_hardware(hardware)
    r = hw.peak("tensor", peak) / (hw.memory("dram").bandwidth_bytes_per_s.value * scale)
    io = float(width * width)
    return r * io * w_bits / 8 / (2 * io - r * width * (a_bits + 16) / 8)


# stated: A6000 5120 x 5120; H100 4096 x 4096 at 3.35 TB/s (the device file has 3.352: the scale undoes that).
# W8A8 stores an FP32 scale per output row and per token, which the stated figures leave out: 32/5120 = 0.00625 bit.
@pytest.mark.parametrize(
    ("model", "hardware", "compression", "peak", "bits", "stated", "scale"),
    [
        ("llama-2-13b", "nvidia/a6000", "w16a16", "fp16", (16, 16), 218.8, 1.0),
        ("llama-2-13b", "nvidia/a6000", "w4a16-g128", "fp16", (4.125, 16), 56.4, 1.0),
        ("llama-2-13b", "nvidia/a6000", "w8a8-int8", "int8", (8 + 32 / 5120, 8 + 32 / 5120), 228.6, 1.0),
        ("llama-3.1-8b", "nvidia/h100-sxm", "w16a16", "bf16", (16, 16), 345.1, 3.35 / 3.352),
        (
            "llama-3.1-8b",
            "nvidia/h100-sxm",
            "w8a8-fp8",
            "fp8",
            (8 + 32 / 4096, 8 + 32 / 4096),
            376.9,
            3.35 / 3.352,
        ),
        ("llama-3.1-8b", "nvidia/h100-sxm", "w4a16-g128", "bf16", (4.125, 16), 89.0, 3.35 / 3.352),
    ],
)
def test_crossover_of_q_proj(model, hardware, compression, peak, bits, stated, scale):
    base = make_scenario(model, hardware, Decode(), compression, fusion="eager", bandwidth_scale=scale)
    found = solve(base, "batch", when="compute-bound", op="q_proj")
    width = 5120 if "13b" in model else 4096
    assert found.exact == pytest.approx(crossover(hardware, peak, width, *bits, scale), rel=1e-9)
    assert found.exact == pytest.approx(stated, abs=0.06 if bits[0] in (16, 4.125) else 0.4)
    assert found.answer == math.ceil(found.exact)
    assert found.monotone


def test_largest_batch_and_context():
    # 0.9 x 48 GiB - 26.03 GB - 0.5 GB over 2048 x 819 200 B: 11.8 requests; one request: 24.2 k tokens
    base = make_scenario("llama-2-13b", "nvidia/a6000", Decode(context=2047))
    batch, context = solve(base, "max-batch"), solve(base, "max-context")
    assert batch.answer == 11
    assert batch.exact == pytest.approx(11.83, abs=0.01)
    assert context.answer == pytest.approx(24_200, rel=0.002)
    single = analyze(base).memory
    assert (batch.answer, context.answer) == (single.max_batch, single.max_context)


def test_targets_combine_and_the_tighter_one_wins():
    base = make_scenario("llama-3.1-8b", "nvidia/h100-sxm", Decode(context=4095), "w8a8-fp8")
    both = solve(base, "max-batch", tpot_s=0.008)
    rows = {r["condition"]: r["answer"] for r in both.rows}
    assert both.answer == min(rows["fits in memory"], rows["has TPOT <= 8.000 ms"])
    at = lambda n: analyze(base.with_(workload=Decode(batch=n, context=4095)))  # noqa: E731
    assert at(both.answer).totals.time_s <= 0.008
    after = at(both.answer + 1)
    assert after.totals.time_s > 0.008 or not after.memory.fits


def test_targets_of_a_whole_answer():
    base = make_scenario("llama-3.1-8b", "nvidia/h100-sxm", Generation(prompt=512, output=16))
    found = solve(base, "batch", tpot_s=0.006, ttft_s=0.2)
    good = [
        n
        for n in range(1, 100)
        if (p := analyze(base.with_(workload=Generation(batch=n, prompt=512, output=16))).phases)["tpot_s"]
        <= 0.006
        and p["ttft_s"] <= 0.2
    ]
    assert found.answer == max(good)


def test_smallest_rates():
    # every op of a decode step is memory-bound: the bandwidth for half the time is twice as large
    base = make_scenario("llama-2-13b", "nvidia/a6000", Decode())
    now = analyze(base).totals.time_s
    found = solve(base, "bandwidth", tpot_s=now / 2)
    assert found.answer == pytest.approx(2 * 768e9, rel=1e-9)
    prompt = base.with_(workload=Prefill(prompt=2048))
    target = analyze(prompt).totals.time_s * 0.7
    peak = solve(prompt, "peak", ttft_s=target)
    factor = peak.rows[0]["times_device"]
    assert analyze(prompt.with_(compute_scale=factor)).totals.time_s == pytest.approx(target, rel=1e-12)
    assert analyze(prompt.with_(compute_scale=factor * 0.999)).totals.time_s > target


def test_no_solution():
    # element-wise ops and embedding never get faster than DRAM allows, however fast the tensor unit
    base = make_scenario("llama-2-13b", "nvidia/a6000", Prefill(prompt=2048))
    found = solve(base, "peak", ttft_s=1e-3)
    assert not found.found
    assert found.rows[0]["holds"] == "nowhere"
    # attention of a decode step has one FLOP per byte: the network never turns compute-bound
    assert not solve(make_scenario("llama-2-13b", "nvidia/a6000"), "batch", when="compute-bound").found


def test_memory_that_is_needed():
    base = make_scenario("llama-2-13b", "nvidia/a6000", Decode(batch=40))
    found = solve(base, "memory")
    assert found.answer * 0.9 == pytest.approx(analyze(base).memory.total_bytes)


def test_where_four_bits_stop_helping():
    # prefill: all linears turn compute-bound with 16-bit weights at q_proj's T* = 218.8, the last of them
    base = make_scenario("llama-2-13b", "nvidia/a6000", Prefill(), "w4a16-g128", fusion="eager")
    found = solve(base, "prompt", against="w16a16", op="q_proj")
    assert found.exact == pytest.approx(218.79, abs=0.01)
    # against 2 bits it ends where the 4-bit op itself turns compute-bound: 56.4
    found = solve(base.with_(compression="w2a16-g128"), "prompt", against="w4a16-g128", op="q_proj")
    assert found.exact == pytest.approx(56.41, abs=0.01)
    # INT8 on both sides stays twice as fast for ever
    assert not solve(base.with_(compression="w8a8-int8"), "prompt", against="w16a16", op="q_proj").found


def test_weight_only_against_integers():
    # 4-bit weights win while bytes count, 8-bit integers on both sides once arithmetic does
    base = make_scenario("llama-2-13b", "nvidia/a6000", Prefill(), "w4a16-g128", fusion="eager")
    found = solve(base, "prompt", against="w8a8-int8", op="q_proj")
    slower = [n for n in range(1, 600) if _op_time(base, n) * (1 + 1e-12) >= _op_time(base, n, "w8a8-int8")]
    assert found.answer == slower[0]
    assert slower == list(range(slower[0], 600))


def _op_time(base, prompt: int, compression: str | None = None) -> float:
    changes = {"workload": Prefill(prompt=prompt)} | ({"compression": compression} if compression else {})
    frame = analyze(base.with_(**changes)).frame
    return float(frame[frame.name == "q_proj"].time_s.iloc[0])


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"unknown": "batches", "when": "compute-bound"}, "did you mean 'batch'"),
        ({"unknown": "batch", "when": "compute-bond"}, "did you mean 'compute-bound'"),
        ({"unknown": "batch", "when": "compute-bound", "op": "qkv_prj"}, "did you mean 'qkv_proj'"),
        ({"unknown": "batch", "when": "compute-bound", "layer": 99}, "layers 0 to 39"),
        ({"unknown": "batch", "ttft_s": 1.0}, "phase decode has no ttft"),
        ({"unknown": "batch", "tpot_s": -1.0}, "needs a time above 0"),
        ({"unknown": "batch", "when": "compute-bound", "against": "w16a16"}, "one question at a time"),
        ({"unknown": "bandwidth"}, "needs a target"),
        ({"unknown": "memory", "op": "qkv_proj"}, "answers targets only"),
    ],
)
def test_bad_questions(ask, message):
    with pytest.raises(InputError, match=message):
        solve(make_scenario("llama-2-13b", "nvidia/a6000"), **ask)


# --- a plain loop over single analyses -------------------------------------------------------------

MODELS = ("llama-2-7b", "llama-3.1-8b", "qwen3-30b-a3b", "gemma-2-9b", "gpt-oss-20b", "deepseek-v2-lite")
DEVICES = ("nvidia/a6000", "nvidia/h100-sxm", "nvidia/l4", "nvidia/rtx-4090")
SETTINGS = ("w16a16", "w4a16-g128", "w8a8-int8", "w8a8-fp8", "w4a16-g128+kv4", "2:4")
LIMIT = 150


def _loop(base, unknown: str, question: str, other: str, target: float) -> list[int]:
    """Whole numbers 1..LIMIT at which the condition holds, each from its own analysis."""
    good = []
    for n in range(1, LIMIT + 1):
        load = base.workload.model_copy(update={unknown: n})
        result = analyze(base.with_(workload=load))
        if question == "turn":
            f = result.frame
            compute = np.maximum(np.maximum(f.tensor_time_s, f.vector_time_s), f.special_time_s)
            holds = float((compute * f.repeat).sum()) >= float((f.dram_time_s * f.repeat).sum())
        elif question == "against":
            theirs = analyze(base.with_(workload=load, compression=other)).totals.time_s
            holds = result.totals.time_s * (1 + 1e-12) >= theirs
        else:
            holds = result.totals.time_s <= target and result.memory.fits
        good += [n] if holds else []
    return good


def agrees(model, device, setting, other, phase, unknown, question, factor):
    load = Decode(batch=3, context=700) if phase == "decode" else Prefill(batch=2, prompt=300)
    if unknown not in load.numeric():
        unknown = "batch"
    try:
        base = make_scenario(model, device, load, setting)
        target = analyze(base).totals.time_s * factor
        analyze(base.with_(compression=other))
    except InputError:
        assume(False)
    ask = {
        "turn": {"when": "compute-bound"},
        "against": {"against": other},
        "target": {"tpot_s" if phase == "decode" else "ttft_s": target, "fits": True},
    }[question]
    found = solve(base, unknown, **ask)
    good = _loop(base, unknown, question, other, target)
    if question == "target":
        if found.answer is not None and found.answer <= LIMIT:
            assert good
            assert max(good) == found.answer
        else:
            assert not good or good[-1] == LIMIT or found.answer is None
            assert bool(good) == found.found
    else:
        first = good[0] if good else None
        if found.answer is None or found.answer > LIMIT:
            assert first is None
        elif found.answer == 0:
            assert first == 1
        else:
            assert first == found.answer


QUESTIONS = {
    "model": st.sampled_from(MODELS),
    "device": st.sampled_from(DEVICES),
    "setting": st.sampled_from(SETTINGS),
    "other": st.sampled_from(SETTINGS),
    "phase": st.sampled_from(("decode", "prefill")),
    "unknown": st.sampled_from(("batch", "prompt", "context")),
    "question": st.sampled_from(("turn", "against", "target")),
    "factor": st.floats(0.2, 5.0),
}
QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much]


@settings(max_examples=12, deadline=None, suppress_health_check=QUIET)
@given(**QUESTIONS)
def test_a_plain_loop_agrees(**kwargs):
    agrees(**kwargs)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=QUIET)
@given(**QUESTIONS)
def test_a_plain_loop_agrees_on_200(**kwargs):
    agrees(**kwargs)
