"""The public names, what they are, and what a notebook shows."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import hardware_specs
import viewer
from tests.support import REPO

NAMES = [
    "Analysis",
    "Assumptions",
    "Beam",
    "ChunkedPrefill",
    "Comparison",
    "Compression",
    "Decode",
    "Diffusion",
    "Generation",
    "InputError",
    "Mixed",
    "Parallel",
    "PlanResult",
    "Prefill",
    "Scenario",
    "Solution",
    "Verify",
    "analyze",
    "build_report",
    "compare",
    "figure",
    "load_compression",
    "load_model",
    "plan",
    "sensitivity",
    "solve",
    "sweep",
    "write_report",
]


def test_public_names_are_pinned():
    """Removing a name breaks users: change this list only together with the CHANGELOG."""
    assert sorted(viewer.__all__) == NAMES
    assert sorted(viewer._LAZY) == NAMES
    assert set(NAMES) <= set(dir(viewer))


@pytest.mark.parametrize("name", NAMES)
def test_public_names_are_documented(name):
    """Loaded by name; functions are functions even where a module has a similar name."""
    thing = getattr(viewer, name)
    assert inspect.getdoc(thing)
    assert callable(thing)
    assert not inspect.ismodule(thing)


@pytest.mark.parametrize("name", hardware_specs.__all__)
def test_hardware_names_are_documented(name):
    assert inspect.getdoc(getattr(hardware_specs, name))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="analyse"):
        _ = viewer.analyse


def test_both_packages_are_typed():
    assert (REPO / "viewer" / "py.typed").is_file()
    assert (REPO / "hardware_specs" / "py.typed").is_file()


def test_plan_stays_the_function_after_everything_is_imported():
    code = (
        "import viewer.whatif, viewer.planned, viewer.cli; viewer.cli.build(); from viewer import plan, solve;"
        "print(callable(plan), callable(solve))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_a_policy_object_is_a_setting():
    policy = viewer.Compression.model_validate(
        {"name": "mine", "rules": [{"ops": "@linear", "weight": "int4_g128"}]}
    )
    load = viewer.Decode(context=2047)
    by_object = viewer.analyze("llama-2-13b", "nvidia/a6000", load, compression=policy)
    by_name = viewer.analyze("llama-2-13b", "nvidia/a6000", load, compression="w4a16-g128")
    assert by_object.totals.weight_bytes == by_name.totals.weight_bytes
    again = viewer.Scenario.model_validate_json(by_object.scenario.to_json())
    assert again == by_object.scenario
    preset = viewer.analyze(
        "llama-2-13b", "nvidia/a6000", load, compression=viewer.load_compression("w4a16-g128")
    )
    assert preset.scenario.compression == "w4a16-g128"


def test_notebooks_show_a_table_without_scripts():
    result = viewer.analyze("llama-2-13b", "nvidia/a6000", viewer.Decode(context=2047), compression="w16a16")
    html = result._repr_html_()
    assert html.count("<tr>") == len(result.rows) + 1
    assert "35.68 ms (bound)" in html  # 27.4 GB / 768 GB/s
    assert "<script" not in html
    assert "http" not in html
    assert len(html) < 20_000


def test_notebooks_escape_what_a_file_says(tmp_path):
    config = tmp_path / "<b>x" / "config.json"
    config.parent.mkdir()
    config.write_text(
        '{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,'
        ' "intermediate_size": 128, "vocab_size": 100}'
    )
    html = viewer.analyze(str(config), "nvidia/a6000")._repr_html_()
    assert "&lt;b&gt;x" in html
    assert "<b>x" not in html
