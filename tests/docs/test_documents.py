"""Documents say what the code computes: generated blocks, links, and the code that they show."""

from __future__ import annotations

import json
import re
import sys

import pytest

from tests.support import REPO

sys.path.insert(0, str(REPO / "docs"))
import generate

DOCUMENTS = [*generate.documents(), REPO / "CHANGELOG.md"]
NAMES = [str(d.relative_to(REPO)) for d in DOCUMENTS]


@pytest.fixture(autouse=True)
def _stable(monkeypatch):
    for name, value in (("COLUMNS", "80"), ("LINES", "40")):
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_generated_blocks_are_what_the_code_computes(path):
    text = path.read_text("utf-8")
    assert generate.filled(text) == text, "stale: run python docs/generate.py"


def test_a_changed_number_would_be_noticed():
    text = (REPO / "README.md").read_text("utf-8")
    assert "35.675 ms" in text
    assert generate.filled(text.replace("35.675 ms", "35.674 ms")) == text


def test_an_unknown_block_is_refused():
    with pytest.raises(SystemExit, match="unknown block 'nothing'"):
        generate.filled("<!-- generated: nothing -->\n<!-- end -->")


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_links_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{path.name} -> {target}"


@pytest.mark.parametrize("name", ["README.md", "docs/quick-start.md"])
def test_python_in_documents_runs(name):
    blocks = re.findall(r"```python\n(.*?)```", (REPO / name).read_text("utf-8"), re.S)
    assert blocks
    for code in blocks:
        exec(compile(code, name, "exec"), {})


def test_commands_in_the_readme_run(capsys):
    import shlex

    from viewer.cli import main

    block = re.search(r"```console\n(.*?)```", (REPO / "README.md").read_text("utf-8"), re.S)
    commands = [line.removeprefix("$ roofline ") for line in block[1].splitlines()]
    assert len(commands) == 3
    for command in commands:
        words = shlex.split(command)
        extra = ["--no-estimate"] if words[0] == "compare" else []
        assert main([*words, *extra]) == 0
        assert capsys.readouterr().out


def test_the_notebook_runs():
    """Its code cells one after the other in one namespace, as a notebook would, and nothing stored in it."""
    cells = json.loads((REPO / "docs" / "example.ipynb").read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 4
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    names: dict[str, object] = {}
    for index, cell in enumerate(code):
        exec(compile("".join(cell["source"]), f"cell {index}", "exec"), names)
    assert names["gain"] == pytest.approx(3.2, abs=0.01)


def test_documents_name_no_folder_of_a_machine():
    for path in [*DOCUMENTS, *(REPO / "docs").glob("*.ipynb")]:
        assert not re.search(r"/(home|root|work|tmp|Users)/", path.read_text("utf-8")), path.name
