"""The tour of a first visit, and a checkpoint dropped by its header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.dashboard.test_headers import gguf


def visit(browser: Any, site: str) -> Any:
    """A page of a visitor who was never here."""
    page = browser.new_context().new_page()
    page.set_default_timeout(90_000)
    page.goto(site)
    page.wait_for_selector("#headline:not(:empty)")
    return page


def test_the_tour_opens_once_and_is_closed_by_key(browser: Any, site: str) -> None:
    page = visit(browser, site)
    page.wait_for_selector("#tour")
    from axe_playwright_python.sync_playwright import Axe

    assert Axe().run(page).response["violations"] == []
    for count in range(2, 7):
        page.locator("#tour .primary").press("Enter")
        assert page.inner_text(".tour-count") == f"{count} of 6"
        assert page.locator(".tour-target").count() == 1
    page.keyboard.press("ArrowLeft")
    assert page.inner_text(".tour-count") == "5 of 6"
    page.keyboard.press("Escape")
    assert page.locator("#tour").count() == 0
    page.goto(site)
    page.wait_for_selector("#headline:not(:empty)")
    page.wait_for_timeout(600)
    assert page.locator("#tour").count() == 0
    page.click("#help-open")
    page.click("#tour-start")
    page.wait_for_selector("#tour")


def test_a_shared_link_has_no_tour(browser: Any, site: str) -> None:
    page = visit(browser, f"{site}/?model=llama-3.1-8b&hardware=nvidia/h100-sxm&phase=decode")
    page.wait_for_timeout(600)
    assert page.locator("#tour").count() == 0


def test_a_checkpoint_is_read_by_its_header(watch: Any, tmp_path: Path) -> None:
    head, size = gguf()
    file = tmp_path / "tiny-Q8_0.gguf"
    with file.open("wb") as stream:
        stream.write(head)
        stream.truncate(size)
    page = watch.open("/")
    sent: list[int] = []
    page.on("request", lambda r: sent.append(len(r.post_data_buffer or b"")) if "/header" in r.url else None)
    page.click("text=Files")
    page.set_input_files("#upload input[type=file]", str(file))
    page.wait_for_selector("#headline:has-text('tiny-Q8_0')")
    assert "16 tensors" in page.inner_text("#upload-note")
    assert "model=file:tiny-Q8_0.gguf@" in page.url
    assert len(sent) == 1


def test_paths_of_the_batch(watch: Any) -> None:
    page = watch.open("/")
    page.locator("#paths").focus()
    page.keyboard.press("Space")
    page.wait_for_timeout(1500)
    names = page.evaluate("() => document.querySelector('#roofline .js-plotly-plot').data.map((t) => t.name)")
    assert names.count("path") >= 3
    assert watch.axe() == []


def test_settings_of_the_pages_are_in_the_link(watch: Any) -> None:
    query = (
        "set=sweep-axis~prompt!sweep-from~200!sweep-to~4000!sweep-settings~w16a16,w4a16-g128!plan-memory~20"
    )
    page = watch.page
    page.set_default_timeout(30_000)
    page.goto(f"{watch.site}/sweep?model=llama-2-13b&hardware=nvidia/a6000&phase=generate&{query}")
    page.wait_for_selector("#sweep-from")
    page.wait_for_timeout(2500)
    assert page.input_value("#sweep-from") == "200"
    page.wait_for_timeout(800)
    assert page.input_value("#sweep-to") == "4,000"
    assert page.input_value("#plan-memory") == "20"
    for part in ("sweep-axis~prompt", "sweep-from~200", "sweep-settings~w16a16,w4a16-g128", "plan-memory~20"):
        assert part in page.url
    page.fill("#sweep-to", "8000")
    page.keyboard.press("Enter")
    page.wait_for_timeout(800)
    assert "sweep-to~8000" in page.url
    assert "solve-" not in page.url
