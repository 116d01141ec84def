"""Which experts a batch of tokens hits: expected distinct experts, padded rows, popularity of experts.

A token picks k different experts of E. With p_e the share of tokens that pick expert e (sum p_e = k) and independent
tokens, E[distinct experts of T tokens] = sum_e 1 - (1 - p_e)^T; uniform p_e = k / E gives E * (1 - (1 - k/E)^T),
which is exact for sampling without replacement inside a token. Tokens of one text are correlated and hit fewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from viewer.errors import InputError
from viewer.workload import Number

#: Terms of the sum over tiles before the remainder of a division is taken as uniform.
MAX_TILE_TERMS = 64


@dataclass(frozen=True)
class Routing:
    """How tokens spread over experts.

    ``zipf``: p_e proportional to (rank of e)^-zipf; 0 is uniform. ``histogram``: relative load of each expert, in any
    unit (it wins over ``zipf``; its length must be the number of experts). ``tile_rows``: rows to which a grouped
    product pads each expert's share (1: none).
    """

    zipf: float = 0.0
    histogram: tuple[float, ...] = ()
    tile_rows: int = 1

    def __post_init__(self) -> None:
        if not 0.0 <= self.zipf <= 10.0:
            raise InputError(f"zipf exponent {self.zipf} is out of range (allowed: 0 to 10)")
        if any(not value >= 0.0 or not value < 1e300 for value in self.histogram):
            raise InputError("histogram of experts: loads must be finite and not negative")
        if not 1 <= self.tile_rows <= 4096:
            raise InputError(f"tile of {self.tile_rows} rows is out of range (allowed: 1 to 4096)")

    @property
    def uniform(self) -> bool:
        """Whether all experts are equally likely."""
        return not self.histogram and self.zipf == 0.0


UNIFORM = Routing()


@lru_cache(maxsize=256)
def hit_probabilities(experts: int, top_k: int, routing: Routing) -> npt.NDArray[np.float64]:
    """p_e, shape (E,): the probability that one token picks expert e; sum p_e = k and p_e <= 1.

    Loads are scaled to sum k; what would exceed 1 is capped and the rest scaled up (a token picks an expert once).
    Raises InputError when a histogram does not have E entries or leaves fewer than k experts.
    """
    if routing.histogram:
        load = np.asarray(routing.histogram, dtype=float)
        if load.size != experts:
            raise InputError(f"histogram of experts has {load.size} entries, the model has {experts} experts")
    else:
        load = np.arange(1, experts + 1, dtype=float) ** -routing.zipf
    if np.count_nonzero(load) < top_k:
        raise InputError(
            f"histogram of experts: {np.count_nonzero(load)} experts have load, each token picks {top_k}"
        )
    capped = np.zeros(experts, dtype=bool)
    while True:
        free = load * ~capped
        left = top_k - np.count_nonzero(capped)
        share = free / free.sum() * left if left else np.zeros(experts)
        over = (share > 1.0) & ~capped
        if not over.any():
            return np.where(capped, 1.0, share)
        capped |= over


def distinct_experts(tokens: Number, experts: int, top_k: int, routing: Routing = UNIFORM) -> Number:
    """Expected number of different experts that ``tokens`` tokens hit: sum_e 1 - (1 - p_e)^T (modelling 2.5)."""
    if routing.uniform:
        return experts * (1.0 - (1.0 - top_k / experts) ** tokens)
    values, counts = np.unique(hit_probabilities(experts, top_k, routing), return_counts=True)
    total: Number = 0.0
    for value, number in zip(values, counts, strict=True):
        total = total + float(number) * (1.0 - (1.0 - float(value)) ** tokens)
    return total


def padded_rows(tokens: Number, experts: int, top_k: int, routing: Routing) -> Number:
    """Expected rows of a grouped product whose experts pad to tiles of B rows: sum_e B * E[ceil(t_e / B)].

    t_e is binomial(T, p_e): E[ceil(t/B)] = sum_{j>=0} P(t > j*B), each term a regularised incomplete beta function;
    for means above MAX_TILE_TERMS/2 tiles the remainder is taken as uniform: ceil = mean/B + (B-1)/(2B).
    """
    if routing.tile_rows == 1:
        return tokens * float(top_k)
    values, counts = np.unique(hit_probabilities(experts, top_k, routing), return_counts=True)
    total: Number = 0.0
    for value, number in zip(values, counts, strict=True):
        total = total + float(number) * _padded(
            np.asarray(tokens, dtype=float), float(value), routing.tile_rows
        )
    return total


def _padded(tokens: npt.NDArray[np.float64], p: float, tile: int) -> npt.NDArray[np.float64]:
    from scipy.special import betainc

    rows = np.zeros_like(tokens)
    if p == 0.0:
        return rows
    for index in range(MAX_TILE_TERMS):
        done = float(index * tile)
        left = tokens - done
        if not (left > 0).any():
            break
        rows = rows + np.where(left > 0, betainc(done + 1.0, np.maximum(left, 1e-300), p), 0.0)
    many = tokens * p > 0.5 * MAX_TILE_TERMS * tile
    result: npt.NDArray[np.float64] = np.where(many, tokens * p + 0.5 * (tile - 1), rows * tile)
    return result
