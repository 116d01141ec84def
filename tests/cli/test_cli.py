"""The command: data on stdout, notes on stderr, one line and status 2 for anything wrong."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest

from viewer.cli import main

GOOD = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 100,
}
BROKEN_CONFIGS = {
    "missing hidden": ({**GOOD, "hidden_size": None}, "missing hidden_size"),
    "missing layers": (
        {k: v for k, v in GOOD.items() if k != "num_hidden_layers"},
        "missing num_hidden_layers",
    ),
    "missing vocabulary": ({k: v for k, v in GOOD.items() if k != "vocab_size"}, "missing vocab_size"),
    "a word for a number": ({**GOOD, "num_attention_heads": "four"}, "num_attention_heads"),
    "a boolean for a number": ({**GOOD, "hidden_size": True}, "hidden_size = true"),
    "negative": ({**GOOD, "intermediate_size": -1}, "intermediate_size = -1"),
    "a billion layers": ({**GOOD, "num_hidden_layers": 10**9}, "num_hidden_layers = 1000000000"),
    "heads do not divide": ({**GOOD, "num_attention_heads": 5}, "64"),
    "kv heads do not divide": ({**GOOD, "num_key_value_heads": 3}, "3 key/value heads"),
    "a list": ([1, 2], "expected an object"),
    "not JSON": ("{", "not JSON"),
    "deep nesting": ('{"a":' * 60 + "1" + "}" * 60, "nested too deeply"),
    "NaN": ('{"hidden_size": NaN}', "NaN"),
    "no configuration": ({"hello": 1}, "not a model configuration"),
    "binary": (b"\xff\xfe\x00", "not a UTF-8"),
}


def run(capsys, *arguments):
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("name", BROKEN_CONFIGS)
def test_broken_configs(name, tmp_path, capsys):
    content, expected = BROKEN_CONFIGS[name]
    path = tmp_path / "config.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    status, out, err = run(capsys, "analyze", path, "nvidia/a6000")
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert expected in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("analyze", "llama-2-13", "nvidia/a6000"), "did you mean 'llama-2-13b'"),
        (("analyze", "llama-2-13b", "nvidia/a600"), "did you mean 'nvidia/a6000'"),
        (("analyze", "llama-2-13b", "a6000", "--batch", "0"), "workload.batch = 0"),
        (("analyze", "llama-2-13b", "a6000", "--batch", "many"), "--batch"),
        (("analyze", "llama-2-13b", "a6000", "--phase", "decoding"), "did you mean 'decode'"),
        (("analyze", "llama-2-13b", "a6000", "--fusion", "none"), "assumptions.fusion"),
        (("analyze", "llama-2-13b", "a6000", "--set", "overlapp=1"), "did you mean 'overlap'"),
        (("analyze", "llama-2-13b"), "missing argument HARDWARE"),
        (("analyse",), "analyze"),
        (("analyze", "nowhere/config.json", "a6000"), "does not exist"),
    ],
)
def test_bad_arguments(arguments, expected, capsys):
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert expected in err


def test_json_follows_the_contract(capsys):
    status, out, err = run(
        capsys, "analyze", "llama-2-13b", "nvidia/a6000", "--phase", "decode", "--context", "2047", "--json"
    )
    data = json.loads(out)
    assert status == 0
    assert err == ""
    assert data["schema"] == 1
    assert data["model"]["parameter_count"] == data["model"]["published_parameter_count"] == 13_015_864_320
    assert data["totals"]["time_s"] == pytest.approx(35.675e-3, rel=2e-3)
    assert data["memory"]["kv_values"] == 2048 * 409_600
    assert data["memory"]["max_batch"] == 11
    qkv = next(op for op in data["ops"] if op["name"] == "qkv_proj")
    assert qkv["repeat"] == 40
    assert qkv["layer_group"] == "0-39"
    assert qkv["math_type"] == "fp16"
    assert qkv["bound"] == "memory"
    assert set(qkv) >= {
        "bitops",
        "bops_mac",
        "weight_bytes",
        "lower_time_s",
        "upper_time_s",
        "notes",
        "kv_read_bytes",
    }
    total = sum(op["repeat"] * op["time_s"] for op in data["ops"])
    assert total == pytest.approx(data["totals"]["time_s"], rel=1e-12)


def test_csv_has_one_row_per_op(capsys):
    _, out, _ = run(capsys, "analyze", "llama-2-7b", "a100-sxm-80gb", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [r["name"] for r in rows][:3] == ["embed", "attn_add_norm", "qkv_proj"]


def test_table_fits_eighty_columns(capsys):
    _, out, _ = run(capsys, "analyze", "llama-2-13b", "a6000", "--phase", "generate")
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "TTFT" in out


def test_status_one_when_it_does_not_fit(capsys):
    status, out, _ = run(capsys, "analyze", "llama-2-70b", "a6000", "--json")
    assert status == 1
    assert json.loads(out)["memory"]["fits"] is False


def test_scenario_round_trip(tmp_path, capsys):
    _, out, _ = run(capsys, "analyze", "llama-2-13b", "a6000", "--batch", "4", "--context", "99", "--json")
    first = json.loads(out)
    saved = tmp_path / "scenario.json"
    saved.write_text(json.dumps(first["scenario"]))
    _, out, _ = run(capsys, "analyze", "--scenario", saved, "--json")
    assert json.loads(out) == first
    saved.write_text(json.dumps({**first["scenario"], "schema": 99}))
    status, _, err = run(capsys, "analyze", "--scenario", saved)
    assert status == 2
    assert "schema '99'" in err


def test_lengths_that_a_phase_lacks_are_noted(capsys):
    _, _, err = run(capsys, "analyze", "llama-2-13b", "a6000", "--phase", "decode", "--prompt", "5", "--json")
    assert "--prompt is ignored" in err


def test_lists(capsys):
    _, out, _ = run(capsys, "models", "list", "--json")
    assert {"llama-2-13b", "llama-3.1-8b"} <= {row["name"] for row in json.loads(out)}
    _, out, _ = run(capsys, "hardware", "list", "--json")
    assert {"nvidia/a6000", "nvidia/h100-sxm"} <= {row["name"] for row in json.loads(out)}


def test_import_is_light():
    heavy = "[m for m in ('dash', 'pandas', 'plotly') if m in sys.modules]"
    code = f"import sys, viewer, viewer.cli; viewer.cli.build(); print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
