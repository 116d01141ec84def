"""Signal to quantization noise of every format on Gaussian and Laplace values, within 0.3 dB.

Conventions: absmax scaling, symmetric scale amax / (2^(b-1) - 1), integer zero point, MX scale
2^(floor(log2 amax) - emax) with saturation, a row of 4096 values, ternary scale mean |x|.
"""

from __future__ import annotations

import numpy as np
import pytest

from viewer.error import sqnr_db
from viewer.error.floats import E4M3, round_to_float
from viewer.error.quantizers import quantizer

# format, Gaussian dB, Laplace dB
EXPECTED = [
    ("bf16", 55.6, 55.6),
    ("int8", 41.2, 36.8),  # a scale per row of 4096
    ("int8_g128", 43.8, 41.0),
    ("fp8_e4m3_channel", 31.5, 31.6),
    ("fp8_e5m2_channel", 25.6, None),
    ("mxfp8", 30.7, 30.0),
    ("mxfp6", 30.9, 30.3),
    ("nvfp4", 20.4, 20.7),
    ("nf4", 20.7, 19.7),
    ("int4_g32_asym", 21.9, 20.5),
    ("int4_g128_asym", 20.0, 17.7),
    ("int4_g128", 18.6, 15.9),
    ("mxfp4", 18.8, 17.9),
    ("int4", 16.0, 11.8),
    ("int3_g128_asym", 13.3, 11.3),  # scale and zero point, as these formats are stored
    ("int2_g128_asym", 6.0, 4.9),
    ("ternary", 5.8, 4.1),
    ("int1", 4.4, 3.0),
    ("2:4", 8.8, 11.0),
    ("sparse50-bitmap", 11.5, 14.8),
]
ROWS = 512


@pytest.fixture(scope="module")
def samples() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    shape = (ROWS, 4096)
    return {
        "gaussian": rng.standard_normal(shape, dtype=np.float32),
        "laplace": rng.laplace(size=shape).astype(np.float32),
    }


@pytest.mark.parametrize(("name", "gaussian", "laplace"), EXPECTED)
def test_sqnr(name: str, gaussian: float, laplace: float | None, samples: dict[str, np.ndarray]) -> None:
    for dist, expected in (("gaussian", gaussian), ("laplace", laplace)):
        if expected is not None:
            x = samples[dist]
            assert sqnr_db(x, quantizer(name).apply(x, None)) == pytest.approx(expected, abs=0.3)


def test_symmetric_3_and_2_bit_groups_are_far_worse(samples: dict[str, np.ndarray]) -> None:
    # The zero point is what makes 2 bits usable: 3 of 4 codes left of a symmetric grid are -s, 0, s with
    # s = amax, which rounds most of a Gaussian group of 128 to 0.
    x = samples["gaussian"]
    assert sqnr_db(x, quantizer("int3_g128").apply(x, None)) == pytest.approx(11.3, abs=0.3)
    assert sqnr_db(x, quantizer("int2_g128").apply(x, None)) == pytest.approx(2.3, abs=0.3)


def test_mx_scale_by_ceil_would_be_one_decibel_better(samples: dict[str, np.ndarray]) -> None:
    # 2^(ceil(log2 amax) - emax) never saturates: 31.5 dB for MXFP8, against 30.7 with the floor
    x = samples["gaussian"].reshape(-1, 32)
    scale = np.exp2(np.ceil(np.log2(np.abs(x).max(axis=1, keepdims=True))) - 8)
    assert sqnr_db(x, round_to_float(x / scale, E4M3) * scale) == pytest.approx(31.5, abs=0.3)


def test_fp8_beats_int8_only_when_a_row_has_outliers() -> None:
    x = np.random.default_rng(3).standard_normal((64, 4096))
    int8, fp8 = quantizer("int8"), quantizer("fp8_e4m3_channel")
    assert sqnr_db(x, int8.apply(x, None)) > sqnr_db(x, fp8.apply(x, None)) + 5
    x[:, ::1000] *= 20  # 5 channels of 4096, 20 times as large
    assert sqnr_db(x, int8.apply(x, None)) < sqnr_db(x, fp8.apply(x, None)) - 5
