"""How long what-ifs take (pytest-benchmark prints the figures; nothing here asserts a time).

Run: python -m pytest tests/benchmarks/test_whatif_speed.py --benchmark-only
"""

from __future__ import annotations

import pytest

from viewer import Decode, Prefill, compare, plan, sensitivity, solve, sweep
from viewer.analysis import make_scenario
from viewer.whatif.sweeping import run_task, tasks_of

BASE = make_scenario("llama-2-13b", "nvidia/a6000", Decode(context=2047))
MILLION = {"batch": "1:1000:lin:1000", "context": "1001:2000:lin:1000"}


def test_bound_of_a_million_points(benchmark):
    """The evaluation alone: what one core does without building frames."""
    tasks = tasks_of(BASE, MILLION)
    benchmark.pedantic(lambda: sum(len(run_task(t)["time_s"]) for t in tasks), rounds=3, warmup_rounds=1)


def test_sweep_of_a_million_points(benchmark):
    assert len(benchmark.pedantic(lambda: sweep(BASE, MILLION), rounds=3)) == 1_000_000


@pytest.mark.parametrize(
    "ask",
    [
        {"unknown": "max-batch"},
        {"unknown": "max-batch", "tpot_s": 0.04},
        {"unknown": "batch", "when": "compute-bound", "op": "qkv_proj"},
        {"unknown": "bandwidth", "tpot_s": 0.01},
    ],
    ids=["fits", "targets", "crossover", "bandwidth"],
)
def test_solve(benchmark, ask):
    assert benchmark(lambda: solve(BASE, **ask)).found


def test_pay_off(benchmark):
    base = BASE.with_(workload=Prefill(), compression="w4a16-g128")
    assert benchmark(lambda: solve(base, "prompt", against="w16a16")).answer == 219


def test_sensitivity(benchmark):
    assert len(benchmark(lambda: sensitivity(BASE))) == 4


def test_compare(benchmark):
    settings = ["w16a16", "w8a8-int8", "w4a16-g128", "w4a16-g128+kv4"]
    assert len(benchmark(lambda: compare(BASE, settings, estimates=False).rows)) == 4


@pytest.mark.parametrize(
    "budgets", [{"tpot_s": 0.012}, {"memory_bytes": 12e9}, {"tpot_s": 0.014, "ttft_s": 2.4}], ids=str
)
def test_plan(benchmark, budgets):
    base = make_scenario("llama-3.1-8b", "nvidia/a6000", Decode(batch=8, context=4096))
    assert benchmark.pedantic(lambda: plan(base, **budgets), rounds=2).feasible
