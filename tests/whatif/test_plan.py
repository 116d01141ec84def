"""Plans: the same optimum as trying everything, budgets kept by whole analyses, a file that analyze takes."""

from __future__ import annotations

import itertools
import math

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from viewer import Decode, Generation, InputError, Prefill, analyze, plan
from viewer.analysis import make_scenario
from viewer.cli import main
from viewer.planned import policy_of
from viewer.risk import risk_of
from viewer.whatif.plan_solver import exhaustive, extremes, select
from viewer.whatif.plan_units import Choice, Problem, Unit, policy_json
from viewer.whatif.planning import rules_of

BASE = make_scenario("llama-3.1-8b", "nvidia/a6000", Decode(batch=8, context=4096))
SMALL = ("w16a16", "w8a16", "w4a16-g128")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(-40, 0), st.integers(-40, 5), st.integers(0, 50)), min_size=1, max_size=4
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(-120, 0),
    st.integers(-120, 5),
)
def test_equals_trying_everything(table, first, second):
    units = [
        Unit(
            str(i),
            ("op",),
            (i,),
            tuple(Choice(str(j), (), {"m": a, "t": b}, float(n)) for j, (a, b, n) in enumerate(row)),
        )
        for i, row in enumerate(table)
    ]
    room = {"m": first + 0.5, "t": second + 0.5}
    mine, best = select(units, room), exhaustive(units, room)
    assert bool(mine.picks) == bool(best.picks)
    if best.picks:
        assert mine.noise == pytest.approx(best.noise, abs=1e-6)
        assert mine.bound_noise <= best.noise + 1e-6


@pytest.mark.parametrize(
    "load", [Decode(batch=8, context=4096), Prefill(prompt=100), Generation(prompt=64, output=9)]
)
def test_optimum_of_whole_analyses(load):
    """Every combination of two blocks x two families x two formats, each analyzed and assessed as a whole."""
    base = BASE.with_(workload=load)
    speed = "ttft_s" if load.phase == "prefill" else "tpot_s"
    problem = Problem(
        base, ("w16a16", "w4a16-g128"), ("kv16", "kv8"), blocks=2, wanted=("memory_bytes", speed)
    )
    units = [u for u in problem.units if u.family in ("down_proj", "cache")]
    rest = [u for u in problem.units if u not in units]
    first = problem.measure(())
    low = extremes(units, first)[speed][0]
    target = 0.5 * (first[speed] + low)
    best = math.inf
    for picks in itertools.product((0, 1), repeat=len(units)):
        rules = rules_of(problem, [*units, *rest], (*picks, *[0] * len(rest)))
        if problem.measure(rules)[speed] <= target:
            error = risk_of(base.with_(compression=policy_json(problem.compression(rules)))).assessment
            best = min(best, 10 ** (-error.stream_sqnr_db / 10))
    found = select(units, {speed: target - first[speed]})
    assert found.noise == pytest.approx(best, rel=1e-9)
    after = problem.measure(rules_of(problem, [*units, *rest], (*found.picks, *[0] * len(rest))))
    assert after[speed] <= target * (1 + 1e-12)


@pytest.mark.parametrize(
    "budgets",
    [{"tpot_s": 0.015}, {"memory_bytes": 14e9}, {"ttft_s": 2.4, "tpot_s": 0.014}, {"energy_j": 4.0}],
    ids=["tpot", "memory", "both", "energy"],
)
def test_budgets_are_kept_and_the_proof_closes(budgets):
    found = plan(BASE, blocks=4, **budgets)
    assert found.feasible
    assert found.proven
    assert found.bound_noise == pytest.approx(found.noise, rel=1e-5)
    whole = analyze(found.scenario)
    for name, value in budgets.items():
        assert found.after[name] <= value * (1 + 1e-9)
    assert found.after["memory_bytes"] == whole.memory.total_bytes
    # the noise that was minimized is what the error side says of the written plan
    error = risk_of(found.scenario).assessment
    assert 10 ** (-error.stream_sqnr_db / 10) == pytest.approx(found.noise, rel=1e-9)
    assert found.error.stream_sqnr_db == error.stream_sqnr_db


def test_more_room_never_means_more_error():
    noises = [plan(BASE, tpot_s=t, candidates=SMALL, blocks=4).noise for t in (0.011, 0.013, 0.016, 0.03)]
    assert noises == sorted(noises, reverse=True)
    assert noises[-1] == 0.0


def test_nothing_meets_it():
    found = plan(BASE, tpot_s=1e-3, blocks=2)
    assert not found.feasible
    assert "the least that these candidates reach is" in found.notes[0]


def test_without_a_budget_it_fits_the_device():
    base = make_scenario("llama-3.1-70b", "nvidia/a6000", Decode(batch=1, context=2048))
    found = plan(base, blocks=4)
    assert analyze(base).memory.fits is False
    assert analyze(found.scenario).memory.fits


def test_pruning_under_a_latency_budget():
    base = BASE.with_(workload=Prefill(prompt=2048))
    found = plan(base, ttft_s=0.15, candidates=("w16a16", "2:4", "rank1024"), cache=(), blocks=4)
    assert found.feasible
    assert analyze(found.scenario).totals.time_s <= 0.15
    assert {row["choice"] for row in found.rows} <= {"w16a16", "2:4", "rank1024"}


def test_sensitivities_move_the_bits():
    # by itself noise in early layers counts more; a thousandfold sensitivity of the late half turns that round
    weigh = {("down_proj", layer): 1000.0 if layer >= 16 else 1.0 for layer in range(32)}
    ask = {"tpot_s": 0.016, "candidates": SMALL, "cache": (), "blocks": 2}
    plain, found = plan(BASE, **ask), plan(BASE, **ask, sensitivities=weigh)

    def down(result, first):
        return next(
            SMALL.index(r["choice"])
            for r in result.rows
            if r["family"] == "down_proj" and (r["layers"] == "0-31" or r["layers"].startswith(first))
        )

    assert down(plain, "0-15") <= down(plain, "16-31")
    assert down(found, "0-15") > down(found, "16-31")


def test_what_the_device_cannot_use_brings_no_noise():
    # the A6000 has no FP8 unit: activations stay in 16 bits there, so only the FP8 weights count
    here = plan(BASE, candidates=("w8a8-fp8",), cache=(), blocks=1, memory_bytes=1e12)
    there = plan(
        BASE.with_(hardware="nvidia/h100-sxm"),
        candidates=("w8a8-fp8",),
        cache=(),
        blocks=1,
        memory_bytes=1e12,
    )
    assert here.noise < there.noise
    for found in (here, there):
        assert found.error.stream_sqnr_db == analyze(found.scenario).error["stream_sqnr_db"]


@pytest.mark.parametrize("model", ["llama-3.1-8b", "gemma-2-9b", "deepseek-v2-lite"])
@pytest.mark.parametrize(
    ("linear", "cache", "preset"),
    [
        ("w16a16", "kv4", "w16a16+kv4"),
        ("w4a16-g128", "kv8", "w4a16-g128+kv8"),
        ("w8a8-int8", "kv16", "w8a8-int8"),
    ],
)
def test_one_choice_everywhere_is_the_preset(model, linear, cache, preset):
    # the rules of a plan that gives every unit the same must say what the preset says: time, memory and error
    base = BASE.with_(model=model)
    problem = Problem(base, ("w16a16", linear), ("kv16", cache), blocks=3)
    units = problem.units
    picks = [len(u.choices) - 1 for u in units]
    text = policy_json(problem.compression(rules_of(problem, units, picks)))
    mine, named = analyze(base.with_(compression=text)), analyze(base.with_(compression=preset))
    assert mine.totals.time_s == pytest.approx(named.totals.time_s, rel=1e-12)
    assert mine.memory.total_bytes == named.memory.total_bytes
    assert mine.memory.kv_cache_bytes == named.memory.kv_cache_bytes
    assert mine.error == named.error
    # and the sum of the units' shares is the whole
    first = problem.measure(())
    total = sum(u.choices[-1].cost["memory_bytes"] for u in units)
    assert first["memory_bytes"] + total == pytest.approx(named.memory.total_bytes, rel=1e-4)
    noise = sum(u.choices[-1].noise for u in units) + problem.base_noise
    stream = risk_of(base.with_(compression=preset)).assessment.stream_sqnr_db
    assert noise == pytest.approx(10 ** (-stream / 10), rel=1e-9)


def test_front_is_monotone():
    found = plan(BASE, tpot_s=0.015, candidates=SMALL, blocks=2, front=5)
    times = [p["tpot_s"] for p in found.front]
    noises = [p["stream_noise"] for p in found.front]
    assert times == sorted(times)
    assert noises == sorted(noises, reverse=True)
    assert found.chart()["data"]


def test_file_is_a_compression(tmp_path, capsys):
    path = tmp_path / "plan.yaml"
    arguments = ["llama-3.1-8b", "a6000", "--batch", "8", "--context", "4096"]
    assert main(["plan", *arguments, "--tpot", "13ms", "--blocks", "4", "--out", str(path)]) == 0
    out = capsys.readouterr().out
    assert "optimal" in out
    assert all(len(line) <= 80 for line in out.splitlines())
    assert yaml.safe_load(path.read_text())["rules"]
    base = BASE.with_(compression=str(path))
    assert analyze(base).totals.time_s <= 0.013
    assert policy_of(analyze(base).plan.model, str(path)).name == "plan"


def test_command_without_a_solution(capsys):
    assert main(["plan", "llama-3.1-8b", "a6000", "--tpot", "1ms", "--blocks", "2", "--json"]) == 1
    assert '"feasible": false' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"candidates": ("w16a16", "ffn25")}, "changes the model's shapes"),
        ({"candidates": ("w16a16", "w4a17")}, "unknown compression"),
        ({"candidates": ()}, "at least one candidate"),
        ({"tpot_s": -1.0}, "needs a number above 0"),
        ({"blocks": 0}, "allowed are 1 to 1024"),
    ],
)
def test_bad_questions(options, message):
    with pytest.raises(InputError, match=message):
        plan(BASE, **options)
