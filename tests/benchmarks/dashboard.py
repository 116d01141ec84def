"""Measures the dashboard in a real Chromium on this machine: ``python tests/benchmarks/dashboard.py [--json]``.

First plot, key press to numbers and to the redrawn plot, updates per second while a roof is dragged, bytes per update,
page weight as sent. Targets: 2 s, 50 ms, 10 a second, 30 kB, 2 MB. A script, not a test: times depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

TARGETS = {
    "first_plot_s": 2.0,
    "key_to_numbers_ms": 50.0,
    "key_to_plot_ms": 50.0,
    "drag_updates_per_s": 10.0,
    "update_bytes": 30_000.0,
    "update_bytes_sent": 30_000.0,
    "page_weight_bytes": 2e6,
}

WATCH = """() => {
  window.seen = { numbers: 0, plot: 0, plots: 0 };
  new MutationObserver(() => { window.seen.numbers = performance.now(); })
    .observe(document.getElementById('headline'), { childList: true, characterData: true, subtree: true });
  const plot = document.querySelector('#roofline .js-plotly-plot');
  plot.on('plotly_afterplot', () => { window.seen.plot = performance.now(); window.seen.plots += 1; });
}"""
PRESS = """(key) => new Promise((resolve) => {
  const start = performance.now();
  window.seen.numbers = window.seen.plot = 0;
  document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
  const look = () => {
    const s = window.seen;
    if (s.numbers && s.plot) resolve([s.numbers - start, s.plot - start]);
    else if (performance.now() - start > 5000) resolve(null);
    else setTimeout(look, 1);
  };
  look();
})"""


def serve() -> tuple[Any, str]:
    """A server in this process and its address."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    from viewer.dashboard import create_app

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *args: Any) -> None:
            """Nothing."""

    server = make_server("127.0.0.1", 0, create_app().server, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"


def first_plot(browser: Any, site: str) -> tuple[float, int]:
    """(seconds from navigation to the first drawn op, bytes of the page as sent)."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.add_init_script("localStorage.setItem('roofline-tour', 'closed')")
    sent: list[int] = []
    page.on("requestfinished", lambda r: sent.append(sum(r.sizes()[k] for k in ("responseBodySize",))))
    start = time.perf_counter()
    page.goto(site, wait_until="commit")
    page.wait_for_selector("#roofline .scatterlayer path.point")
    seconds = time.perf_counter() - start
    page.wait_for_timeout(1500)
    page.close()
    return seconds, sum(sent)


def keys(page: Any, rounds: int = 30) -> tuple[list[float], list[float]]:
    """Milliseconds from a key press to new numbers, and to the redrawn plot."""
    page.evaluate(WATCH)
    numbers, plots = [], []
    for index in range(rounds):
        found = page.evaluate(PRESS, "]" if index % 2 else "[")
        if found and index >= 4:
            numbers.append(found[0])
            plots.append(found[1])
    return numbers, plots


def drag(page: Any, seconds: float = 3.0) -> float:
    """Redrawn plots a second while the bandwidth roof is dragged up and down."""
    spot = page.evaluate(
        """() => {
          const plot = document.querySelector('#roofline .js-plotly-plot');
          const area = plot.querySelector('.nsewdrag').getBoundingClientRect();
          const roof = plot.data.find((t) => t.meta && t.meta.roof === 'memory');
          const x = 1.75, l = plot._fullLayout;
          const y = Math.log10(roof.y[0] / roof.x[0]) + x;
          return [area.left + l.xaxis.l2p(x), area.top + l.yaxis.l2p(y)];
        }"""
    )
    page.mouse.move(*spot)
    page.mouse.down()
    before, start, step = page.evaluate("window.seen.plots"), time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        step += 1
        page.mouse.move(spot[0], spot[1] + 30 * ((step % 40) / 20 - 1))
        page.wait_for_timeout(12)
    rate = (page.evaluate("window.seen.plots") - before) / (time.perf_counter() - start)
    page.mouse.up()
    return float(rate)


def measure(rounds: int) -> dict[str, float]:
    """All figures."""
    from playwright.sync_api import sync_playwright

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "browser"))
    from conftest import FLAGS, browser_path

    server, site = serve()
    path = browser_path()
    with sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=path, args=list(FLAGS))
        runs = [first_plot(browser, site) for _ in range(rounds)]
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.add_init_script("localStorage.setItem('roofline-tour', 'closed')")
        bodies: list[tuple[int, int]] = []

        def note(response: Any) -> None:
            if response.request.method == "POST":
                bodies.append((len(response.body()), response.request.sizes()["responseBodySize"]))

        page.goto(site)
        page.wait_for_selector("#roofline .scatterlayer path.point")
        page.wait_for_timeout(1000)
        numbers, plots = keys(page)
        rate = drag(page)
        page.on("response", note)
        page.keyboard.press("]")
        page.wait_for_timeout(1500)
        browser.close()
    server.shutdown()
    return {
        "first_plot_s": statistics.median(s for s, _ in runs),
        "key_to_numbers_ms": statistics.median(numbers),
        "key_to_plot_ms": statistics.median(plots),
        "drag_updates_per_s": rate,
        "update_bytes": float(max((a for a, _ in bodies), default=0)),
        "update_bytes_sent": float(max((b for _, b in bodies), default=0)),
        "page_weight_bytes": float(runs[0][1]),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    parser.add_argument("--rounds", type=int, default=3, help="page loads to take the median of")
    options = parser.parse_args()
    figures = measure(options.rounds)
    if options.json:
        print(json.dumps(figures, indent=1))
        return
    for name, value in figures.items():
        print(f"{name:22} {value:12,.2f}   target {TARGETS[name]:,.0f}")


if __name__ == "__main__":
    main()
