"""The command as a whole: help with examples that parse, completion, defaults file, doctor."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib

import pytest
import typer.main

from tests.support import REPO
from viewer.cli import build, main
from viewer.cli.doctor import EXTRAS


def leaves(command, path=()):
    """(words, command) of every command without subcommands."""
    children = getattr(command, "commands", None)
    if not children:
        return [(path, command)]
    return [leaf for name, child in children.items() for leaf in leaves(child, (*path, name))]


ROOT = typer.main.get_command(build())
LEAVES = {" ".join(path): command for path, command in leaves(ROOT)}


def run(capsys, *arguments):
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_commands_of_the_contract_are_there():
    named = {name.split()[0] for name in LEAVES}
    wanted = "dashboard analyze compare sweep solve plan report figures bench calibrate validate predict"
    wanted += " models hardware formats sparsities doctor"
    assert named >= set(wanted.split())
    groups = [n for n in LEAVES if n.split()[0] in ("models", "hardware", "formats", "sparsities")]
    assert sorted(groups) == sorted(
        f"{g} {v}" for g in ("models", "hardware", "formats", "sparsities") for v in ("list", "show", "check")
    )


@pytest.mark.parametrize("name", LEAVES)
def test_help_has_an_example_that_parses(name):
    """Only parsed, not run: an option that was renamed breaks its example."""
    command = LEAVES[name]
    examples = re.findall(
        r"roofline ([a-z].*?)(?:;|$)", " ".join(command.help.partition("Example")[2].split())
    )
    assert examples, f"{name} has no example"
    for example in examples:
        words = shlex.split(example)
        path = name.split()
        assert words[: len(path)] == path
        command.make_context(name, words[len(path) :])


@pytest.mark.parametrize("name", LEAVES)
def test_help_fits_eighty_columns(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = run(capsys, *name.split(), "--help")
    assert status == 0
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_data_outputs(name):
    options = {o for p in LEAVES[name].params for o in p.opts}
    if name != "dashboard":
        assert {"--json", "--csv", "--parquet"} <= options


def completed(words):
    """What bash would be offered for the last word."""
    env = {"_ROOFLINE_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "PATH": "/usr/bin:/bin"}
    env |= {"COMP_CWORD": str(len(words) - 1)}
    code = "from viewer.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=REPO, capture_output=True, text=True, check=False
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("roofline", "ana"), "analyze"),
        (("roofline", "analyze", "llama-2-1"), "llama-2-13b"),
        (("roofline", "analyze", "llama-2-13b", "nvidia/a60"), "nvidia/a6000"),
        (("roofline", "analyze", "--compression", "w4a16-g128+kv8"), "w4a16-g128+kv8-fp8"),
    ],
)
def test_completion(words, offered):
    assert offered in completed(words)


# --- defaults file --------------------------------------------------------------------------------


@pytest.fixture(name="config")
def _config(tmp_path, monkeypatch):
    path = tmp_path / "config.toml"
    monkeypatch.setenv("ROOFLINE_CONFIG", str(path))
    return path


def scenario(capsys, *arguments):
    status, out, err = run(capsys, "analyze", *arguments, "--json")
    assert status == 0, err
    return json.loads(out)["scenario"], err


def test_defaults_are_used_said_and_overridden(config, capsys):
    config.write_text('hardware = "a6000"\nfusion = "eager"\nmemory_utilization = 0.95\n')
    found, err = scenario(capsys, "llama-2-13b")
    assert found["hardware"] == "a6000"
    assert found["assumptions"]["fusion"] == "eager"
    assert found["assumptions"]["memory_utilization"] == 0.95
    assert err.count("defaults of") == 1
    found, _ = scenario(capsys, "llama-2-13b", "nvidia/a40", "--fusion", "flash")
    assert found["hardware"] == "nvidia/a40"
    assert found["assumptions"]["fusion"] == "flash"


def test_a_saved_scenario_takes_no_defaults(config, capsys, tmp_path):
    saved = tmp_path / "scenario.json"
    saved.write_text('{"schema": 1, "model": "llama-2-13b", "hardware": "nvidia/a6000"}')
    config.write_text('fusion = "eager"\n')
    found, err = scenario(capsys, "--scenario", saved)
    assert found["assumptions"]["fusion"] == "serving"
    assert err == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('fusin = "eager"', "did you mean 'fusion'"),
        ('fusion = "egr"', "fusion = egr"),
        ("memory_utilization = 2", "memory_utilization = 2"),
        ("model = 3", "model = 3"),
        ("fusion = ", "not TOML"),
        ("fusion = 'eager'\n" + "# " * 40_000, "larger than"),
    ],
)
def test_a_bad_defaults_file_is_one_line(config, capsys, text, expected):
    config.write_text(text)
    status, out, err = run(capsys, "analyze", "llama-2-13b", "nvidia/a6000")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert expected in err
    assert str(config) in err


# --- doctor ------------------------------------------------------------------


def test_doctor_says_what_is_there(capsys):
    status, out, err = run(capsys, "doctor", "--json")
    checks = {c["check"]: c for c in json.loads(out)["checks"]}
    assert (status, err) == (0, "")
    assert set(checks) >= {"NVIDIA GPU", "NVRTC", "Chromium", "BLAS", "cache folder", "extra [images]"}
    assert all(isinstance(c["ok"], bool) and c["found"] for c in checks.values())


def test_doctor_knows_the_extras_of_the_distribution():
    declared = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {e: {re.split(r"[><=\[]", p)[0] for p in packages} for e, packages in declared.items()}
    assert {e: set(p) for e, p in EXTRAS.items()} == {
        e: p for e, p in names.items() if e not in ("test", "oracle", "engine")
    }


def test_doctor_prints_square_brackets(capsys):
    _, out, _ = run(capsys, "doctor")
    assert "extra [images]" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("words", ["formats list", "sparsities list", "compressions list", "hardware list"])
def test_tables_fit_eighty_columns(words, capsys):
    _, out, _ = run(capsys, *words.split())
    assert max(map(len, out.splitlines())) <= 80


def test_report_as_data(tmp_path, capsys):
    out_file = tmp_path / "report.md"
    status, out, _ = run(capsys, "report", "llama-2-7b", "a6000", "--out", out_file, "--json")
    data = json.loads(out)
    assert status == 0
    assert data["files"][0] == str(out_file)
    assert data["scenarios"][0]["model"] == "llama-2-7b"
    assert data["summary"]
