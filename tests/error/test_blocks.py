"""Scaled floats, code books, GGUF blocks: hand-made blocks and independent implementations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from viewer import formats
from viewer.error import sqnr_db
from viewer.error.blocks import quantize_mx, quantize_nvfp4, quantize_scaled_float
from viewer.error.codebooks import (
    fit_levels,
    nearest_level,
    nf4_levels,
    quantize_lookup,
    quantize_power_of_two,
    quantize_sign,
    quantize_ternary,
)
from viewer.error.floats import E2M1, E4M3
from viewer.error.layout import TensorStats
from viewer.error.quantizers import quantizer
from viewer.errors import InputError

CATALOG = formats.available()


def test_mx_block_by_hand() -> None:
    # amax 7: scale 2^(2 - 2) = 1; E2M1 saturates at 6 and holds 0, .5, 1, 1.5, 2, 3, 4, 6
    x = np.array([[7.0, -2.4, 0.3, 0.2]])
    np.testing.assert_array_equal(quantize_mx(x, E2M1), [[6, -2, 0.5, 0]])
    # a block of zeros stays zero, the next block has its own scale: amax 0.75 gives 2^(-1 - 2) = 1/8, 0.75 =
    # 6/8
    x = np.zeros((1, 64))
    x[0, 40] = 0.75
    np.testing.assert_array_equal(quantize_mx(x, E2M1), x)


def test_nvfp4_by_hand() -> None:
    # tensor scale 2688 / (448 * 6) = 1; block 1: 2688 / 6 = 448, exact in E4M3, so 2688 = 6 * 448 is exact.
    # block 2: amax 6.6, 1.1 rounds to 1.125 in E4M3 (steps of 1/8): 6.6 / 1.125 = 5.87 -> 6 -> 6.75; 1 ->
    # 1.125
    x = np.zeros((1, 32))
    x[0, 0], x[0, 16], x[0, 17] = 2688.0, 6.6, 1.0
    y = quantize_nvfp4(x)
    assert (y[0, 0], y[0, 16], y[0, 17]) == (2688.0, 6.75, 1.125)
    # the same block alone, with the tensor's range given, is the same
    np.testing.assert_array_equal(quantize_nvfp4(x[:, 16:], stats=TensorStats(0.0, 2688.0)), y[:, 16:])


def test_nvfp4_block_below_the_smallest_scale_is_lost() -> None:
    # tensor scale 1; a block of amax 6 * 2^-11 needs a scale of 2^-11, E4M3 ends at 2^-9: rounds to 0
    x = np.zeros((1, 32))
    x[0, 0], x[0, 16] = 2688.0, 6 * 2.0**-11
    assert quantize_nvfp4(x)[0, 16] == 0


def test_scaled_fp8_puts_the_peak_on_the_largest_value() -> None:
    x = np.array([[3.0, -1.0], [300.0, 100.0]])
    y = quantize_scaled_float(x, E4M3)
    np.testing.assert_allclose(y[:, 0], [3, 300])
    # per tensor: s = 300 / 448; 3 / s = 4.48 -> 4.5 (step 1/2 in 4 .. 8)
    assert quantize_scaled_float(x, E4M3, granularity="tensor")[0, 0] == pytest.approx(4.5 * 300 / 448)
    # one 2 x 2 tile is per tensor
    np.testing.assert_allclose(
        quantize_scaled_float(x, E4M3, granularity="block", block=(2, 2)),
        quantize_scaled_float(x, E4M3, granularity="tensor"),
    )
    with pytest.raises(InputError, match="granularity"):
        quantize_scaled_float(x, E4M3, granularity="row")


def test_nf4_levels_are_normal_quantiles() -> None:
    levels = np.array(nf4_levels())
    assert levels.size == 16
    assert (levels[0], levels[7], levels[15]) == (-1, 0, 1)
    # second largest of 8 positive: ppf of 0.9677083 - (0.9677083 - 0.5) / 8 over ppf(0.9677083)
    assert levels[14] == pytest.approx(norm.ppf(0.9677083 - 0.4677083 / 8) / norm.ppf(0.9677083))
    # the published table (bitsandbytes, QLoRA appendix E) in single precision
    np.testing.assert_allclose(
        levels[[1, 6, 8, 14]], [-0.69619280, -0.09105004, 0.07958030, 0.72295684], atol=1e-7
    )


def test_double_quantization_costs_little_and_never_flips_a_scale() -> None:
    x = np.random.default_rng(0).standard_normal((16, 16384))
    levels = np.asarray(nf4_levels())
    single, double = quantize_lookup(x, levels), quantize_lookup(x, levels, double_quant=True)
    assert sqnr_db(x, single) - 0.1 < sqnr_db(x, double) <= sqnr_db(x, single) + 0.02
    x[:, 64:128] = 0  # a zero block stays zero
    assert not quantize_lookup(x, levels, double_quant=True)[:, 64:128].any()


def test_power_of_two() -> None:
    # 3 bits: sign and 3 exponents (peak 8: 8, 4, 2) and 0; 3 is the midpoint of 2 and 4 and goes down; 1 is
    # the midpoint of 0 and 2
    x = np.array([[8.0, -5.9, 6.1, 3.0, 3.1, 1.1, 1.0, -0.4]])
    np.testing.assert_array_equal(quantize_power_of_two(x, 3), [[8, -4, 8, 2, 4, 2, 0, 0]])
    # scaled by the peak: 9 is a level, so are 4.5 and 2.25
    y = quantize_power_of_two(np.array([[9.0, 4.0, 0.0]]), 3, scaled=True)
    np.testing.assert_array_equal(y, [[9, 4.5, 0]])
    with pytest.raises(InputError, match="2 bits"):
        quantize_power_of_two(x, 1)


def test_ternary_and_sign_by_hand() -> None:
    # mean |x| = (4 + 1 + 0.5 + 2.5) / 4 = 2: 4 / 2 clips to 1, 0.5 and 0.25 round to 0, 1.25 to 1
    x = np.array([[4.0, -1.0, 0.5, -2.5]])
    np.testing.assert_array_equal(quantize_ternary(x), [[2, 0, 0, -2]])
    np.testing.assert_array_equal(quantize_sign(x), [[2, -2, 2, -2]])


def test_sign_of_a_gaussian_keeps_two_over_pi_of_the_energy() -> None:
    # least squares: error = 1 - (E|x|)^2 = 1 - 2 / pi, SQNR = 4.39 dB; Laplace: 1 - 1/2, 3.01 dB
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 4096))
    assert sqnr_db(x, quantize_sign(x)) == pytest.approx(-10 * math.log10(1 - 2 / math.pi), abs=0.03)
    x = rng.laplace(size=(64, 4096))
    assert sqnr_db(x, quantize_sign(x)) == pytest.approx(3.01, abs=0.05)


def test_fitted_levels_reach_the_lloyd_max_optimum() -> None:
    # Max 1960, table I: 4 levels for a unit Gaussian are +-0.4528 and +-1.510, MSE 0.1175
    x = np.random.default_rng(0).standard_normal(400_000)
    levels = fit_levels(x, 4)
    np.testing.assert_allclose(levels, [-1.510, -0.4528, 0.4528, 1.510], atol=0.02)
    assert np.mean(np.square(x - nearest_level(x, levels))) == pytest.approx(0.1175, abs=0.001)
    np.testing.assert_array_equal(fit_levels(np.array([1.0, 1.0, 5.0]), 8), [1, 5])
    with pytest.raises(InputError, match="empty"):
        fit_levels(np.array([]), 4)


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0"])
def test_gguf_blocks_agree_with_the_maintained_package(kind: str) -> None:
    gguf = pytest.importorskip("gguf")
    x = np.random.default_rng(5).standard_normal((8, 512)).astype(np.float32)
    qtype = gguf.GGMLQuantizationType[kind]
    expected = gguf.quants.dequantize(gguf.quants.quantize(x, qtype), qtype)
    got = quantizer(f"gguf_{kind.lower()}").apply(x, None)
    np.testing.assert_allclose(got, expected, rtol=2e-3, atol=2e-4 * np.abs(x).max())


def test_k_quants_lie_between_their_neighbours() -> None:
    x = np.random.default_rng(0).standard_normal((32, 4096)).astype(np.float32)
    names = ["gguf_q2_k", "gguf_q3_k", "gguf_q4_k", "gguf_q5_k", "gguf_q6_k", "gguf_q8_0"]
    found = [sqnr_db(x, quantizer(name).apply(x, None)) for name in names]
    # each bit is worth about 6 dB (step halves: 20 log10 2 = 6.02)
    assert all(4 < b - a < 12 for a, b in itertools.pairwise(found))
    # the search makes the k-quant better than the plain affine block with exact scales
    plain = quantizer("int4_g32_asym").apply(x, None)
    assert found[2] > sqnr_db(x, plain)


@pytest.mark.parametrize("name", CATALOG)
def test_every_listed_format_has_a_quantizer_that_behaves(name: str) -> None:
    x = np.random.default_rng(1).standard_normal((128, 600)).astype(np.float32)  # 600: no block divides it
    x[3] = 0.0
    q = quantizer(name)
    y = q.apply(x, TensorStats(float(x.min()), float(x.max())))
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert np.isfinite(y).all()
    assert not y[3].any()
    assert sqnr_db(x, y) > 0.5
    again = q.apply(x, TensorStats(float(x.min()), float(x.max())))
    np.testing.assert_array_equal(y, again)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(CATALOG), st.integers(1, 3), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_quantizers_commute_with_powers_of_two(name: str, rows: int, cols: int, seed: int) -> None:
    # all scales are relative to the data: doubling a tensor doubles what is read back. Plain casts too, away
    # from underflow.
    x = np.random.default_rng(seed).standard_normal((rows, cols))
    q = quantizer(name)
    if name.startswith(("gguf_q", "gguf_iq", "gguf_tq")):
        x = np.where(np.abs(x) < 1e-3, 0, x)  # FP16 scales stay normal
    low, high = float(x.min()), float(x.max())
    y, twice = q.apply(x, TensorStats(low, high)), q.apply(2 * x, TensorStats(2 * low, 2 * high))
    np.testing.assert_allclose(twice, 2 * y, rtol=1e-9, atol=1e-6)


def test_stand_ins_say_so() -> None:
    assert "stood in for by q2_k" in quantizer("gguf_iq2_xs").note
    assert quantizer("gguf_q4_k").note == ""


def test_joined_names_prune_first() -> None:
    x = np.random.default_rng(0).standard_normal((4, 256))
    y = quantizer("int4_g128+2:4").apply(x, None)
    assert (y.reshape(-1, 4) != 0).sum(axis=1).max() == 2
    np.testing.assert_array_equal(y, quantizer("2:4+int4_g128").apply(x, None))
    with pytest.raises(InputError, match="int4_q128"):
        quantizer("int4_q128+2:4")
