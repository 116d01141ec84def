"""Fused mixture of experts: work by hand, routing, ranks, a fit of known constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calibration.additive_support import gpu
from viewer.calibration import moe

STRUCTURE = {"tile_m": 128, "tile_n": 128, "tau": 1.0, "skew": 1}


def _table(rows: int = 1, **columns: Any) -> dict[str, Any]:
    numbers = {"tokens": 64, "hidden": 1024, "intermediate": 512, "top_k": 2, "experts": 8, "ep": 1}
    texts = {
        "act_format": "bf16",
        "weight_format": "bf16",
        "library": "vllm",
        "distribution": "balanced",
        "launch": "graph",
    }
    table: dict[str, Any] = {k: np.full(rows, float(v)) for k, v in numbers.items()}
    table.update(texts)
    for name, value in columns.items():
        table[name] = value if isinstance(value, str) else np.asarray(value, dtype=float) + np.zeros(rows)
    return table


def test_work_of_a_balanced_layer() -> None:
    # 64 tokens to 2 of 8 experts: 128 rows, all 8 hit; FLOPs 2*3*1024*512*128 = 402 653 184
    # bytes: 8*3*1024*512*2 = 25 165 824 of weights, 4*64*1024 = 262 144 of rows
    found = moe.work(_table(), gpu())
    assert found.flops == pytest.approx([402_653_184])
    assert found.bytes_ == pytest.approx([25_165_824 + 262_144])


def test_one_token_hits_top_k_experts() -> None:
    found = moe.work(_table(tokens=1), gpu())
    assert found.bytes_ == pytest.approx([2 * 3 * 1024 * 512 * 2 + 4096])


def test_weight_bytes_count_the_scales() -> None:
    assert moe.weight_bytes("int4_g128") == pytest.approx((4 + 16 / 128) / 8)
    assert moe.weight_bytes("mxfp4") == pytest.approx((4 + 8 / 32) / 8)
    assert moe.weight_bytes("fp8_e4m3_block") == pytest.approx(1.0, abs=1e-3)
    assert moe.weight_bytes("bf16") == 2


def test_terms_by_hand() -> None:
    # 128 rows over 8 experts: 16 each, one tile of height 16; up: 8*ceil(1024/128) = 64 CTAs, one wave
    terms = moe.terms(_table(), gpu(), STRUCTURE)
    assert terms["pad"] == pytest.approx([0])
    assert terms["lat"] == pytest.approx([(1024 + 512) / 4096])
    assert terms["comp"] == pytest.approx([402_653_184 / 100e12 * 1e6])
    assert terms["w"] == pytest.approx([25_165_824 / 1e12 * 1e6])
    # 17 rows an expert do not fill two tiles of 32: 8*32 - 136 = 120 rows of padding
    padded = moe.terms(_table(tokens=68), gpu(), STRUCTURE)["pad"]
    assert padded == pytest.approx([2 * 3 * 1024 * 512 * 120 / 100e12 * 1e6])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4096), st.sampled_from([(8, 2), (128, 8), (256, 8)]), st.sampled_from([1.01, 1.2]))
def test_power_law_loads_sum_to_the_routed_rows(
    tokens: int, layout: tuple[int, int], exponent: float
) -> None:
    experts, top_k = layout
    loads = moe._power_law(tokens, top_k, experts, exponent)
    assert len(loads) == experts
    assert np.all(np.diff(loads) <= 0)
    assert loads.max() <= tokens
    assert loads.sum() <= tokens * top_k * (1 + 1e-9)


def test_the_fullest_rank_has_more_than_its_share() -> None:
    columns: dict[str, Any] = {
        "tokens": 4096.0,
        "experts": 64.0,
        "top_k": 8.0,
        "ep": 8.0,
        "distribution": "power_law_1.2",
    }
    balanced = moe.terms(_table(**{**columns, "distribution": "balanced"}), gpu(), STRUCTURE)["comp"]
    skewed = moe.terms(_table(**columns), gpu(), STRUCTURE)["comp"]
    assert skewed[0] > balanced[0]


def test_ranks_share_a_balanced_layer() -> None:
    one, eight = (moe.work(_table(tokens=4096, experts=64, ep=ep), gpu()).flops for ep in (1, 8))
    assert np.asarray(one) == pytest.approx(8 * np.asarray(eight))


def test_non_local_rows_only_for_the_library_that_computes_them() -> None:
    table = _table(tokens=512, experts=64, ep=8)
    assert "other" not in moe.terms(table, gpu(), STRUCTURE)
    assert moe.terms({**table, "library": "sglang"}, gpu(), STRUCTURE)["other"][0] > 0


def test_fit_predicts_an_unseen_layer() -> None:
    rng = np.random.default_rng(0)
    layouts = np.array([(1024, 512, 2, 8), (2048, 768, 8, 128), (4096, 1536, 8, 128), (4096, 14336, 2, 8)])
    picks = layouts[rng.integers(0, 4, 300)].T
    table = _table(
        300,
        tokens=2.0 ** rng.integers(0, 14, 300),
        **dict(zip(("hidden", "intermediate", "top_k", "experts"), picks, strict=True)),
    )
    truth = {
        "any.#tile_m": 128.0,
        "any.#tile_n": 128.0,
        "any.#tau": 1.0,
        "any.#skew": 0.0,
        "any.t0": 20.0,
        "any.comp": 1.3,
        "any.exc": 1.1,
        "any.expert": 2.0,
    }
    found = moe.fit(table, gpu(), moe.m2(table, gpu(), truth))
    unseen = _table(2, tokens=[16, 2048], hidden=3072, intermediate=1024, top_k=4, experts=64)
    assert moe.m2(unseen, gpu(), found) == pytest.approx(moe.m2(unseen, gpu(), truth), rel=0.06)


def test_class_key_names_formats_library_and_router() -> None:
    table = _table(weight_format="int4_g128", distribution="power_law_1.2", library="sglang-0.5.10")
    assert moe.class_key(table) == "bf16*int4_g128|sglang|power_law_1.2"
