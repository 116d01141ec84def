"""Pages that show something before anything is asked: scores of the calibrations, a finished plan."""

from __future__ import annotations

import pytest

from viewer.analysis import Analysis
from viewer.charts.ladder import RUNGS, ladder
from viewer.charts.pareto import pareto
from viewer.charts.roofline import roofline
from viewer.charts.tornado import tornado
from viewer.dashboard import scores
from viewer.dashboard.pages import PAGES, analyze, plan, validation
from viewer.dashboard.paths import op_paths
from viewer.dashboard.price import priced
from viewer.dashboard.settings import SETTINGS, starts
from viewer.dashboard.state import FIRST, scenario_of
from viewer.dashboard.view import roofs_for
from viewer.errors import InputError

ON = {"flat": FIRST, "theme": "light"}


def test_scores_are_those_of_the_files() -> None:
    """Every class of every shipped file has a row; errors are the files' per cent as shares."""
    from viewer.calibration.store import shipped

    assert sum(len(scores.score_rows(name)) for name in scores.devices()) == sum(
        len(one.classes) for one in shipped()
    )
    fit = next(fit for one in shipped() if one.hardware == "nvidia/h100-sxm" for fit in one.of("gemm"))
    row = next(r for r in scores.score_rows("nvidia/h100-sxm", "gemm") if r["points"] == fit.points)
    assert row["M3"] == pytest.approx(fit.scores["M3"]["non_tiny"] / 100)


def test_validation_is_never_empty() -> None:
    answer, figure, rows, ops, op = validation.calibrated(ON, None, None)
    assert op == "gemm"
    assert op in ops
    assert len(rows) == len(scores.score_rows(scores.devices()[0], "gemm"))
    assert "kernel classes" in answer
    assert [t["name"][:2] for t in figure["data"][1:]] == list(RUNGS)
    for device in scores.devices():
        for kind in scores.ops_of(device):
            assert validation.calibrated(ON, device, kind)[4] == kind


def test_a_class_without_a_score_has_no_point() -> None:
    rows = [{"label": "a", "points": 3, "M0": 0.5, "M1": None, "M2": None, "M3": 0.1}]
    figure = ladder(rows)
    assert [t["x"] for t in figure["data"][1:]] == [[50.0], [None], [None], [10.0]]
    assert scores.sentence([]) == "No class of this kind has a score."


def test_without_a_budget_there_is_a_plan() -> None:
    """60 % of what W16A16 needs: the plan's memory is at most that."""
    answer, notes, figure, rows, _columns, text, disabled = plan.update(
        0, ON, None, None, None, plan.CANDIDATES, {}
    )
    whole = Analysis(scenario_of({**FIRST, "compression": "w16a16"})).memory.total_bytes
    assert answer.startswith("memory 43.2 GB")
    assert "Planned for memory" in str(notes[0])
    assert rows
    assert text
    assert not disabled
    assert figure["data"]
    after = float(answer.split("→ ")[1].split(" GB")[0])
    assert after * 1e9 <= plan.SHARE * whole * 1.005  # three digits in the sentence


def test_ridges_of_two_formats_stand_one_above_the_other() -> None:
    result = Analysis(scenario_of({**FIRST, "compression": "w8a8-int8"}))
    notes = roofline(result.rows, roofs_for(result))["layout"]["annotations"]
    ridges = [n for n in notes if "ridge" in n["text"]]
    assert len(ridges) == 2
    assert len({n["y"] for n in ridges}) == 2


def test_neighbours_have_labels_on_different_sides() -> None:
    points = [{"label": n, "x": 30.0, "y": 10.0 + i / 10, "hover": n} for i, n in enumerate("abcdef")]
    places = pareto(points, "x", "y")["data"][1]["textposition"]
    assert len(set(places)) == 6


def test_the_tornado_leaves_out_what_changes_nothing() -> None:
    row = {"change": 0.1, "time_s": 1.0}
    rows = [row | {"resource": "a", "slower_s": 1.1, "faster_s": 0.9}]
    rows.append(row | {"resource": "b", "slower_s": 1.0, "faster_s": 1.0})
    assert tornado(rows)["data"][0]["y"] == ["a"]
    assert tornado(rows[1:])["data"][0]["y"] == ["b"]


@pytest.mark.parametrize("phase", ["prefill", "decode", "generate"])
def test_a_path_goes_through_the_scenario(phase: str) -> None:
    """At a batch of the path the op's point is the path's: the same formulas, one at a time."""
    flat = {"model": "llama-2-13b", "hardware": "nvidia/a6000", "phase": phase, "batch": 64}
    flat |= {"output": 1} if phase == "generate" else {}
    result = Analysis(scenario_of(flat))
    paths = op_paths(result)
    assert 3 <= len(paths) <= 10
    for path in paths:
        row = next(r for r in result.rows if (r["phase"], r["name"]) == (path["phase"], path["name"]))
        at = path["batch"].index(64)
        flops = row["matmul_flops"] + row["vector_flops"]
        assert path["x"][at] == pytest.approx(flops / row["dram_bytes"], rel=1e-3)
        assert path["y"][at] == pytest.approx(flops / row["time_s"], rel=1e-3)
        assert path["x"][0] <= path["x"][-1] * (1 + 1e-9)


def test_paths_are_drawn_on_demand() -> None:
    off = analyze.update(ON, "both", False, {})[3]
    on = analyze.update(ON, "decode", True, {})[3]
    assert not [t for t in off["data"] if t.get("name") == "path"]
    lines = [t for t in on["data"] if t.get("name") == "path"]
    assert lines
    assert all(t["text"] == [2**i for i in range(11)] for t in lines)


def test_a_price_is_met_from_a_batch_on() -> None:
    """cost = price / 3600 / tokens_per_s x 10^6: checked at the batch found and at the one before it."""
    scenario = scenario_of({**FIRST, "prompt": 256})
    found = priced(scenario, 2.0, 4.0)
    batch = found.rows[0]["answer"]
    assert batch is not None
    costs = dict(zip(found.series[0]["x"], found.series[0]["y"], strict=True))
    for at in (1, int(batch)):
        flat = {**FIRST, "prompt": 256, "batch": at}
        rate = Analysis(scenario_of(flat)).totals.tokens_per_s
        assert costs[at] == pytest.approx(2.0 / 3600 / rate * 1e6, rel=1e-4)
    assert costs[int(batch)] <= 4.0 < costs[1]
    assert priced(scenario, 2.0, 1e-6).sentence.startswith("None")
    with pytest.raises(InputError, match="price"):
        priced(scenario, None, 4.0)


def test_every_setting_of_the_link_has_a_control() -> None:
    assert {one["id"] for one in starts(PAGES)} == set(SETTINGS)
    assert next(one["start"] for one in starts(PAGES) if one["id"] == "plan-candidates") == plan.CANDIDATES
