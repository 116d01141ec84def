"""A real Chromium against a real server here; every outside request, page error and axe finding is kept."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-default-apps",
)


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Everything in this folder drives a browser."""
    for item in items:
        if Path(str(item.fspath)).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.browser)


def browser_path() -> str:
    """``$ROOFLINE_BROWSER``, a Chromium on the PATH, or the one that playwright installed."""
    named = os.environ.get("ROOFLINE_BROWSER")
    found = [named] if named else []
    names = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome", "msedge")
    found += [path for path in map(shutil.which, names) if path]
    for path in found:
        if Path(path).exists():
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        path = engine.chromium.executable_path
    if Path(path).exists():
        return path
    pytest.fail(
        "no Chromium found: set ROOFLINE_BROWSER, or run 'playwright install chromium', or install the package"
        " 'chromium'; to leave these tests out: -m 'not browser'",
        pytrace=False,
    )
    raise AssertionError


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    """What pytest-playwright starts."""
    return {"executable_path": browser_path(), "args": list(FLAGS), "headless": True}


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """The address of a server in this process."""
    from werkzeug.serving import make_server

    from viewer.dashboard import create_app

    server = make_server("127.0.0.1", 0, create_app().server, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@dataclass
class Watch:
    """What went wrong on a page, collected while it runs."""

    page: Any
    site: str
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def open(self, path: str = "/") -> Any:
        """Goes to a path and waits for the first chart."""
        self.page.goto(self.site + path)
        self.page.wait_for_selector("#headline:not(:empty)")
        self.page.wait_for_selector("#roofline .main-svg .scatterlayer path.point, #main:not(.show-analyze)")
        return self.page

    def axe(self) -> list[str]:
        """Rules that the page breaks, as ``rule: selector``."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [
            f"{v['id']}: {n['target']} {n['failureSummary'][:160]}" for v in found for n in v["nodes"][:3]
        ]


@pytest.fixture
def watch(page: Any, site: str) -> Iterator[Watch]:
    """A watched page; fails the test on any page error, console error or request that leaves the machine."""
    seen = Watch(page, site)
    page.set_default_timeout(90_000)  # a loaded machine is no failure; an error is
    page.add_init_script("try { localStorage.setItem('roofline-tour', 'closed') } catch (e) {}")
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("console", lambda m: seen.errors.append(m.text) if m.type == "error" else None)
    page.on(
        "request",
        lambda r: None if r.url.startswith((site, "data:", "blob:")) else seen.outside.append(r.url),
    )
    yield seen
    assert seen.errors == []
    assert seen.outside == []
