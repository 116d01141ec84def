"""The measured correction (M3): log(t / M2) smoothed over physics features, kept on few anchors.

    K(x, y) = (1 + sqrt(3) d) exp(-sqrt(3) d),  d = |x - y|            (Matern, order 3/2)
    f       = K (K + ridge / w)^-1 z                                   at all measured rows, z = log(t / M2)
    alpha   = argmin |K(x, X_a) alpha - f|^2 + jitter alpha' K(X_a, X_a) alpha
    M3      = M2 exp(K(x, X_a) alpha)

X_a are at most 250 anchors, chosen greedily where f is represented worst (orthogonal matching pursuit in
steps of five): on left-out shapes they lose nothing against all points, where anchors chosen by variance
lose 0.2-0.3 points. Robust: two reweightings w_i = 1 / sqrt(1 + (ridge |a_i| / 0.08)^2), because 1-3 % of published
points are more than 1.5 x off their neighbours. Far from every anchor the correction fades to 1.

Relatives (the same library on a sister device, another library that calls the same vendor kernels) may lend
their rows: their correlation with the class is ``share`` K (intrinsic coregionalization).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from viewer.calibration.base import FloatArray

ANCHORS = 250
RIDGE = 0.25
CLIP = 0.5
ROBUST = 0.08
JITTER = 1e-3
STEP = 5
CHUNK = 16384


def matern(x: FloatArray, y: FloatArray) -> FloatArray:
    """(rows of x, rows of y) correlation matrix; formula in the module docstring."""
    squared = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None, :] - 2.0 * (x @ y.T)
    d = np.sqrt(3.0 * np.maximum(squared, 0.0))
    out: FloatArray = (1.0 + d) * np.exp(-d)
    return out


def choose_anchors(
    gram: FloatArray, target: FloatArray, importance: FloatArray, limit: int = ANCHORS
) -> NDArray[np.int64]:
    """Rows whose interpolation in the space of ``gram`` represents ``target`` best, greedily, five at a time."""
    count = min(limit, len(target))
    residual, free = target.copy(), np.ones(len(target), dtype=bool)
    rows = np.zeros(0, dtype=np.int64)
    while len(rows) < count:
        score = np.where(free, importance * np.abs(residual), -1.0)
        new = np.argsort(-score, kind="stable")[: min(STEP, count - len(rows))]
        rows = np.concatenate([rows, new])
        free[new] = False
        inner = gram[np.ix_(rows, rows)] + 1e-6 * np.eye(len(rows))
        residual = target - gram[:, rows] @ np.linalg.solve(inner, target[rows])
    return rows


@dataclass(frozen=True, slots=True)
class Relative:
    """Rows of another class that share their deviations from physics: features, log(t / M2), weights."""

    x: FloatArray
    log_ratio: FloatArray
    weight: FloatArray
    share: float


def fit_correction(
    x: FloatArray,
    log_ratio: FloatArray,
    weight: FloatArray,
    *,
    anchors: int = ANCHORS,
    ridge: float = RIDGE,
    clip: float = CLIP,
    relatives: Sequence[Relative] = (),
) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """(anchor features, alpha, anchor rows of x and then of each relative's x) from measured rows."""
    everything = np.concatenate([x, *(r.x for r in relatives)])
    z = np.clip(np.concatenate([log_ratio, *(r.log_ratio for r in relatives)]), -clip, clip)
    w = np.concatenate([weight, *(r.weight for r in relatives)])
    kind = np.concatenate([np.zeros(len(x)), *(np.full(len(r.x), i + 1.0) for i, r in enumerate(relatives))])
    share = np.concatenate([np.ones(len(x)), *(np.full(len(r.x), r.share) for r in relatives)])
    plain = matern(everything, everything)
    # Two relatives share with each other what both share with the class.
    together = np.where(kind[:, None] == kind[None, :], 1.0, np.minimum(share[:, None], share[None, :]))
    noise = ridge / w
    joint = plain * together
    a = np.linalg.solve(joint + np.diag(noise), z)
    for _ in range(2):
        a = np.linalg.solve(joint + np.diag(noise * np.sqrt(1.0 + (noise * a / ROBUST) ** 2)), z)
    smooth = (plain * share[None, :]) @ a
    importance = np.where(kind == 0, 1.0, 0.3)
    rows = choose_anchors(plain, smooth, importance, anchors)
    cross, inner = plain[:, rows], plain[np.ix_(rows, rows)]
    normal = cross.T @ (cross * importance[:, None]) + JITTER * inner
    alpha = np.linalg.solve(normal + 1e-8 * np.eye(len(rows)), cross.T @ (importance * smooth))
    return everything[rows], alpha, rows


def correction(x: FloatArray, anchor_x: FloatArray, alpha: FloatArray) -> FloatArray:
    """log(M3 / M2) of each row of x, in chunks of bounded memory."""
    out = np.empty(len(x))
    for start in range(0, len(x), CHUNK):
        part = slice(start, start + CHUNK)
        out[part] = matern(x[part], anchor_x) @ alpha
    return out
