"""Charts by name: found without a list, drawn from rows, in the command and in reports."""

from __future__ import annotations

import pytest

from viewer import Decode, Generation, analyze
from viewer.charts.registry import chart, row_charts
from viewer.cli import main
from viewer.report import build_report


@pytest.mark.parametrize("name", row_charts())
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("model", ["llama-2-13b", "mixtral-8x7b", "jamba-v0.1"])
def test_every_chart_draws_every_kind_of_model(name, theme, model):
    rows = analyze(model, "nvidia/h200-sxm", Generation(prompt=64, output=8), "w16a16").rows
    drawn = row_charts()[name].draw(rows, theme)
    assert drawn["data"]
    assert drawn["layout"]["xaxis"]["title"]["text"]


def test_traffic_adds_up_to_all_bytes():
    """Bars hold every byte but those of ops under a thousandth of the traffic."""
    result = analyze("llama-2-13b", "nvidia/a6000", Decode(context=2047), "w16a16")
    drawn = row_charts()["traffic"].draw(result.rows, "light")
    total = sum(sum(trace["x"]) for trace in drawn["data"])
    assert 0.99 * result.totals.dram_bytes < total <= result.totals.dram_bytes
    names = {trace["name"] for trace in drawn["data"]}
    assert names == {"weights", "KV cache", "activations"}


def test_a_name_is_taken_once():
    row_charts()
    with pytest.raises(ValueError, match="traffic"):
        chart("traffic", "t", "c")(lambda *_: {})


def test_command_and_report_have_it(tmp_path, capsys):
    file = tmp_path / "traffic.html"
    given = ["analyze", "llama-2-7b", "a6000", "--chart", str(file), "--draw", "traffic"]
    assert main(given) == 0
    assert "bytes that cross DRAM" in file.read_text("utf-8")
    assert main([*given[:-1], "trafic"]) == 2
    assert "did you mean 'traffic'" in capsys.readouterr().err
    assert main([*given[:-2]]) == 0
    result = analyze("llama-2-7b", "nvidia/a6000")
    assert set(row_charts()) <= {one.name for one in build_report([result.scenario]).charts}
