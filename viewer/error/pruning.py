"""Pruning schemes by name: what they do to a tensor, and the SQNR to expect without one.

Names (as the sparsity registry spells them; P is a percentage of zeros):
``N:M``, ``N:M-pair``, ``sparseP-csr`` (coo, bitmap, tiled-csl, with or without ``-vector``),
``sparseP-blockB``, ``rankR``, ``headsP`` / ``ffnP`` / ``channelsP`` / ``expertsP``, ``actsparseP``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from viewer.error import prune
from viewer.error.analytic import n_of_m_sqnr_db, unstructured_sqnr_db
from viewer.error.distributions import Distribution
from viewer.error.layout import Array
from viewer.error.metrics import sqnr_db, to_db
from viewer.errors import InputError

_PERCENT = r"(\d{1,2}(?:\.\d{1,4})?)"
_NAMES = (
    ("n:m", re.compile(r"(\d{1,2}):(\d{1,2})(-pair)?")),
    ("unstructured", re.compile(rf"sparse{_PERCENT}-(?:csr|coo|bitmap|tiled-csl)(?:-vector)?")),
    ("unstructured", re.compile(rf"(?:actsparse|unstructured){_PERCENT}")),
    ("block", re.compile(rf"sparse{_PERCENT}-block(\d{{1,4}})")),
    ("rank", re.compile(r"rank(\d{1,6})")),
    ("rows", re.compile(rf"(?:heads|ffn|channels|experts){_PERCENT}")),
)
_UNMODELLED = re.compile(r"(layers|tokens|attn-|kvkeep|quest-).*")


@dataclass(frozen=True, slots=True)
class Pruning:
    """One scheme: ``kind`` and its numbers (N, M), (share, tile size), (rank, 0) or (share, 0)."""

    name: str
    kind: str
    first: float
    second: float = 0.0
    unit: int = 1

    @property
    def row_multiple(self) -> int:
        """Rows that must be seen together."""
        return int(self.second) if self.kind == "block" else 1

    @property
    def whole(self) -> bool:
        """True when only the whole tensor will do."""
        return self.kind in ("rank", "rows")

    def apply(self, x: Array) -> Array:
        """The pruned (rows, cols) tensor: smallest magnitudes (or energies) go, nothing is retrained."""
        if self.kind == "n:m":
            return prune.prune_n_of_m(x, int(self.first), int(self.second), unit=self.unit)
        if self.kind == "unstructured":
            return prune.prune_unstructured(x, self.first)
        if self.kind == "block":
            return prune.prune_blocks(x, self.first, int(self.second))
        if self.kind == "rows":
            return prune.prune_rows(x, self.first)
        return prune.low_rank(x, min(int(self.first), *x.shape))

    def assumed_sqnr_db(self, dist: Distribution, numel: float) -> float:
        """SQNR in dB on independent values: quadrature for N:M and unstructured, -10 log10(share) for tiles
        and channels (their energies differ little), Marchenko-Pastur for the rank of a square matrix of
        ``numel`` values, a seeded sample for pairs."""
        if self.kind == "n:m" and self.first == self.second:
            return math.inf
        if self.kind == "n:m" and self.unit > 1:
            x = dist.sample(np.random.default_rng(0), 64, 4096)
            return sqnr_db(x, self.apply(x))
        if self.kind == "n:m":
            return n_of_m_sqnr_db(dist, int(self.first), int(self.second))
        if self.kind == "rank":
            side = max(1, round(math.sqrt(numel)))
            return prune.low_rank_iid_sqnr_db(side, side, min(int(self.first), side))
        if self.first == 0:
            return math.inf
        return unstructured_sqnr_db(dist, self.first) if self.kind == "unstructured" else -to_db(self.first)


@lru_cache(maxsize=1024)
def parse(name: str) -> Pruning | None:
    """The scheme called ``name``, None when the name is not of a pruning scheme.

    Raises:
        InputError: impossible numbers, or a scheme that drops tokens, layers or scores, whose error
            is not a property of one tensor.
    """
    if _UNMODELLED.fullmatch(name):
        raise InputError(
            f"{name!r} removes tokens, layers or scores: its error cannot be told from one tensor"
        )
    for kind, pattern in _NAMES:
        if match := pattern.fullmatch(name):
            return _build(name, kind, [group for group in match.groups() if group])
    return None


def _build(name: str, kind: str, numbers: list[str]) -> Pruning:
    if kind == "n:m":
        keep, out_of, unit = int(numbers[0]), int(numbers[1]), 2 if len(numbers) == 3 else 1
        if not 0 < keep <= out_of or keep % unit or out_of % unit:
            raise InputError(f"{name!r}: N of M keeps 1 .. M values, in whole units of {unit}")
        return Pruning(name, kind, keep, out_of, unit)
    if kind == "rank":
        if int(numbers[0]) < 1:
            raise InputError(f"{name!r}: a rank is at least 1")
        return Pruning(name, kind, int(numbers[0]))
    size = int(numbers[1]) if kind == "block" else 0
    if kind == "block" and size < 1:
        raise InputError(f"{name!r}: a block has at least one row")
    return Pruning(name, kind, float(numbers[0]) / 100, size)
