"""Charts of what-ifs are pure functions of tidy data: what they draw is what they were given."""

from __future__ import annotations

import pytest

from viewer import Decode, compare, plan, solve, sweep
from viewer.analysis import make_scenario
from viewer.charts.whatif_plan import spans
from viewer.charts.whatif_sweep import sweep_chart
from viewer.cli import main

BASE = make_scenario("llama-2-13b", "nvidia/a6000", Decode())


def test_solve_marks_the_answer():
    found = solve(BASE, "max-batch")
    chart = found.chart()
    assert chart["layout"]["shapes"][1]["x0"] == found.exact
    assert chart["data"][0]["y"] == found.curves["memory over usable memory"]


def test_sweep_lines_and_map():
    frame = sweep(BASE, {"batch": [1, 4, 64], "compression": ["w16a16", "w4a16-g128"]})
    lines = sweep_chart({c: frame[c].tolist() for c in frame}, ["batch"], ["compression"])
    drawn = [t for t in lines["data"] if t["name"] == "w4a16-g128"]
    assert drawn
    frame = sweep(BASE, {"batch": [1, 64], "context": [100, 8000]})
    heat = sweep_chart({c: frame[c].tolist() for c in frame}, ["batch", "context"])["data"]
    assert (heat[0]["x"], heat[0]["y"]) == ([100, 8000], [1, 64])
    # 64 x 8000 tokens do not fit, one request does: the edge is drawn
    assert heat[1]["z"] == [[1.0, 1.0], [1.0, 0.0]]


def test_compare_stacks_the_memory():
    found = compare(BASE, ["w16a16", "w4a16-g128"], estimates=False)
    stacked = [t for t in found.chart()["data"] if t.get("xaxis") == "x2"]
    assert sum(t["x"][1] for t in stacked) * 2**30 == pytest.approx(found.rows[1]["total_bytes"])


def test_plan_covers_every_layer():
    found = plan(make_scenario("llama-3.1-8b", "nvidia/a6000"), memory_bytes=10e9, blocks=4)
    bars = [t for t in found.chart()["data"] if t["type"] == "bar"]
    covered = sum(length for t in bars for y, length in zip(t["y"], t["x"], strict=True) if y == "qkv_proj")
    assert covered == 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0-3,8", [(0, 4), (8, 1)]), ("5", [(5, 1)]), ("0-4:2", [(0, 1), (2, 1), (4, 1)]), ("head", [(0, 1)])],
)
def test_spans(text, expected):
    assert spans(text) == expected


def test_command_writes_a_page_that_needs_no_network(tmp_path):
    path = tmp_path / "a.html"
    arguments = ["compare", "llama-2-13b", "a6000", "--compression", "w16a16", "--compression", "w8a16"]
    assert main([*arguments, "--no-estimate", "--csv", "--chart", str(path)]) == 0
    text = path.read_text()
    assert "Plotly.newPlot" in text
    assert "<script src" not in text


def test_a_suffix_that_is_no_picture(tmp_path, capsys):
    assert main(["solve", "llama-2-13b", "a6000", "--chart", str(tmp_path / "a.gif")]) == 2
    assert "allowed are .html, .png" in capsys.readouterr().err
