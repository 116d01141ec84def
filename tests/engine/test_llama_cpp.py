"""llama.cpp on this machine against ``roofline bench cpu`` and ``analyze`` of the same .gguf file.

``python -m pytest -m engine tests/engine -s`` prints the table. Other work on the machine spoils both sides.
"""

from __future__ import annotations

import importlib.util
import os

import pytest

from tests.engine.comparison import PLAN, campaign, mean_error, table
from tests.engine.gguf_files import BLOCKS, SHAPES

pytestmark = [pytest.mark.engine, pytest.mark.slow]
DECODE, PREFILL = 0.10, 0.20


@pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed")
@pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="the gguf package is not installed")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two threads need two processors")
def test_predicted_against_llama_cpp(tmp_path, capsys):
    lines, disturbed = campaign(tmp_path, list(SHAPES), list(BLOCKS), PLAN)
    for path in tmp_path.glob("*.gguf"):
        path.unlink()  # gigabytes
    with capsys.disabled():
        print(f"\n{table(lines)}\n{disturbed:.0%} of the benchmarks were disturbed by other work")
    # 2 shapes x 4 formats x 2 thread counts x (2 prompts + 2 contexts)
    assert len(lines) == 64
    assert all(line.bound in ("memory", "vector", "compute") for line in lines)
    assert all(line.bound == "vector" for line in lines if "Q" in line.file and line.phase == "prefill")
    assert all(line.bound == "memory" for line in lines if "F16" in line.file and line.phase == "decode")
    assert mean_error(lines, "decode") < DECODE
    assert mean_error(lines, "prefill") < PREFILL
