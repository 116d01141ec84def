"""Predicted against measured: ``roofline bench cpu`` and ``analyze`` of a .gguf against llama.cpp running that file.

Run alone: ``python -m tests.engine.comparison [--dir FOLDER] [--shapes 0.4b,1.1b] [--formats F16,Q4_0]``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engine.gguf_files import BLOCKS, SHAPES, write

REPO = Path(__file__).resolve().parents[2]
PLAN: dict[str, Any] = {
    "threads": [1, 2],
    "prompts": [128, 512],
    "contexts": [128, 2000],
    "steps": 6,
    "repeats": 2,
}


@dataclass(frozen=True)
class Line:
    """One row of the table; seconds."""

    file: str
    phase: str
    length: int
    threads: int
    predicted_s: float
    measured_s: float
    bound: str
    share: float
    label: str

    @property
    def error(self) -> float:
        """predicted / measured - 1."""
        return self.predicted_s / self.measured_s - 1.0


def bench(folder: Path, name: str) -> Path:
    """A hardware file of this machine, measured now by ``roofline bench cpu --quick``."""
    path = folder / f"{name}.yaml"
    command = [sys.executable, "-m", "viewer.cli", "bench", "cpu", "--quick", "--force", "--out", str(path)]
    subprocess.run(command, check=True, cwd=REPO, capture_output=True, env=_environment())
    return path


def disturbed(hardware: Path) -> float:
    """Share of the benchmarks of a campaign that other work disturbed."""
    records = json.loads(hardware.with_suffix(".json").read_text())["records"]
    return sum("disturbed" in r["flags"] for r in records) / len(records)


def run_engine(path: Path, plan: dict[str, Any]) -> list[dict[str, Any]]:
    """The engine's rows, from a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("llama_run.py")), str(path), json.dumps(plan)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment())
    rows: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return rows


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPO), "PYTHONDONTWRITEBYTECODE": "1"}


def predict(path: Path, hardware: Path, row: dict[str, Any]) -> tuple[float, str, float, str]:
    """(seconds, bound that decides most of the time, its share, label) of one row.

    The engine's decode step at "context" n attends to n cached positions and its own, as ``Decode(context=n)`` does.
    """
    from viewer.analysis import analyze
    from viewer.workload import Decode, Prefill

    load = Prefill(prompt=row["length"]) if row["phase"] == "prefill" else Decode(context=row["length"])
    found = analyze(str(path), str(hardware), load, fidelity="estimate", threads=row["threads"])
    shares: dict[str, float] = {}
    for one in found.rows:
        shares[one["bound"]] = shares.get(one["bound"], 0.0) + one["repeat"] * one["time_s"]
    bound = max(shares, key=lambda name: shares[name])
    return found.totals.time_s, bound, shares[bound] / found.totals.time_s, found.totals.label


def compare(path: Path, hardware: Path, rows: list[dict[str, Any]]) -> list[Line]:
    """Lines of one file. The fastest repeat counts: other work on the machine only ever adds time."""
    lines = []
    for row in rows:
        seconds, bound, share, label = predict(path, hardware, row)
        best = min(row["seconds"])
        lines.append(
            Line(path.stem, row["phase"], row["length"], row["threads"], seconds, best, bound, share, label)
        )
    return lines


def table(lines: list[Line]) -> str:
    """The lines as text, with the mean and the largest error by phase."""
    head = f"{'file':<12} {'phase':<8} {'tokens':>6} {'threads':>7} {'predicted ms':>12} {'measured ms':>12}"
    out = [f"{head} {'error':>7}  bound"]
    for x in lines:
        out.append(
            f"{x.file:<12} {x.phase:<8} {x.length:>6} {x.threads:>7} {1e3 * x.predicted_s:>12.1f} "
            f"{1e3 * x.measured_s:>12.1f} {x.error:>+7.1%}  {x.bound} ({x.share:.0%} of the time)"
        )
    for phase in ("decode", "prefill"):
        errors = [x.error for x in lines if x.phase == phase]
        if errors:
            worst = max(errors, key=abs)
            bias = sum(errors) / len(errors)
            out.append(
                f"{phase}: mean error {mean_error(lines, phase):.1%}, bias {bias:+.1%}, worst {worst:+.1%}"
            )
    return "\n".join(out)


def mean_error(lines: list[Line], phase: str) -> float:
    """Mean of |predicted / measured - 1| over a phase."""
    errors = [abs(x.error) for x in lines if x.phase == phase]
    return sum(errors) / len(errors)


def campaign(
    folder: Path, shapes: list[str], formats: list[str], plan: dict[str, Any]
) -> tuple[list[Line], float]:
    """(lines, share of disturbed benchmarks): the machine is measured anew before every shape."""
    lines: list[Line] = []
    worst = 0.0
    for name in shapes:
        paths = []
        for fmt in formats:
            path = folder / f"{name}-{fmt}.gguf"
            paths.append(path if path.exists() else write(path, SHAPES[name], fmt))
        hardware = bench(folder, f"cpu-{name}")
        worst = max(worst, disturbed(hardware))
        for path in paths:
            lines += compare(path, hardware, run_engine(path, plan))
    return lines, worst


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, help="keep the files here (else a temporary folder)")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--formats", default=",".join(BLOCKS))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.dir or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        lines, share = campaign(folder, given.shapes.split(","), given.formats.split(","), PLAN)
    print(table(lines))
    print(f"{share:.0%} of the benchmarks were disturbed by other work; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
