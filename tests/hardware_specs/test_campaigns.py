"""Measured campaigns are found by any name of their device, and only when asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hardware_specs
from hardware_specs import HardwareError, campaigns


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "measured").mkdir()
    monkeypatch.setattr(campaigns, "ROOT", tmp_path)
    return tmp_path / "measured"


def test_found_by_device(folder: Path) -> None:
    (folder / "b.json").write_text(json.dumps({"device": "nvidia/h200-sxm", "results": [1]}))
    (folder / "a.json").write_text(json.dumps({"device": {"hardware": "H200-SXM", "name": "NVIDIA H200"}}))
    (folder / "c.json").write_text(json.dumps({"device": "nvidia/a6000"}))
    (folder / "d.json").write_text(json.dumps({"device": "somebody's own board"}))
    found = hardware_specs.measured_for("h200")
    assert [item["file"] for item in found] == ["a.json", "b.json"]
    assert found[1]["results"] == [1]
    assert hardware_specs.measured_for("t4") == []


@pytest.mark.parametrize(
    ("text", "says"), [("{", "bad.json: not JSON"), ("[]", "device: missing"), ("{}", "device: missing")]
)
def test_broken_campaign_is_told_by_file(folder: Path, text: str, says: str) -> None:
    (folder / "bad.json").write_text(text)
    with pytest.raises(HardwareError, match=says):
        hardware_specs.measured_for("h200")


def test_unknown_device_is_refused() -> None:
    with pytest.raises(HardwareError, match="unknown hardware"):
        hardware_specs.measured_for("h201x")


def test_campaigns_of_the_library_name_known_devices() -> None:
    """A campaign that says which described device it measured must say it right; others name their machine."""
    found = campaigns._campaigns(str(campaigns.ROOT / "measured"))
    assert found
    for item in found:
        if item["device"].get("hardware"):
            assert hardware_specs.resolve(item["device"]["hardware"]) in hardware_specs.available()
        assert item["device"]["name"]
