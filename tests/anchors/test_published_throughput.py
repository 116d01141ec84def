"""Largest throughput of a deployment against published measurements: never above the bound, close to the estimate.

TensorRT-LLM v1.0, docs/source/performance/perf-overview.md (NVIDIA/TensorRT-LLM at 00f3768): FP8 weights,
activations and cache, requests queued without delay, output tokens/s of all GPUs. Runs differ from ours in their batch
limits and in how full the cache is on average, so the estimate is held to 40 %.
"""

from __future__ import annotations

import numpy as np
import pytest

from viewer.scenario import Scenario
from viewer.serving import Requests, steady_service

BATCHES = sorted({int(b) for b in np.geomspace(1, 4096, 120)})
#: model, hardware, tp, prompt, output, measured tokens/s.
PUBLISHED = [
    ("llama-3.1-8b", "nvidia/h100-sxm", 1, 128, 2048, 22714),
    ("llama-3.1-8b", "nvidia/h100-sxm", 1, 1000, 1000, 15220),
    ("llama-3.1-8b", "nvidia/h100-sxm", 1, 2048, 128, 3450),
    ("llama-3.1-8b", "nvidia/h100-sxm", 1, 2048, 2048, 9305),
    ("llama-3.1-8b", "nvidia/h100-sxm", 1, 20000, 2000, 1351),
    ("llama-3.1-8b", "nvidia/h200-sxm", 1, 1000, 1000, 17744),
    ("llama-3.1-70b", "nvidia/h100-sxm", 2, 128, 2048, 6651),
    ("llama-3.1-70b", "nvidia/h100-sxm", 2, 1000, 1000, 4205),
    ("llama-3.1-70b", "nvidia/h100-sxm", 2, 2048, 128, 762),
    ("llama-3.1-70b", "nvidia/h100-sxm", 2, 2048, 2048, 3082),
    ("llama-3.1-70b", "nvidia/h200-sxm", 1, 128, 2048, 4336),
    ("llama-3.1-70b", "nvidia/h200-sxm", 1, 1000, 1000, 2909),
]


def largest(model: str, hardware: str, tp: int, requests: Requests, fidelity: str) -> float:
    """Largest tokens/s over the batch sizes that fit."""
    base = Scenario(model=model, hardware=hardware, compression="w8a8-fp8+kv8-fp8")
    service = steady_service(base.with_(tp=tp, fidelity=fidelity), BATCHES, requests)
    return float(np.where(service.fits == 1, service.tokens_per_s, 0.0).max())


@pytest.mark.parametrize(("model", "hardware", "tp", "prompt", "output", "measured"), PUBLISHED)
def test_published_throughput(
    model: str, hardware: str, tp: int, prompt: int, output: int, measured: float
) -> None:
    requests = Requests(prompt=prompt, output=output, chunk=8192)
    assert measured < largest(model, hardware, tp, requests, "bound")
    assert measured == pytest.approx(largest(model, hardware, tp, requests, "estimate"), rel=0.4)
