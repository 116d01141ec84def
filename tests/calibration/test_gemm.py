"""The GEMM model: counts, physics, menu, fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from viewer.calibration import gemm, gemm_fit, gemm_tiles
from viewer.calibration.base import bound
from viewer.calibration.devices import device
from viewer.calibration.gemm_deepgemm import deepgemm_tile
from viewer.calibration.gemm_formats import math_type, storage

H100 = device("nvidia/h100-sxm")
A100 = device("nvidia/a100-sxm-80gb")
CONSTANTS = {"t0": 2.5, "tp": 0.65, "ec": 0.81, "em": 0.82, "ls": 2.1, "p": 4.2, "al": 0.5, "ka": 1.0, "q": 0.0,
             "te": 0.36, "g": 0.02, "pf": 12.0, "sk": 2.4, "ep": 2.0}  # fmt: skip


def table(m: Any, n: Any, k: Any, **text: Any) -> dict[str, Any]:
    m, n, k = (np.asarray(v, dtype=float).reshape(-1) for v in np.broadcast_arrays(m, n, k))
    return {**gemm.DEFAULTS, "weight_copies": np.zeros(len(m)), "m": m, "n": n, "k": k, **text}


def test_work_counts_each_operand_once() -> None:
    work = gemm.work(table(16, 256, 128, act_format="bf16", weight_format="int8"), A100)
    # 2 x 16 x 256 x 128 FLOP; x 16 x 128 x 2 B, W 256 x 128 x 1 B and one scale a row, y 16 x 256 x 2 B
    assert work.flops == 1_048_576
    assert work.bytes_ == pytest.approx(4096 + 256 * 128 + 8192, rel=0.005)
    assert work.peak == A100.peak("bf16")


@pytest.mark.parametrize(
    ("act", "weight", "kind"),
    [("bf16", "int4_g128", "bf16"), ("fp8_e4m3", "fp8_e4m3", "fp8"), ("int8", "int8", "int8"),
     ("nvfp4", "nvfp4", "fp4"), ("fp8_e4m3_block", "fp8_e4m3_block", "fp8")],
)  # fmt: skip
def test_the_product_runs_in_the_type_of_the_wider_operand(act: str, weight: str, kind: str) -> None:
    assert math_type(act, weight) == kind


def test_metadata_is_part_of_the_bytes() -> None:
    # 4 bits and one 16-bit scale in 128 values: 0.5 + 2 / 128
    assert storage("int4_g128").bytes_per_value == pytest.approx(0.5 + 2 / 128, rel=1e-3)
    assert storage("fp8_e4m3_block").bytes_per_value == pytest.approx(1 + 4 / 128**2, rel=1e-4)


def test_large_square_product_is_near_its_fraction_of_the_peak() -> None:
    t = table(8192, 8192, 8192)
    seconds = gemm.m2(t, H100, CONSTANTS)[0]
    # 2 x 8192^3 / 989.4e12 = 1.111 ms; ec = 0.81 -> 1.372 ms and a tail of a few percent
    assert 1.372e-3 < seconds < 1.372e-3 * 1.1


def test_small_batch_reads_the_weights_at_its_fraction_of_the_bandwidth() -> None:
    t = table(1, 8192, 8192)
    seconds = gemm.m2(t, H100, CONSTANTS)[0]
    # 8192^2 x 2 B / 3.352e12 = 40.0 us; em = 0.82 (ramp (1.34)^0.02) -> 48.5 us, launch 2.5 us
    assert seconds == pytest.approx(51e-6, rel=0.06)


@settings(max_examples=30, deadline=None)
@given(
    m=st.integers(1, 20000), n=st.integers(16, 30000), k=st.integers(64, 30000),
    formats=st.sampled_from([("bf16", "bf16"), ("bf16", "int4_g128"), ("fp8_e4m3", "fp8_e4m3"), ("int8", "int8")]),
)  # fmt: skip
def test_physics_is_finite_and_above_the_roofline_of_its_own_efficiencies(
    m: int, n: int, k: int, formats: tuple[str, str]
) -> None:
    t = table(m, n, k, act_format=formats[0], weight_format=formats[1])
    c = {**CONSTANTS, "dq": 0.1, "tg": 5.0, "eg": 0.9, "cg": 0.2}
    seconds = gemm.m2(t, A100, c)
    assert np.isfinite(seconds).all()
    assert (seconds >= 2.5e-6).all()
    assert (seconds > bound(gemm.work(t, A100), A100)[0]).all()


def test_more_choices_never_make_the_best_one_slower() -> None:
    t = table([32, 128, 384, 2048], [4096, 5120, 7168, 11008], [4096, 768, 12288, 2048])
    plan = gemm_tiles.plan_of(t, A100)
    shapes = gemm_tiles.shapes_of(t, A100, plan)
    one = replace(plan, tiles=((128, 128),), splits=(1,))
    full, _ = gemm_tiles.best_candidate(CONSTANTS, shapes, A100, plan)
    single, _ = gemm_tiles.best_candidate(CONSTANTS, shapes, A100, one)
    assert (full <= single * (1 + 1e-12)).all()
    assert (full < single).any()


def test_split_k_is_chosen_for_few_tiles_and_a_long_k_only() -> None:
    t = table([16, 8192], [512, 8192], [32768, 8192])
    plan = gemm_tiles.plan_of(t, A100)
    pick = gemm_tiles.chosen(CONSTANTS, gemm_tiles.shapes_of(t, A100, plan), A100, plan)
    assert pick[2][0] > 1
    assert pick[2][1] == 1


def test_warm_weights_are_faster_and_in_model_ones_are_cold() -> None:
    def timed(copies: float) -> float:
        return float(
            gemm.m2({**table(16, 2048, 2048), "weight_copies": np.array([copies])}, A100, CONSTANTS)[0]
        )

    assert timed(1) < timed(100)
    assert timed(0) == pytest.approx(timed(100), rel=1e-6)


def test_a_device_without_tiles_gets_the_simple_roofline() -> None:
    other = replace(A100, kind="tpu", core_count=1, l2_bytes=0.0, l2_bandwidth=0.0)
    t = table(4096, 4096, 4096)
    # 2 x 4096^3 / (312e12 x 0.7) + 5 us
    assert gemm.m2(t, other, gemm.SIMPLE)[0] == pytest.approx(2 * 4096**3 / (312e12 * 0.7) + 5e-6)


def test_the_fit_recovers_the_times_it_was_made_from() -> None:
    rng = np.random.default_rng(0)
    m = 2.0 ** rng.integers(0, 13, 160)
    t = table(m, rng.choice([1024, 2048, 4096, 8192], 160), rng.choice([1024, 4096, 8192], 160))
    truth = gemm.m2(t, A100, CONSTANTS)
    plan = gemm_tiles.plan_of(t, A100)
    shapes = gemm_tiles.shapes_of(t, A100, plan)
    names = gemm_fit.names_of(plan, True)
    fitted = gemm_fit.fit_constants(shapes, A100, plan, names, truth, np.ones(160), starts=({},))
    again = gemm_tiles.evaluate(fitted, shapes, A100, plan)
    assert np.mean(np.abs(again / truth - 1)) < 0.03
    for name, (low, high, _) in gemm_fit.LIMITS.items():
        if name in fitted:
            assert low - 1e-6 <= fitted[name] <= high + 1e-6


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        gemm.fit(table(1, 64, 64), A100, np.array([1e-5]))


def test_deepgemm_tile_minimises_waves_first() -> None:
    m, n = np.array([768.0, 8192.0, 16.0]), np.array([3584.0, 8192.0, 4096.0])
    rows, columns, waves = deepgemm_tile(m, n, 132)
    # 768 x 3584: 6 x ceil(3584/192) = 6 x 19 = 114 blocks in one wave, where 128 x 128 needs 168 in two
    assert (rows[0], columns[0], waves[0]) == (128, 192, 1)
    for i in range(3):
        blocks = np.ceil(m[i] / rows[i]) * np.ceil(n[i] / columns[i])
        assert waves[i] == np.ceil(blocks / 132)


def test_sharing_is_between_like_classes_only() -> None:
    h200 = device("nvidia/h200-sxm")
    bf16 = "bf16*bf16|vllm-0.24.0|graph"
    assert gemm.share(bf16, H100, "bf16*bf16|trtllm-1.3|graph", H100) == 0.85
    assert gemm.share(bf16, H100, "bf16*bf16|vllm-0.24.0|graph", h200) == 0.75
    assert gemm.share(bf16, H100, bf16, A100) == 0.0
    assert gemm.share("fp8_e4m3*fp8_e4m3|vllm|graph", H100, "fp8_e4m3*fp8_e4m3|sglang|graph", H100) == 0.0
    assert gemm.share(bf16, H100, "bf16*bf16|vidur|in_model", H100) == 0.0
