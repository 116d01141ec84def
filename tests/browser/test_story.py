"""A person's whole story, and what must hold on every page."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from viewer.dashboard.pages import PAGES

#: Something that a page shows once it has its answer.
READY = {
    "analyze": "#roofline path.point",
    "compare": "#compare-ops .ag-row",
    "sweep": "#solve-answer:not(:empty)",
    "plan": "#plan-answer:not(:empty)",
    "hardware": "#device-figures .ag-row",
    "models": "#model-table .ag-row",
    "validation": "#calibrated-answer:not(:empty)",
}


def test_which_compression_for_this_card(watch: Any) -> None:
    """13B on an A6000, prompts of 2 k, batch 8: W4A16 or W8A8, and does KV8 help? Pin, compare, export, share."""
    page = watch.open(
        "/?model=llama-2-13b&hardware=nvidia/a6000&phase=generate&batch=8&prompt=2048&output=256"
    )
    page.locator("#baseline-toggle").click()
    page.locator("#compression").fill("w4a16-g128")
    expect(page.locator("#headline")).to_contain_text("w4a16-g128")
    expect(page.locator("[data-explain=tpot_s] .was")).to_contain_text("52.2 ms")
    page.locator("#pin-add").click()
    page.locator("#compression").fill("w8a8-int8")
    expect(page.locator("#headline")).to_contain_text("w8a8-int8")
    page.locator("#nav-compare").click()
    expect(page.locator("#compare-verdict")).to_contain_text("w4a16-g128+kv8 is the fastest that fits")
    expect(page.locator("#compare-table .ag-row")).not_to_have_count(0)
    with page.expect_download() as saved:
        page.locator("[data-export=compare-table]").click()
    assert saved.value.suggested_filename == "roofline-compare-table.csv"
    link = page.url
    assert "pin=" in link
    assert "base=" in link
    page.goto("about:blank")
    page.goto(link)
    expect(page.locator("#compare-verdict")).to_contain_text("w4a16-g128+kv8 is the fastest that fits")


def test_explain_follows_a_click(watch: Any) -> None:
    page = watch.open()
    page.locator("[data-explain=tpot_s]").click()
    drawer = page.get_by_role("dialog")
    expect(drawer).to_contain_text("TPOT = sum = 52.2 ms")
    expect(drawer).to_contain_text("768 GB/s")
    expect(drawer).to_contain_text("datasheet")
    page.locator("#ops .ag-row", has_text="down_proj").first.locator("[col-id=time_s]").click()
    expect(drawer).to_contain_text("2 × T × N × K = 2 × 8.00000 × 5,120 × 13,824")
    assert watch.axe() == []


def test_copy_as(watch: Any) -> None:
    page = watch.open()
    page.locator("#copy-open").click()
    expect(page.locator("#copy-command")).to_have_text(
        "roofline analyze llama-2-13b nvidia/a6000 --phase generate --batch 8 --prompt 2048 --output 256"
    )
    expect(page.locator("#copy-python")).to_contain_text("Generation(batch=8, prompt=2048, output=256)")
    expect(page.locator("#copy-json")).to_contain_text('"schema": 1')
    expect(page.locator("#copy-link")).to_have_text(page.url)


def test_a_dragged_roof_changes_the_numbers(watch: Any) -> None:
    page = watch.open()
    before = page.locator("[data-explain=tpot_s] .figure-value").inner_text()
    spot = page.evaluate(
        """() => {
          const plot = document.querySelector('#roofline .js-plotly-plot');
          const area = plot.querySelector('.nsewdrag').getBoundingClientRect();
          const roof = plot.data.find((t) => t.meta && t.meta.roof === 'memory');
          const y = Math.log10(roof.y[0] / roof.x[0]) + 1.75, l = plot._fullLayout;
          return [area.left + l.xaxis.l2p(1.75), area.top + l.yaxis.l2p(y)];
        }"""
    )
    page.mouse.move(*spot)
    page.mouse.down()
    for step in range(8):
        page.mouse.move(spot[0], spot[1] - 4 * step)
        page.wait_for_timeout(60)
    page.mouse.up()
    expect(page.locator("[data-explain=tpot_s] .figure-value")).not_to_have_text(before)
    expect(page.locator(".guard.warn")).to_contain_text("Not the real device: bandwidth ×")
    assert "bandwidth_scale=" in page.url


def test_painting_and_undo(watch: Any) -> None:
    page = watch.open()
    page.locator("[data-op='decode/0-39/down_proj']").click()
    page.locator("#paint").click()
    expect(page.locator("#headline")).to_contain_text("painted")
    expect(page.locator("#paint-rules .chip")).to_have_count(1)
    assert "paint=down_proj~w=int4_g128" in page.url.replace("%7E", "~").replace("%3D", "=")
    page.locator("#paint-undo").click()
    expect(page.locator("#headline")).not_to_contain_text("painted")


def test_a_dropped_config_becomes_the_model(watch: Any, tmp_path: Any) -> None:
    import json

    config = {
        "model_type": "llama",
        "hidden_size": 1024,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "intermediate_size": 4096,
        "vocab_size": 32000,
    }
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(config))
    page = watch.open()
    page.locator("#panel summary", has_text="Files").click()
    page.locator("#upload input[type=file]").set_input_files(str(path))
    expect(page.locator("#upload-note")).to_contain_text("read as model")
    expect(page.locator("#headline")).to_contain_text("tiny on NVIDIA RTX A6000")
    assert "model=file:tiny.json@" in page.url
    page.reload()
    expect(page.locator("#panel")).to_contain_text("drop it here")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", [page.NAME for page in PAGES])
def test_every_page_is_whole_and_accessible(watch: Any, name: str, theme: str) -> None:
    path = next(page.PATH for page in PAGES if name == page.NAME)
    watch.page.emulate_media(color_scheme=theme)
    watch.page.goto(watch.site + path)
    watch.page.wait_for_selector(READY[name])
    watch.page.wait_for_timeout(700)
    assert watch.axe() == []
    watch.page.set_viewport_size({"width": 390, "height": 800})
    watch.page.wait_for_function("document.documentElement.scrollWidth <= 390")


def test_the_whole_page_by_keyboard(watch: Any) -> None:
    page = watch.open()
    page.keyboard.press("2")
    expect(page.locator("#main")).to_have_class(re.compile("show-compare"))
    page.keyboard.press("1")
    expect(page.locator("#main")).to_have_class(re.compile("show-analyze"))
    page.locator("#headline").click()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('data-explain')"):
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("TTFT")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
