"""Devices and tables with round numbers for the tests of the additive kernel models."""

from __future__ import annotations

from typing import Any

import numpy as np

from viewer.calibration.base import Device


def gpu(family: str = "ampere", **changes: Any) -> Device:
    """100 cores, 100 TFLOP/s, 1 TB/s, 10 MB of L2 at 5 TB/s, a link of 100 GB/s."""
    values: dict[str, Any] = {
        "name": "test/gpu",
        "architecture": "sm_80",
        "family": family,
        "kind": "gpu",
        "core_count": 100.0,
        "rated_hz": 1e9,
        "maximum_hz": 1e9,
        "tensor_peak": {"bf16": 100e12, "fp8": 200e12},
        "vector_peak": {"fp32": 10e12},
        "exp_per_s": 1.6e12,
        "dram_bandwidth": 1e12,
        "l2_bytes": 10e6,
        "l2_bandwidth": 5e12,
        "links": {"nvlink": 100e9},
    }
    return Device(**{**values, **changes})


def attention(rows: int = 1, **columns: Any) -> dict[str, Any]:
    """An attention table: batch 2, 512 positions, 32 query and 8 KV heads of 128, bf16, no library."""
    numbers = {"batch": 2, "seq": 512, "n_heads": 32, "n_kv_heads": 8, "head_dim": 128, "window": 0}
    texts = {
        "act_format": "bf16",
        "kv_format": "bf16",
        "library": "",
        "includes": "",
        "launch": "graph",
        "l2": "warm",
    }
    table: dict[str, Any] = {k: np.full(rows, float(v)) for k, v in numbers.items()}
    table.update(texts)
    for name, value in columns.items():
        table[name] = value if isinstance(value, str) else np.asarray(value, dtype=float) + np.zeros(rows)
    return table


def attention_grid(seed: int = 0, rows: int = 300, **columns: Any) -> dict[str, Any]:
    """Random shapes of the usual grid: batches 1-64, lengths 16-8192, five head layouts."""
    rng = np.random.default_rng(seed)
    heads = np.array([(32, 8), (32, 32), (64, 8), (16, 2), (40, 8)])[rng.integers(0, 5, rows)]
    return attention(
        rows,
        batch=2.0 ** rng.integers(0, 7, rows),
        seq=2.0 ** rng.integers(4, 14, rows),
        n_heads=heads[:, 0],
        n_kv_heads=heads[:, 1],
        **columns,
    )
