"""Fusion presets: FLOPs add, inner bytes vanish, parameters stay; each saves what the arithmetic says."""

from __future__ import annotations

import pytest

from viewer import Decode, Prefill, analyze
from viewer.models import catalog_names, load_model

PRESETS = ("eager", "flash", "inductor", "serving")


def run(fusion, model="llama-2-13b", load=None):
    return analyze(model, "nvidia/a6000", load or Prefill(prompt=1024), fusion=fusion)


def test_names_of_the_serving_kernels():
    names = [row["name"] for row in run("serving").rows]
    first = ["attn_add_norm", "qkv_proj", "rope_append", "attention", "o_proj"]
    layer = [*first, "mlp_add_norm", "gate_up_proj", "silu_mul", "down_proj"]
    assert names == ["embed", *layer, "final_norm", "lm_head"]
    assert [row["name"] for row in run("eager").rows] == [
        *("embed", "attn_norm", "q_proj", "k_proj", "v_proj", "rope", "kv_append", "qk_matmul", "softmax"),
        *(
            "pv_matmul",
            "o_proj",
            "attn_add",
            "mlp_norm",
            "gate_proj",
            "up_proj",
            "mlp_act",
            "down_proj",
            "mlp_add",
        ),
        *("final_norm", "lm_head"),
    ]


@pytest.mark.parametrize(
    "model", ["llama-2-13b", "qwen3-8b", "falcon-40b", "gpt-neox-20b", "bloom-176b", "opt-6.7b"]
)
def test_each_step_saves_bytes_and_keeps_the_work(model):
    load = Decode(batch=3, context=500)
    results = [run(p, model, load) for p in PRESETS]
    linear = [
        sum(r["repeat"] * r["matmul_flops"] for r in one.rows if r["kind"] == "linear") for one in results
    ]
    assert len(set(linear)) == 1  # fusion moves bytes, not products
    bytes_ = [one.totals.dram_bytes for one in results]
    assert bytes_ == sorted(bytes_, reverse=True)
    kernels = [sum(r["repeat"] for r in one.rows) for one in results]
    assert kernels == sorted(kernels, reverse=True)


def test_the_saving_of_qkv_and_norms_in_numbers():
    """13B, T = 1024, one layer: x is read once instead of three times (2 * T * h * 2 B); gate/up: once less.

    add + norm apart: 3 + 2 tensors of T*h; together 4 (the sum is not read again): 1 tensor saved, twice a layer.
    rope (read q, k; write q, k) + append (read k, v; write k, v) = 8 against 6 tensors together: 2 saved.
    """
    tensor = 1024 * 5120 * 2
    flash, serving = run("flash"), run("serving")
    saved = flash.totals.dram_bytes - serving.totals.dram_bytes
    assert saved == pytest.approx(40 * (2 + 1 + 2 + 2) * tensor, rel=1e-9)


def test_eager_writes_the_scores():
    # scores and probabilities are written and read: 4 * N * n * n * 2 B a layer beyond the fused form
    eager, flash = run("eager"), run("flash")
    extra = eager.totals.dram_bytes - flash.totals.dram_bytes
    assert extra == pytest.approx(40 * 4 * 40 * 1024 * 1024 * 2, rel=1e-9)


def test_savings_are_reported():
    result = run("serving")
    assert result.fusion["saved_time_s"] == pytest.approx(run("eager").totals.time_s - result.totals.time_s)
    assert result.fusion["kernels"] == 40 * 9 + 3
    assert result.fusion["eager_kernels"] == 40 * 17 + 3


def test_attention_eager_under_any_fusion():
    result = analyze("llama-2-13b", "nvidia/a6000", Prefill(prompt=256), fusion="serving", attention="eager")
    assert {"qkv_proj", "qk_matmul", "softmax", "pv_matmul"} <= {row["name"] for row in result.rows}


@pytest.mark.parametrize("model", catalog_names())
def test_every_model_fuses(model):
    one_pass = load_model(model).one_pass
    load = Prefill(batch=2, prompt=64) if one_pass else Decode(batch=2, context=64)
    times = [analyze(model, "nvidia/h200-sxm", load, fusion=p).totals.time_s for p in PRESETS]
    assert all(t > 0 for t in times)
    assert times[-1] <= times[0] * (1 + 1e-12)
