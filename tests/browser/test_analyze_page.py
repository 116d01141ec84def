"""The Analyze page as a person uses it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect


def figure(page: Any, key: str) -> Any:
    return page.locator(f"[data-explain={key}] .figure-value")


def test_first_view_is_finished_and_in_the_address(watch: Any) -> None:
    page = watch.open()
    expect(page.locator("#headline")).to_contain_text("llama-2-13b on NVIDIA RTX A6000")
    expect(figure(page, "ttft_s")).to_have_text("2.97 s")
    assert page.locator("#roofline path.point").count() > 15
    expect(page.locator("#ops .ag-row").first).to_be_visible()
    assert "model=llama-2-13b&hardware=nvidia/a6000&phase=generate&batch=8" in page.url
    assert len(page.url) < 300


def test_a_link_restores_its_state(watch: Any) -> None:
    page = watch.open(
        "/?model=llama-3.1-8b&hardware=nvidia/h100-sxm&phase=decode&batch=64&context=4095&overlap=0.5"
    )
    expect(page.locator("#headline")).to_contain_text("llama-3.1-8b on NVIDIA H100")
    expect(page.locator("#batch")).to_have_value("64")
    assert "overlap=0.5" in page.url
    before = page.url
    page.reload()
    page.wait_for_selector("#headline:not(:empty)")
    assert page.url == before


def test_a_change_of_a_control_changes_everything(watch: Any) -> None:
    page = watch.open()
    page.locator("#batch").fill("1")
    expect(page.locator("#headline")).to_contain_text("batch 1,")
    expect(figure(page, "ttft_s")).not_to_have_text("2.97 s")
    page.get_by_text("decode", exact=True).first.click()
    expect(page.locator("#headline")).to_contain_text("decode: batch 1, context 1,024")
    assert "phase=decode" in page.url
    assert "prompt=" not in page.url


def test_a_mistake_is_shown_beside_its_control(watch: Any) -> None:
    page = watch.open()
    page.locator("#batch").fill("0")
    expect(page.locator(".field-batch")).to_contain_text("greater than or equal to 1")
    expect(page.locator("#main")).to_have_class(re.compile("stale"))
    page.locator("#batch").fill("2")
    expect(page.locator("#main")).not_to_have_class(re.compile("stale"))


def test_out_of_memory_says_what_fits(watch: Any) -> None:
    page = watch.open("/?model=llama-2-70b&hardware=nvidia/a6000&phase=decode&batch=4")
    expect(page.locator(".guard.stop")).to_contain_text("Out of memory by")


def test_baseline_shows_ghosts_and_what_was(watch: Any) -> None:
    page = watch.open()
    page.keyboard.press("b")
    expect(page.locator("#baseline-toggle")).to_have_text("Drop baseline")
    page.keyboard.press("[")
    expect(page.locator("#batch")).to_have_value("4")
    expect(page.locator(".was").first).to_be_visible()
    assert "base=" in page.url
    page.keyboard.press("b")
    expect(page.locator(".was")).to_have_count(0)


def test_chart_table_and_graph_are_linked(watch: Any) -> None:
    page = watch.open()
    page.locator("[data-op='decode/0-39/attention']").click()
    expect(page.locator("#ops .ag-row-selected")).to_contain_text("attention")
    expect(page.locator("[data-op='decode/0-39/attention']")).to_have_class(re.compile("on"))
    page.locator("#ops .ag-row", has_text="down_proj").first.click()
    expect(page.locator(".graph-node.on")).to_contain_text("down_proj")


def test_keys(watch: Any) -> None:
    page = watch.open()
    page.keyboard.press("]")
    expect(page.locator("#batch")).to_have_value("16")
    page.keyboard.press("/")
    expect(page.locator("#table-search")).to_be_focused()
    page.keyboard.type("attention")
    expect(page.locator("#ops .ag-center-cols-container .ag-row")).to_have_count(2)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("halve or double the batch")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_axe_finds_nothing(watch: Any, theme: str, width: int) -> None:
    watch.page.set_viewport_size({"width": width, "height": 900})
    watch.page.emulate_media(color_scheme=theme)
    page = watch.open()
    assert page.evaluate("document.documentElement.dataset.mantineColorScheme") == theme
    page.wait_for_timeout(300)
    assert watch.axe() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
