"""SQNR of every storage format for assumed distributions: a small derived table, and the Monte-Carlo behind
it.

``sqnr_table.json`` holds what ``simulate`` gives (rows of 4096 values, seeded); ``python -m
viewer.error.table`` writes it again. A format outside the table is simulated on first use. Pruning and low
rank come from quadrature.
"""

from __future__ import annotations

import json
import math
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from viewer import formats
from viewer.error import pruning
from viewer.error.analytic import expected_square_amax
from viewer.error.distributions import DISTRIBUTIONS, distribution
from viewer.error.layout import Array, TensorStats
from viewer.error.metrics import sqnr_db as measured_sqnr_db
from viewer.error.metrics import to_db
from viewer.error.quantizers import quantizer

TABLE_PATH = Path(__file__).with_name("sqnr_table.json")
ROW_VALUES = 4096
ROWS = 512
SEED = 20240
TENSOR_VALUES = 4096 * 4096  # size whose expected absmax sets per-tensor scales


@lru_cache(maxsize=8)
def _sample(dist_name: str, rows: int) -> tuple[Array, TensorStats]:
    """Seeded rows of a distribution and the range that a tensor of 4096 x 4096 such values is expected to
    have."""
    dist = distribution(dist_name)
    rng = np.random.default_rng([SEED, sorted(DISTRIBUTIONS).index(dist_name)])
    amax = math.sqrt(expected_square_amax(dist, TENSOR_VALUES))
    return dist.sample(rng, rows, ROW_VALUES), TensorStats(-amax, amax)


def simulate(name: str, dist_name: str, *, rows: int = ROWS) -> float:
    """Monte-Carlo SQNR in dB of a format or joined name on ``rows`` x 4096 values; +inf when exact."""
    x, stats = _sample(dist_name, rows)
    return measured_sqnr_db(x, quantizer(name).apply(x, stats))


@cache
def stored_table() -> dict[str, dict[str, float]]:
    """The table as shipped: format name -> distribution name -> SQNR in dB."""
    content = json.loads(TABLE_PATH.read_text(encoding="utf-8")) if TABLE_PATH.exists() else {"sqnr_db": {}}
    return {
        name: {d: math.inf if v is None else v for d, v in row.items()}
        for name, row in content["sqnr_db"].items()
    }


def build_table(*, rows: int = ROWS) -> dict[str, object]:
    """The table simulated anew for every listed format, rounded to 0.01 dB; exact formats are null."""
    result: dict[str, dict[str, float | None]] = {}
    for name in formats.available():
        values = {d: simulate(name, d, rows=rows) for d in sorted(DISTRIBUTIONS)}
        result[name] = {d: round(v, 2) if math.isfinite(v) else None for d, v in values.items()}
    return {"schema": 1, "seed": SEED, "rows": rows, "row_values": ROW_VALUES, "sqnr_db": result}


@lru_cache(maxsize=4096)
def sqnr_db(name: str, dist_name: str = "gaussian", numel: float = TENSOR_VALUES) -> float:
    """Assumed SQNR in dB of a format, pruning or joined name on a standard distribution; cached.

    Joined names add noise powers: 1 / SQNR = sum of 1 / SQNR_i (pruning moves the small values only, which
    leaves absmax scales as they were). +inf for an exact format. ``numel`` counts only for a rank: the
    matrix is taken as square.
    """
    dist = distribution(dist_name)
    parts = [part.strip() for part in name.split("+")]
    if len(parts) > 1:
        return -to_db(sum(10 ** (-sqnr_db(part, dist_name, numel) / 10) for part in parts))
    scheme = pruning.parse(parts[0])
    if scheme is not None:
        return scheme.assumed_sqnr_db(dist, numel)
    canonical = formats.get(parts[0]).name
    row = stored_table().get(canonical)
    return row[dist_name] if row else simulate(canonical, dist_name, rows=32)


def write_table(path: Path = TABLE_PATH) -> None:
    """Simulates the table and writes it: to a temporary name first, then renamed."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(build_table(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    write_table()
