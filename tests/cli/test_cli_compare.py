"""``roofline compare``: tables, data, scenario files, mistakes."""

from __future__ import annotations

import json

from viewer import Decode
from viewer.analysis import make_scenario
from viewer.cli import main

BASE = ("compare", "llama-2-13b", "a6000")
TWO = ("--compression", "w16a16", "--compression", "w4a16-g128")


def test_table_and_ops(capsys):
    assert main([*BASE, *TWO, "--no-estimate"]) == 0
    assert "memory-bound before and after" in capsys.readouterr().out
    assert main([*BASE, *TWO, "--no-estimate", "--ops"]) == 0
    out = capsys.readouterr().out
    assert "int4_g128" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_json(capsys):
    assert main([*BASE, *TWO, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [row["scenario"] for row in data["rows"]] == ["w16a16", "w4a16-g128"]
    assert data["ops"][0]["regime"] in (0, 1, 2, 3, 4)


def test_scenario_files(tmp_path, capsys):
    paths = []
    for index, batch in enumerate((1, 8)):
        path = tmp_path / f"{index}.json"
        path.write_text(make_scenario("llama-2-13b", "nvidia/a6000", Decode(batch=batch)).to_json())
        paths += ["--scenario", str(path)]
    assert main(["compare", *paths, "--csv", "--no-estimate"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("batch 1,")
    assert lines[2].startswith("batch 8,")


def test_one_setting_is_not_enough(capsys):
    assert main([*BASE]) == 2
    assert "needs two settings" in capsys.readouterr().err
