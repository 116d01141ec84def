"""Load on the dashboard: ``python tests/benchmarks/load.py [--seconds 60] [--users 20] [--workers 2]``.

Starts gunicorn on a free port of this machine, records the update that one page load sends, and replays it from
several users at once with another batch each time. Prints requests a second, latency, errors and the memory's growth.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def recorded(port: int) -> list[tuple[str, str]]:
    """(path, body) of the callbacks that loading the first page sends."""
    from playwright.sync_api import sync_playwright

    found: list[tuple[str, str]] = []
    browser_path = os.environ.get("ROOFLINE_BROWSER", "chromium")
    with sync_playwright() as p:
        from shutil import which

        browser = p.chromium.launch(
            executable_path=which(browser_path), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.on(
            "request",
            lambda r: (
                found.append((r.url.split(str(port), 1)[1], r.post_data or ""))
                if "_dash-update-component" in r.url
                else None
            ),
        )
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_timeout(5000)
        browser.close()
    return found


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its children."""
    total, queue = 0, [pid]
    while queue:
        one = queue.pop()
        try:
            status = Path(f"/proc/{one}/status").read_text()
            queue += [int(c) for c in Path(f"/proc/{one}/task/{one}/children").read_text().split()]
        except OSError:
            continue
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        total += int(match[1]) * 1024 if match else 0
    return total


def user(
    port: int, path: str, body: str, until: float, numbers: itertools.count, out: list[tuple[float, int]]
) -> None:
    """One user: replay the update with another batch until the time is over."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while time.time() < until:
        batch = 1 + next(numbers) % 500
        text = re.sub(r'("batch":\s*)\d+', rf"\g<1>{batch}", body)
        start = time.perf_counter()
        try:
            link.request("POST", path, text, {"Content-Type": "application/json"})
            answer = link.getresponse()
            answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException):
            status = 0
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        out.append((time.perf_counter() - start, status))


def main() -> None:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "-k",
        "gthread",
        "--threads",
        "8",
        "-w",
        str(options.workers),
    ]
    server = subprocess.Popen(
        [*command, "-b", f"127.0.0.1:{port}", "--log-level", "error", "app:server"], cwd=REPO
    )
    try:
        time.sleep(6)
        path, body = max(recorded(port), key=lambda pair: len(pair[1]) * ('"batch"' in pair[1]))
        out: list[tuple[float, int]] = []
        numbers = itertools.count()
        before = resident_bytes(server.pid)
        until = time.time() + options.seconds
        users = [
            threading.Thread(target=user, args=(port, path, body, until, numbers, out))
            for _ in range(options.users)
        ]
        for one in users:
            one.start()
        for one in users:
            one.join()
        seconds = sorted(t for t, _ in out)
        print(json.dumps({
            "requests": len(out), "requests_per_s": round(len(out) / options.seconds, 1),
            "p50_ms": round(1e3 * seconds[len(seconds) // 2], 1),
            "p95_ms": round(1e3 * seconds[int(0.95 * len(seconds))], 1),
            "errors": sum(s != 200 and s != 204 for _, s in out),
            "resident_before_mb": before // 10**6, "resident_after_mb": resident_bytes(server.pid) // 10**6,
        }, indent=1))  # fmt: skip
    finally:
        server.terminate()
        server.wait(10)


if __name__ == "__main__":
    main()
