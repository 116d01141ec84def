"""``roofline solve``: answers, exit status, data on stdout."""

from __future__ import annotations

import json

import pytest

from viewer.cli import main


def run(capsys, *arguments):
    code = main(["solve", "llama-2-13b", "a6000", *arguments])
    caught = capsys.readouterr()
    return code, caught.out, caught.err


def test_json(capsys):
    code, out, _ = run(capsys, "--for", "max-batch", "--context", "2047", "--json")
    data = json.loads(out)
    assert code == 0
    assert data["answer"] == 11
    assert data["rows"][0]["holds"] == "up to 11"


def test_no_solution_is_status_1_with_the_whole_answer(capsys):
    code, out, err = run(capsys, "--for", "batch", "--when", "compute-bound", "--json")
    assert code == 1
    assert json.loads(out)["found"] is False
    assert "of DRAM time over the whole range" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--for", "batch", "--when", "compute-bound", "--op", "q_proj", "--fusion", "eager"),
        ("--for", "bandwidth", "--tpot", "10ms"),
        ("--for", "memory"),
        ("--for", "upgrade"),
        ("--for", "batch", "--against", "w4a16-g128", "--gain", "0.5"),
    ],
)
def test_tables(capsys, arguments):
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert all(len(line) <= 80 for line in out.splitlines())


def test_csv(capsys):
    code, out, _ = run(capsys, "--for", "upgrade", "--csv")
    assert code == 0
    assert out.splitlines()[0].startswith("resource,change,time_s")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--for", "batc"), "did you mean 'batch'"),
        (("--for", "batch", "--tpot", "20 GHz"), "not a quantity in s"),
        (("--for", "peak", "--tpot", "20ms", "--fidelity", "estimate"), "answered by the bound"),
    ],
)
def test_bad_input(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1
