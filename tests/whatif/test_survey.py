"""The survey's figures: values equal analyses, crossovers equal T*, the three regimes are there and in order."""

from __future__ import annotations

import json

import pytest

from viewer import Decode, Prefill, analyze
from viewer.analysis import make_scenario
from viewer.cli import main
from viewer.whatif.survey import REGIME_NAMES, memory_figure, roofs_figure
from viewer.whatif.survey_lines import decode_figure, prefill_figure

BASE = make_scenario("llama-2-13b", "nvidia/a6000", Decode(batch=1, context=1024), "w16a16")


def crossover(figure, text):
    return next(row for row in figure.crossovers if row["crossover"].startswith(text))


def test_roofs():
    figure = roofs_figure(BASE)
    # ridge points of the A6000: 154.8 / 0.768 = 201.6, 309.7 / 0.768 = 403.3, 619.3 / 0.768 = 806.4
    assert [row["value"] for row in figure.crossovers] == pytest.approx([201.6, 403.3, 806.4], abs=0.1)
    row = next(
        r for r in figure.rows if (r["setting"], r["phase"], r["name"]) == ("w16a16", "decode", "qkv_proj")
    )
    assert row["flops_per_s"] == pytest.approx(768e9 * row["arithmetic_intensity"], rel=1e-9)


def test_memory():
    figure = memory_figure(BASE)
    held = {
        (r["setting"], r["kind"]): r["relative"]
        for r in figure.rows
        if r["load"] == "decode, batch 1, context 1024"
    }
    # 26.03 GB of weights and 1024 x 819 200 B = 0.839 GB of cache: 96.9 % and 3.1 %
    assert held["w16a16", "weights"] == pytest.approx(0.969, abs=0.001)
    assert held["w16a16", "KV cache"] == pytest.approx(0.031, abs=0.001)
    # 26.03e9 / 819 200 = 31 777 tokens
    assert crossover(figure, "w16a16:")["value"] == pytest.approx(31_777, abs=1)


def test_decode():
    figure = decode_figure(BASE)
    # per 5120 x 5120 matrix T* = 218.8 (16 bits), 56.4 (4 bits): the last op to turn ends the gain of the narrower one
    assert crossover(figure, "w2a16-g128 is no faster than w4a16-g128")["exact"] == pytest.approx(
        56.4, abs=0.1
    )
    assert crossover(figure, "w8a16 is no faster than w16a16")["exact"] == pytest.approx(218.8, abs=0.1)
    turns = [
        crossover(figure, f"{s}: linear")["exact"]
        for s in ("w16a16", "w8a16", "w4a16-g128", "w2a16-g128", "w1a16")
    ]
    assert turns == sorted(turns, reverse=True)
    assert [r["regime"] for r in figure.extra["regimes"]] == list(REGIME_NAMES)
    for row in figure.rows[:: len(figure.rows) // 7]:
        load = Decode(batch=row["batch"], context=1024)
        single = analyze(BASE.with_(workload=load, compression=row["compression"]))
        assert row["time_s"] == single.totals.time_s


def test_prefill():
    figure = prefill_figure(BASE)
    assert crossover(figure, "w4a16-g128 is no faster than w16a16")["value"] == 219
    assert crossover(figure, "w8a8-int8 is no faster than w16a16")["value"] is None
    last = {r["compression"]: r for r in figure.rows if r["prompt"] == 8192}
    assert last["w4a16-g128"]["speedup"] == pytest.approx(1.0, rel=1e-9)
    assert last["w8a8-int8"]["speedup"] > 1.5
    single = analyze(BASE.with_(workload=Prefill(prompt=8192), compression="w8a8-int8"))
    assert last["w8a8-int8"]["time_s"] == single.totals.time_s


def test_command_writes_data_pages_and_crossovers(tmp_path, capsys):
    assert main(["figures", "--out", str(tmp_path / "figs"), "--no-pictures", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [f["figure"] for f in data] == [6, 7, 8, 9]
    assert all(f["reading"] and f["crossovers"] for f in data)
    names = {p.name for p in (tmp_path / "figs").iterdir()}
    for stem in ("fig6_roofs", "fig7_memory", "fig8_decode", "fig9_prefill"):
        assert {f"{stem}.csv", f"{stem}.json", f"{stem}.html"} <= names
    page = (tmp_path / "figs" / "fig8_decode.html").read_text()
    assert "memory-bound" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_device_without_a_type_says_what_is_left_out(tmp_path, capsys):
    code = main(
        [
            "figures",
            "--out",
            str(tmp_path),
            "--model",
            "llama-3.1-8b",
            "--hardware",
            "cpu/epyc-9654",
            "--no-pictures",
        ]
    )
    assert code == 0
    assert "Figure 9" in capsys.readouterr().out
