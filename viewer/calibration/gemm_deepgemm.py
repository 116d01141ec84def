"""The tile that DeepGEMM's heuristic picks for block-scaled FP8 on Hopper."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from viewer.calibration.base import FloatArray

# (rows, columns): up to 128 columns in steps of 16, then those whose scale blocks divide; 256 rows take at
# most 128 columns. After deepseek-ai/DeepGEMM csrc/jit_kernels/heuristics (get_best_config), from memory;
# checked against which public measurements are slow.
CANDIDATES: tuple[tuple[int, int], ...] = tuple(
    (rows, columns)
    for rows in (64, 128, 256)
    for columns in (*range(16, 129, 16), 144, 160, 192, 256)
    if rows <= 128 or columns <= 128
)


def deepgemm_tile(m: FloatArray, n: FloatArray, cores: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(tile rows, tile columns, waves) of each shape: fewest waves, then the fullest last wave, then size."""
    best = np.zeros((4, len(m)))  # rows, columns, waves, blocks in the last wave
    for rows, columns in CANDIDATES:
        blocks = np.ceil(m / rows) * np.ceil(n / columns)
        waves = np.ceil(blocks / cores)
        last = blocks - (waves - 1) * cores
        better = _better(best, rows, columns, waves, last, m, n)
        best = np.where(better, np.stack(np.broadcast_arrays(rows, columns, waves, last)), best)
    return best[0], best[1], best[2]


def _better(
    best: FloatArray,
    rows: int,
    columns: int,
    waves: FloatArray,
    last: FloatArray,
    m: FloatArray,
    n: FloatArray,
) -> NDArray[np.bool_]:
    equal = (waves == best[2]) & (last == best[3])
    smaller = ((rows == best[0]) & (columns < best[1])) | ((columns == best[1]) & (rows < best[0]))
    wider = (rows != best[0]) & (columns > best[1]) & (columns <= n) & (rows <= m)
    fuller = (waves == best[2]) & (last > best[3])
    out: NDArray[np.bool_] = (best[0] == 0) | (waves < best[2]) | fuller | (equal & (smaller | wider))
    return out
