"""Phases beyond prefill and decode: their segments, their identities, what they yield."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from viewer import Decode, Prefill, analyze
from viewer.errors import InputError
from viewer.models import build_graph, load_model
from viewer.ops import count
from viewer.workload import (
    Beam,
    ChunkedPrefill,
    Generation,
    Mixed,
    Verify,
    Workload,
    expected_tokens,
    prefill_step,
    speculative_round_s,
    workload_kinds,
)

MODELS = ("llama-3.1-8b", "mistral-7b", "gemma-2-9b", "deepseek-v2-lite", "mixtral-8x7b")
GRAPHS = {name: build_graph(load_model(name), mla="absorbed") for name in MODELS}


def attention_flops(graph, step):
    ops = ((g, op) for g, op in graph if op.kind == "attention")
    return sum(g.repeat * float(sum(count(op, step).products)) for g, op in ops)


def linear_flops(graph, step):
    ops = ((g, op) for g, op in graph if op.kind in ("linear", "experts") and op.name != "lm_head")
    return sum(g.repeat * float(sum(count(op, step).products)) for g, op in ops)


def costs(graph, step):
    return [count(op, step) for _, op in graph]


@pytest.mark.parametrize("name", MODELS)
@given(prompt=st.integers(1, 9000), chunk=st.integers(64, 4000), batch=st.integers(1, 4))
def test_chunks_sum_to_the_whole(name, prompt, chunk, batch):
    graph = GRAPHS[name]
    passes = ChunkedPrefill(batch=batch, prompt=prompt, chunk=chunk).passes({})
    whole = Prefill(batch=batch, prompt=prompt).step()
    for measure in (attention_flops, linear_flops):
        total = 0.0
        for one in passes:
            segment = one.step.segments[0]
            cached = np.atleast_1d(segment.cached)
            assert cached.size == one.points == one.steps
            total += sum(measure(graph, prefill_step(batch, segment.new, c)) for c in cached)
        assert total == pytest.approx(measure(graph, whole), rel=1e-9)


def test_only_the_last_chunk_samples():
    chunk, last = ChunkedPrefill(batch=3, prompt=1000, chunk=300, cached=50).passes({})
    assert (chunk.steps, chunk.points) == (3, 3)
    assert chunk.step.segments[0].cached.tolist() == [50, 350, 650]
    assert (chunk.step.sampled_rows, last.step.sampled_rows) == (0.0, 3.0)
    assert (last.step.segments[0].new, last.step.segments[0].cached) == (100.0, 950.0)
    head = next(op for _, op in GRAPHS["llama-3.1-8b"] if op.name == "lm_head")
    assert count(head, chunk.step).dram_bytes == 0.0  # nothing sampled: the head is not read


def test_one_chunk_is_a_prefill():
    chunked = analyze("llama-3.1-8b", "nvidia/h100-sxm", ChunkedPrefill(prompt=500, chunk=512))
    whole = analyze("llama-3.1-8b", "nvidia/h100-sxm", Prefill(prompt=500))
    assert chunked.totals.time_s == whole.totals.time_s


def test_chunks_read_the_weights_again():
    chunked = analyze("llama-3.1-8b", "nvidia/h100-sxm", ChunkedPrefill(prompt=4096, chunk=512))
    whole = analyze("llama-3.1-8b", "nvidia/h100-sxm", Prefill(prompt=4096))
    assert chunked.totals.matmul_flops == pytest.approx(whole.totals.matmul_flops, rel=1e-12)
    # 32 layers of weights eight times, embedding rows and head once
    assert chunked.totals.weight_bytes == pytest.approx(8 * 2 * 6_979_321_856, rel=0.08)


def test_a_sweep_over_chunk_lengths_is_refused_by_name():
    with pytest.raises(InputError, match="prompt and chunk"):
        ChunkedPrefill().passes({"chunk": np.array([256.0, 512.0])})


@pytest.mark.parametrize("name", MODELS)
def test_verify_of_nothing_is_a_decode(name):
    graph = GRAPHS[name]
    verify, decode = Verify(batch=5, context=700, draft=0).step(), Decode(batch=5, context=700).step()
    assert costs(graph, verify) == costs(graph, decode)


@given(draft=st.integers(1, 8), context=st.integers(0, 5000), batch=st.integers(1, 9))
def test_a_tree_of_single_branches_is_a_chain(draft, context, batch):
    graph = GRAPHS["llama-3.1-8b"]
    chain = Verify(batch=batch, context=context, draft=draft).step()
    tree = Verify(batch=batch, context=context, tree=(1,) * draft).step()
    assert attention_flops(graph, chain) == attention_flops(graph, tree)
    assert chain.tokens == tree.tokens
    assert chain.sampled_rows == tree.sampled_rows


def test_tree_pairs():
    # (2, 3): 1 + 2 + 6 nodes of depth 1, 2, 3: pairs 9 * n_c + 1 + 4 + 18
    step = Verify(batch=1, context=100, tree=(2, 3)).step()
    assert step.tokens == 9
    assert step.causal_pairs() == 9 * 100 + 23


def test_expected_tokens():
    # (1 - 0.8^5) / (1 - 0.8) = 3.3616
    assert expected_tokens(0.8, 4.0) == pytest.approx(3.3616)
    assert expected_tokens(1.0, 4.0) == 5.0
    assert expected_tokens(0.8, 0.0, (1, 1, 1, 1)) == pytest.approx(3.3616)
    # two candidates a level: 1 - 0.2^2 = 0.96: 1 + 0.96 + 0.96^2
    assert expected_tokens(0.8, 0.0, (2, 2)) == pytest.approx(1 + 0.96 + 0.9216)
    assert Verify(batch=10, draft=4).produced() == pytest.approx(33.616)


def test_speculative_round_of_the_8b():
    # modelling 6: 8B at context 8192 with a 1.24B draft: 2.31 ms a token, a ceiling
    context = Decode(context=8191).context
    verify = analyze("llama-3.1-8b", "nvidia/h100-sxm", Verify(context=context, draft=4))
    draft = analyze("llama-3.2-1b", "nvidia/h100-sxm", Decode(context=context))
    round_s = speculative_round_s(draft.totals.time_s, verify.totals.time_s, 4.0)
    assert 1e3 * round_s / float(expected_tokens(0.8, 4.0)) == pytest.approx(2.31, rel=0.05)


@pytest.mark.parametrize("name", MODELS)
def test_mixed_is_chunk_plus_decodes(name):
    graph = GRAPHS[name]
    mixed = Mixed(batch=32, context=4096, chunk=512, cached=2048).step()
    chunk, decode = Prefill(prompt=512, cached=2048).step(), Decode(batch=32, context=4096).step()
    for measure in (attention_flops, linear_flops):
        assert measure(graph, mixed) == pytest.approx(measure(graph, chunk) + measure(graph, decode))
    assert mixed.sampled_rows == 32
    # one pass over the weights instead of two
    op = next(op for _, op in graph if op.name == "o_proj")
    assert count(op, mixed).weight_bytes == count(op, chunk).weight_bytes


def test_mixed_step_on_h100():
    # 13.74 ms for linears and attention when chunk and decodes have an attention kernel each (element-wise work is
    # beside it): 7.67 linears + 0.31 head + 0.62 chunk + 5.13 decodes
    def time_ms(load, kind):
        rows = analyze("llama-3.1-8b", "nvidia/h100-sxm", load).rows
        return 1e3 * sum(r["repeat"] * r["time_s"] for r in rows if r["kind"] == kind)

    mixed = Mixed(batch=32, context=4096, chunk=512, cached=2048)
    parts = (Prefill(prompt=512, cached=2048), Decode(batch=32, context=4096))
    apart = sum(time_ms(part, "attention") for part in parts)
    assert time_ms(mixed, "linear") + apart == pytest.approx(13.74, rel=2e-3)
    # one kernel for both overlaps the chunk's products with the decodes' reads
    assert time_ms(mixed, "attention") < apart


def test_beams_share_the_prompt_in_memory_only():
    beam = Beam(batch=2, beams=4, context=1500, prompt=1000).step()
    decode = Decode(batch=8, context=1500).step()
    # per request 4 * (1501 - 1000) + 1000
    assert beam.cached_after() == 2 * (4 * 501 + 1000)
    assert costs(GRAPHS["llama-3.1-8b"], beam) == costs(GRAPHS["llama-3.1-8b"], decode)
    # a window of 600 has dropped all shared rows but 99 of them: 4 * 501 own rows + 99
    assert beam.cached_after(600.0) == 2 * (4 * 501 + 99)


def test_prefix_hit_is_a_prefill_of_the_rest():
    graph = GRAPHS["llama-3.1-8b"]
    hit, whole, prefix = (
        Prefill(prompt=300, cached=700).step(),
        Prefill(prompt=1000).step(),
        Prefill(prompt=700).step(),
    )
    assert attention_flops(graph, hit) == attention_flops(graph, whole) - attention_flops(graph, prefix)


def test_generation_yields_its_output():
    assert Generation(batch=3, output=50).produced() == 150
    assert [p.phase for p in Generation(output=1).passes({})] == ["prefill"]


@pytest.mark.parametrize("phase", sorted(workload_kinds()))
def test_every_phase_survives_json(phase):
    adapter = TypeAdapter(Workload)
    load = workload_kinds()[phase]()
    assert adapter.validate_json(load.model_dump_json()) == load
    assert np.all(np.asarray(load.produced()) > 0)
    with pytest.raises(ValidationError):
        adapter.validate_python({"phase": phase, "batch": 0})


def test_trees_are_bounded():
    with pytest.raises(ValidationError, match="4096"):
        Verify(tree=(64, 64, 64))
