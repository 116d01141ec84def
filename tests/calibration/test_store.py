"""Calibration files: round trip, and hostile ones are refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from viewer.calibration import store
from viewer.calibration.store import Calibration, ClassFit, Smoothing
from viewer.errors import InputError

FIT = ClassFit(
    key="bf16*bf16|vllm|graph", op="gemm", constants={"t0": 2.5, "kind": "x"}, m1=(3e-6, 0.7, 0.8), points=100,
    groups=12, sources=("mine",), intervals={"all": (-0.1, 0.2)}, ranges={"m": (1.0, 4096.0)},
    scores={"M3": {"non_tiny": 4.5}}, smoothing=Smoothing(("m", "n"), ((1.0, 2.0), (3.0, 4.0)), (0.1, -0.2)),
)  # fmt: skip
ONE = Calibration("nvidia/a100-sxm-80gb", "2025-01-31", "roofline calibrate …", (FIT,))


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a" / store.file_name(ONE.hardware)
    store.write(ONE, path)
    assert path.name == "nvidia-a100-sxm-80gb.json"
    assert store.read(path) == ONE
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "schema"),
        ('{"schema": 9}', "schema 9"),
        ('{"schema": 1, "hardware": "x", "classes": 3}', "classes"),
        ('{"schema": 1, "hardware": "x", "classes": [{"key": "k"}]}', r"classes\[0\]"),
        ('{"schema": 1, "hardware": "x", "classes": [7]}', r"classes\[0\]"),
    ],
)
def test_bad_files_are_refused_by_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        store.read(path)


def test_anchors_and_weights_must_pair() -> None:
    raw = json.loads(store.dumps(ONE))
    raw["classes"][0]["smoothing"]["alpha"] = [1.0]
    with pytest.raises(InputError, match="2 anchors but 1 weights"):
        store.loads(json.dumps(raw))


def test_a_later_calibration_replaces_the_same_class_only() -> None:
    other = replace(FIT, key="int8*int8|vllm|graph")
    newer = replace(ONE, classes=(replace(FIT, points=7), other))
    both = store.merged([ONE, newer])[ONE.hardware]
    assert {(c.key, c.points) for c in both.classes} == {(FIT.key, 7), (other.key, 100)}


def test_shipped_files_are_derived_constants_only() -> None:
    for calibration in store.shipped():
        assert calibration.created
        assert calibration.command.startswith("roofline calibrate")
        for fit in calibration.classes:
            assert fit.points >= 3
            assert fit.sources
            assert not fit.exact, f"{calibration.hardware} {fit.key} ships measured rows"
            assert fit.smoothing is None or len(fit.smoothing.alpha) <= 250
            assert fit.scores["M0"]
            low, high = fit.intervals["all"]
            assert low < 0 < high
