"""Reports: one content, written as HTML, Markdown and pictures; every number in the summary is computed."""

from __future__ import annotations

import json
import re

import pytest

from viewer import Decode, InputError, Prefill
from viewer.analysis import make_scenario
from viewer.cli import main
from viewer.report import build_report, html, markdown, pictures, write_report
from viewer.report.summary import decode_pay_off
from viewer.report.themes import STYLES, style_of
from viewer.report.write import check_format
from viewer.whatif import sweep

BASE = make_scenario("llama-2-13b", "nvidia/a6000", Decode(context=2047), "w16a16")
SETTINGS = [BASE, *(BASE.with_(compression=c) for c in ("w4a16-g128", "w8a8-int8", "w4a16-g128+kv4"))]


@pytest.fixture(scope="module", name="report")
def _report():
    return build_report(SETTINGS)


def test_summary_says_the_worked_numbers(report):
    text = " ".join(report.summary)
    assert "35.7 ms" in report.summary[0]
    assert "largest batch 11" in text
    assert "w4a16-g128 is 3.20 × faster" in text
    assert "w4a16-g128+kv4 is 3.74 × faster" in text
    assert "a prefill of 2,048 tokens gains nothing" in text
    assert "a prefill of 2,048 tokens is 1.83 × faster" in text  # W8A8: 371.5 / 202.7 ms
    assert "not a perplexity" in text


def test_the_batch_where_a_setting_stops_helping_is_the_first_one():
    found = decode_pay_off(BASE, SETTINGS[1])
    frame = sweep(BASE.with_(workload=Decode(batch=1, context=2047)), {"compression": ["w16a16", "w4a16-g128"],
                                                                       "batch": "1:200:lin:200"})  # fmt: skip
    slow, fast = (frame[frame.compression == c].time_s.to_numpy() for c in ("w16a16", "w4a16-g128"))
    below = [batch for batch, gain in zip(range(1, 201), slow / fast, strict=True) if gain <= 1.1]
    assert found["until"] == below[0]


def test_sections(report):
    titles = [s.title for s in report.sections]
    assert titles[:3] == ["Rooflines", "Time and memory", "What each setting changes"]
    assert {"Where a setting pays off", "Speed against error", "Provenance", "Scenarios"} <= set(titles)
    assert len({c.name for c in report.charts}) == len(report.charts)


@pytest.mark.parametrize("name", STYLES)
def test_html_stands_alone(report, name, tmp_path):
    path = tmp_path / "r.html"
    assert write_report(report, path, style_of(name)) == [path]
    page = path.read_text("utf-8")
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.search(r"""(?:src|href)\s*=\s*["']?https?:""", outside)
    assert page.count("<h2") == len(report.sections) + 1
    assert "NaN" not in page.split("const F=")[1].split("const", 1)[0].replace("isNaN", "")


def test_scenarios_in_the_report_reproduce_it(report):
    code = dict(next(s.code for s in report.sections if s.title == "Scenarios"))
    from viewer.scenario import scenario_from

    assert [scenario_from(text) for text in code.values()] == SETTINGS


def test_markup_in_names_is_escaped():
    report = build_report([BASE], title="<script>alert(1)</script> & co")
    page = html.render(report, style_of("screen"))
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_markdown_has_the_tables(report):
    text = markdown.render(report)
    assert "| setting |" in text
    assert text.count("```json") == len(SETTINGS)


def test_single_scenario_and_prefill():
    report = build_report([make_scenario("mixtral-8x7b", "nvidia/h100-sxm", Prefill(prompt=512))])
    assert "does not fit" in " ".join(report.summary)
    assert all(s.title != "What each setting changes" for s in report.sections)


def test_pictures_without_a_browser(report, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(pictures, "find_browser", lambda: None)
    monkeypatch.setattr("viewer.report.write.find_browser", lambda: None)
    assert pictures.backend() == "matplotlib"
    files = write_report(report, tmp_path / "r.svg", style_of("paper"))
    assert len(files) == len(report.charts)
    drawn = files[0].read_text("utf-8")
    assert "arithmetic intensity" in drawn  # the text is text, not outlines
    pdf = write_report(report, tmp_path / "r.pdf", style_of("screen"))[0]
    assert pdf.read_bytes().startswith(b"%PDF")


def test_with_nothing_that_draws_it_says_so_first(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("viewer.report.write.find_browser", lambda: None)
    monkeypatch.setattr(pictures, "backend", lambda: None)
    monkeypatch.setattr("viewer.report.build_report", lambda *_: pytest.fail("computed before the check"))
    assert main(["report", "llama-2-13b", "a6000", "-o", str(tmp_path / "r.pdf")]) == 2
    assert "needs pictures" in capsys.readouterr().err


def test_command(tmp_path, capsys):
    out = tmp_path / "r.md"
    arguments = [
        "report",
        "llama-2-7b",
        "a6000",
        "--compression",
        "w16a16",
        "--compression",
        "kv8",
        "-o",
        str(out),
    ]
    assert main(arguments) == 0
    assert "kv8" in out.read_text("utf-8")
    capsys.readouterr()
    assert main(arguments) == 2
    assert "--force" in capsys.readouterr().err
    saved = tmp_path / "s.json"
    saved.write_text(json.dumps(BASE.full()))
    assert main(["report", "--scenario", str(saved), "-o", str(out), "--force"]) == 0
    with pytest.raises(InputError, match="unknown kind of report"):
        check_format(tmp_path / "r.docx")
