"""Models that are not plain decoders: encoders, cross-attention caches, image towers, diffusion."""

from __future__ import annotations

import pytest

from viewer import Decode, Prefill, analyze
from viewer.errors import InputError
from viewer.memory import account
from viewer.models import build_graph, load_model
from viewer.ops import count
from viewer.workload import Diffusion, Generation, Segment, Step, decode_step, prefill_step


def flops(graph, step):
    return sum(g.repeat * float(sum(count(op, step).products)) for g, op in graph)


def test_cross_attention_is_projected_once_and_read_in_every_step():
    graph = build_graph(load_model("whisper-large-v3"))
    ops = {op.name: op for _, op in graph}
    first, later = graph.fit(prefill_step(2.0, 4.0)), graph.fit(decode_step(2.0, 10.0))
    # 2 * 1500 source rows * 2 * 1280 * 1280 FLOPs when encoded, none after
    assert count(ops["cross_k_proj"], first).products == (2 * 1500 * 2 * 1280 * 1280,)
    assert count(ops["cross_k_proj"], later).products == (0.0,)
    assert count(ops["cross_k_proj"], later).weight_bytes == 0.0
    # cache of both keys and values, 1500 rows * 2 * 1280 * 2 B for each of 2 requests
    assert count(ops["cross_attention"], later).kv_read_bytes == 2 * 1500 * 2 * 1280 * 2
    assert count(ops["cross_kv_append"], later).kv_write_bytes == 0.0


def test_encoder_does_nothing_in_a_decode_step():
    graph = build_graph(load_model("flan-t5-base"))
    step = graph.fit(decode_step(1.0, 10.0))
    for group, op in graph:
        if group.name.startswith("encoder"):
            cost = count(op, step)
            assert sum(cost.products) == 0 == cost.dram_bytes


def test_encoder_attends_both_ways():
    graph = build_graph(load_model("t5-small"))
    op = next(op for _, op in graph if op.name == "encoder_attention")
    step = Step((Segment(3.0, 1.0),), 3.0, source=(Segment(3.0, 100.0),))
    # 3 requests * 100^2 pairs * 8 heads * (64 + 64) * 2
    assert sum(count(op, step).products) == 3 * 100**2 * 8 * 128 * 2


def test_cross_cache_counts_as_cache():
    spec = load_model("whisper-tiny")
    held = account(build_graph(spec), decode_step(1.0, 9.0))
    # 4 layers * 2 * 384 values * (10 own + 1500 source)
    assert held.kv_values == 4 * 2 * 384 * (10 + 1500)


def test_source_of_a_workload_wins_over_the_default():
    step = Prefill(batch=2, prompt=1, source=77).step()
    assert build_graph(load_model("t5-base")).fit(step) is step
    assert step.rows("source") == 154


def test_image_tower_of_gemma_3():
    spec = load_model("gemma-3-27b")
    text, both = build_graph(spec), build_graph(spec, vision=True)
    assert text.parameter_count == 27_009_346_304
    assert both.parameter_count == 27_432_406_640  # as published: with SigLIP and its projector
    # one image: 4096 patches through 27 layers; per layer 4 * 2 * 1152^2 + 2 * 2 * 1152 * 4304 FLOPs a patch,
    # 4 * 1152 * 4096 for each patch's scores and values; patch embedding 588 -> 1152; projector on 256 rows
    step = Prefill(prompt=10, images=1).step()
    layer = 4 * 2 * 1152**2 + 2 * 2 * 1152 * 4304 + 4 * 1152 * 4096
    tower = 4096 * (27 * layer + 2 * 588 * 1152) + 256 * 2 * 1152 * 5376
    assert flops(both, step) - flops(text, step) == tower
    assert flops(both, Prefill(prompt=10).step()) == flops(text, step)


def test_dit_published_compute():
    # DiT-XL/2 at 256 x 256: 118.64 Gflops in the paper (table 4), where a multiply-add is one
    graph = build_graph(load_model("dit-xl-2"))
    assert flops(graph, prefill_step(1.0, 256.0)) / 2e9 == pytest.approx(118.64, rel=5e-4)


def test_dit_conditions_on_one_row_a_request():
    graph = build_graph(load_model("dit-xl-2"))
    op = next(op for _, op in graph if op.name == "adaln_proj")
    # h -> 6h on B rows, not on B * 256
    assert count(op, prefill_step(3.0, 256.0)).products == (3 * 2 * 1152 * 6912,)
    assert not any(getattr(op, "cache", None) and op.cache.memory == "self" for _, op in graph)


def test_diffusion_is_steps_times_two():
    one = analyze("dit-xl-2", "nvidia/a6000", Prefill(batch=2, prompt=256))
    image = analyze("dit-xl-2", "nvidia/a6000", Diffusion(batch=1, prompt=256, steps=50))
    assert image.totals.time_s == pytest.approx(50 * one.totals.time_s)
    plain = analyze("dit-xl-2", "nvidia/a6000", Diffusion(batch=2, prompt=256, steps=50, guidance=False))
    assert plain.totals.matmul_flops == image.totals.matmul_flops


@pytest.mark.parametrize("load", [Decode(), Generation()])
def test_no_next_token_is_refused(load):
    with pytest.raises(InputError, match="no cache and no next token"):
        analyze("vit-base-patch16-224", "nvidia/a6000", load)
