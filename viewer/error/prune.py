"""Pruning and low rank as errors: which weights survive, by magnitude."""

from __future__ import annotations

import numpy as np

from viewer.error.layout import Array, by_group
from viewer.errors import InputError


def prune_n_of_m(x: Array, keep: int, out_of: int, *, unit: int = 1) -> Array:
    """Keeps the ``keep`` largest magnitudes of every ``out_of`` consecutive values of a row (2:4 keeps 2
    of 4). With ``unit`` 2 whole pairs are ranked, by their energy (4:8 in pairs: 2 of 4 pairs stay)."""
    if not 0 < keep <= out_of or keep % unit or out_of % unit:
        raise InputError(f"N:M sparsity keeps 1 .. M of M values in whole units, got {keep}:{out_of}")

    def rows(part: Array) -> Array:
        if part.shape[1] % unit:  # an odd tail of a row stays dense
            return part
        units = part.reshape(part.shape[0], -1, unit)
        dropped = max(units.shape[1] - keep // unit, 0)
        return _zero_smallest(units, np.square(units).sum(axis=2), dropped).reshape(part.shape)

    return by_group(x, out_of, rows)


def _zero_smallest(units: Array, energy: Array, dropped: int) -> Array:
    """``units`` (n, m, size) with the ``dropped`` of least ``energy`` (n, m) in each row set to zero."""
    out = units.copy()
    if dropped:
        order = np.argpartition(energy, dropped - 1, axis=1)[:, :dropped]
        np.put_along_axis(out, order[:, :, None], 0, axis=1)
    return out


def _count(sparsity: float, size: int) -> int:
    if not 0 <= sparsity < 1:
        raise InputError(f"sparsity must lie in 0 .. 1 (1 excluded), got {sparsity}")
    return int(sparsity * size + 1e-9)


def prune_unstructured(x: Array, sparsity: float) -> Array:
    """Zeroes the share ``sparsity`` of smallest magnitudes of each row: floor(sparsity * cols) values."""
    return _zero_smallest(x[:, :, None], np.abs(x), _count(sparsity, x.shape[1]))[:, :, 0]


def prune_blocks(x: Array, sparsity: float, size: int) -> Array:
    """Zeroes the share ``sparsity`` of size x size tiles of least energy in each strip of ``size`` rows."""
    rows, cols = x.shape
    padded = np.pad(x, ((0, -rows % size), (0, -cols % size)))
    down, across = padded.shape[0] // size, padded.shape[1] // size
    tiles = padded.reshape(down, size, across, size).transpose(0, 2, 1, 3).reshape(down, across, size * size)
    kept = _zero_smallest(tiles, np.square(tiles).sum(axis=2), _count(sparsity, across))
    back = kept.reshape(down, across, size, size).transpose(0, 2, 1, 3).reshape(padded.shape)
    return np.asarray(back[:rows, :cols])


def prune_rows(x: Array, sparsity: float) -> Array:
    """Structured: zeroes the share ``sparsity`` of rows (output channels) of least energy."""
    return np.asarray(
        _zero_smallest(x[None], np.square(x).sum(axis=1)[None], _count(sparsity, x.shape[0]))[0]
    )


def low_rank(x: Array, rank: int) -> Array:
    """The best rank-r approximation U_r S_r V_r (Eckart-Young): error = sum of the squared dropped singular
    values."""
    if not 1 <= rank <= min(x.shape):
        raise InputError(f"the rank must lie in 1 .. {min(x.shape)}, got {rank}")
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    return np.asarray((u[:, :rank] * s[:rank]) @ vt[:rank], dtype=x.dtype)


def low_rank_pays(rows: int, cols: int, rank: int) -> bool:
    """True when two factors hold fewer values than the matrix: r < rows cols / (rows + cols)."""
    return rank * (rows + cols) < rows * cols


def low_rank_iid_sqnr_db(rows: int, cols: int, rank: int) -> float:
    """SQNR in dB of rank-r truncation of a matrix with independent entries: the worst case, no structure at
    all.

    Singular values follow the Marchenko-Pastur law with aspect ratio y = min / max; the kept energy is the
    integral of x over its top r / min share. Numerical quadrature (4096 nodes in the angle), +-0.01 dB for
    large matrices.
    """
    small, large = sorted((rows, cols))
    if not 1 <= rank <= small:
        raise InputError(f"the rank must lie in 1 .. {small}, got {rank}")
    if rank == small:
        return float("inf")
    y = small / large
    # x = 1 + y - 2 sqrt(y) cos(theta): density (2 / pi) sin^2(theta) / x on 0 .. pi (substituted semicircle).
    theta = (np.arange(4096) + 0.5) * np.pi / 4096
    x = 1 + y - 2 * np.sqrt(y) * np.cos(theta)
    density = np.sin(theta) ** 2 / x
    share = np.cumsum(density) / density.sum()
    energy = np.cumsum(density * x) / (density * x).sum()
    lost = np.interp(1 - rank / small, share, energy)
    return float(-10 * np.log10(lost))
