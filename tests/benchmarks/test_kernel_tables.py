"""Rows a second of kernel table predictions (measured, not asserted)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from viewer.calibration.frames import predict_frame

ROWS = 100_000


@pytest.mark.parametrize("rung", ["M0", "M2", "M3"])
def test_rows_a_second(benchmark: Any, rung: str) -> None:
    """100 000 BF16 products of one device; the table is in memory."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"hardware": "nvidia/h100-sxm", "op": "gemm", "m": rng.integers(1, 32768, ROWS),
         "n": rng.integers(2, 400, ROWS) * 64, "k": rng.integers(2, 256, ROWS) * 64, "act_format": "bf16",
         "weight_format": "bf16", "library": "vllm", "l2": "cold", "weight_copies": 6}
    )  # fmt: skip
    out = benchmark.pedantic(predict_frame, args=(frame,), kwargs={"rung": rung}, rounds=1, iterations=1)
    assert out["bound_us"].notna().all()
