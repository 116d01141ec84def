"""Finding a Chromium, and printing a page to PDF with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from viewer.errors import InputError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
#: No telemetry, no component updates, no first-run pages: nothing leaves the machine.
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--hide-scrollbars",
)
PRINT_TIMEOUT_S = 90


@lru_cache(maxsize=1)
def find_browser() -> str | None:
    """The browser of ``$ROOFLINE_BROWSER``, or a Chromium or Chrome on the PATH; None where there is none."""
    wanted = os.environ.get("ROOFLINE_BROWSER")
    if wanted:
        return wanted if shutil.which(wanted) else None
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def print_pdf(page: str, path: Path) -> None:
    """Write the HTML text ``page`` as PDF (vector text). Raises InputError when there is no browser or it fails."""
    browser = find_browser()
    if browser is None:
        raise InputError("a PDF needs Chromium or Chrome (set ROOFLINE_BROWSER)")
    with tempfile.TemporaryDirectory(prefix="roofline-") as folder:
        source, target = Path(folder) / "report.html", Path(folder) / "report.pdf"
        source.write_text(page, "utf-8")
        root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        command = [
            browser, *FLAGS, *root, f"--user-data-dir={folder}/profile", "--no-pdf-header-footer",
            "--virtual-time-budget=20000", f"--print-to-pdf={target}", source.as_uri(),
        ]  # fmt: skip
        try:
            subprocess.run(command, capture_output=True, timeout=PRINT_TIMEOUT_S, check=True)
        except (subprocess.SubprocessError, OSError) as error:
            raise InputError(
                f"{Path(browser).name} could not print the report: {type(error).__name__}"
            ) from None
        if not target.is_file() or target.stat().st_size < 1000:
            raise InputError(f"{Path(browser).name} wrote no PDF")
        shutil.copyfile(target, path)
