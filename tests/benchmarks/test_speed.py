"""How long things take (pytest-benchmark prints the figures; nothing here asserts a time).

Run: python -m pytest tests/benchmarks --benchmark-only
"""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest

from viewer import Decode, analyze
from viewer.planned import evaluate, plan_of
from viewer.workload import decode_step

COMMAND = [sys.executable, "-m", "viewer.cli"]


@pytest.fixture(name="contexts")
def _contexts():
    return itertools.count(100)


def scenario_at(context: int):
    return analyze("llama-2-13b", "nvidia/a6000", Decode(context=context))


def test_analyze_totals_only(benchmark, contexts):
    assert benchmark(lambda: scenario_at(next(contexts)).time_s()) > 0


def test_analyze_with_totals(benchmark, contexts):
    assert benchmark(lambda: scenario_at(next(contexts)).totals).time_s > 0


def test_analyze_with_frame(benchmark, contexts):
    assert len(benchmark(lambda: scenario_at(next(contexts)).frame)) == 12


def test_analyze_with_memory(benchmark, contexts):
    assert benchmark(lambda: scenario_at(next(contexts)).memory).fits


def test_a_grid_of_a_million_points(benchmark):
    plan = plan_of(scenario_at(1).scenario)
    batch, context = np.arange(1.0, 1001)[:, None], np.arange(1001.0, 2001)[None, :]

    def run():
        evaluation = evaluate(plan, decode_step(batch, context))
        return evaluation.total([t.lower for t in evaluation.times])

    assert benchmark.pedantic(run, rounds=3).shape == (1000, 1000)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["analyze", "llama-2-13b", "nvidia/a6000"]], ids=["help", "analyze"]
)
def test_process(benchmark, arguments):
    done = benchmark.pedantic(
        lambda: subprocess.run([*COMMAND, *arguments], capture_output=True, check=True),
        rounds=5,
        warmup_rounds=1,
    )
    assert done.stdout
