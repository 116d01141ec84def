"""Sparsity schemes by name: stored bytes, executed FLOPs and hardware need, each on its own.

Names (N is the percentage removed, except ``kvkeepN``, which says what stays):

    2:4, 1:2, 4:8-pair, any N:M          semi-structured weights
    sparseN-csr|coo|bitmap|tiled-csl     unstructured weights; ``-vector`` runs them on the vector unit
    sparseN-blockB                       B x B blocks
    rankR                                low-rank factors
    headsN ffnN channelsN layersN expertsN tokensN    structured: shapes shrink
    attn-wW-gG-rR, attn-N:M, kvkeepN, quest-pP-nN     attention and cache
    actsparseN                           zero inputs of linear layers
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from viewer.errors import InputError, unknown
from viewer.sparsity.attention import (
    ActivationSparsity,
    AttentionNM,
    AttentionPattern,
    KeepRatio,
    PagedSelection,
    window_pairs,
)
from viewer.sparsity.shapes import Structured
from viewer.sparsity.weights import (
    BlockSparse,
    Execution,
    LowRank,
    SemiStructured,
    Site,
    Unstructured,
    WeightSparsity,
)

WeightScheme = SemiStructured | Unstructured | BlockSparse | LowRank
AttentionScheme = AttentionPattern | AttentionNM | KeepRatio | PagedSelection
Scheme = WeightScheme | AttentionScheme | ActivationSparsity | Structured

WEIGHT_SCHEMES = (SemiStructured, Unstructured, BlockSparse, LowRank)
ATTENTION_SCHEMES = (AttentionPattern, AttentionNM, KeepRatio, PagedSelection)

_PERCENT = r"(\d{1,2}(?:\.\d{1,3})?|100)"


def _share(percent: str) -> float:
    return float(percent) / 100.0


def _nm(match: re.Match[str]) -> SemiStructured:
    keep, of, pair = int(match[1]), int(match[2]), bool(match[3])
    if not 1 <= keep <= of <= 64:
        raise InputError(f"sparsity {match[0]!r}: keep 1 to M of M <= 64 values")
    if pair and (keep % 2 or of % 2):
        raise InputError(f"sparsity {match[0]!r}: pairs need even numbers")
    return SemiStructured(keep, of, pair)


def _block(match: re.Match[str]) -> BlockSparse:
    if not 1 <= int(match[2]) <= 1024:
        raise InputError(f"sparsity {match[0]!r}: a block has 1 to 1024 rows")
    return BlockSparse(_share(match[1]), int(match[2]))


def _attention_nm(match: re.Match[str]) -> AttentionNM:
    if not 1 <= int(match[1]) <= int(match[2]) <= 64:
        raise InputError(f"sparsity {match[0]!r}: keep 1 to M of M <= 64 values")
    return AttentionNM(int(match[1]), int(match[2]))


def _rank(match: re.Match[str]) -> LowRank:
    if int(match[1]) < 1:
        raise InputError(f"sparsity {match[0]!r}: the rank is at least 1")
    return LowRank(int(match[1]))


def _structured(match: re.Match[str]) -> Structured:
    if _share(match[2]) >= 1.0:
        raise InputError(f"sparsity {match[0]!r}: something must be left")
    return Structured(match[1], _share(match[2]))


_PATTERNS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Scheme]], ...] = (
    (re.compile(r"(\d{1,2}):(\d{1,2})(-pair)?"), _nm),
    (
        re.compile(rf"sparse{_PERCENT}-(csr|coo|bitmap|tiled-csl)(-vector)?"),
        lambda m: Unstructured(_share(m[1]), m[2], bool(m[3])),
    ),
    (re.compile(rf"sparse{_PERCENT}-block(\d{{1,4}})"), _block),
    (re.compile(r"rank(\d{1,6})"), _rank),
    (re.compile(rf"(heads|ffn|channels|layers|experts|tokens){_PERCENT}"), _structured),
    (
        re.compile(r"attn-w(\d{1,8})(?:-g(\d{1,8}))?(?:-r(\d{1,8}))?"),
        lambda m: AttentionPattern(int(m[1]), int(m[2] or 0), int(m[3] or 0)),
    ),
    (re.compile(r"attn-(\d{1,2}):(\d{1,2})"), _attention_nm),
    (re.compile(rf"kvkeep{_PERCENT}"), lambda m: KeepRatio(_share(m[1]))),
    (re.compile(r"quest-p([1-9]\d{0,5})-n([1-9]\d{0,7})"), lambda m: PagedSelection(int(m[1]), int(m[2]))),
    (re.compile(rf"actsparse{_PERCENT}"), lambda m: ActivationSparsity(_share(m[1]))),
)

_SHOWN = (
    "2:4", "1:2", "4:8-pair", "sparse50-csr", "sparse50-coo", "sparse50-bitmap", "sparse50-tiled-csl",
    "sparse80-csr-vector", "sparse50-block32", "rank1024", "heads25", "ffn25", "channels25", "layers25",
    "experts25", "tokens50", "attn-w1024-g4-r0", "attn-w192-g128-r192", "attn-1:2", "attn-2:4", "kvkeep20",
    "quest-p16-n128", "actsparse50",
)  # fmt: skip


def available() -> list[str]:
    """Names of the listed schemes; the patterns above make any other ratio, block, rank or window."""
    return sorted(_SHOWN)


@lru_cache(maxsize=1024)
def get(name: str) -> Scheme:
    """The scheme called ``name``.

    Raises:
        InputError: the name is no scheme; the message has the nearest one.
    """
    key = name.strip().lower()
    for pattern, build in _PATTERNS:
        if match := pattern.fullmatch(key):
            return build(match)
    raise unknown("sparsity", name, available())


__all__ = [
    "ATTENTION_SCHEMES",
    "WEIGHT_SCHEMES",
    "ActivationSparsity",
    "AttentionNM",
    "AttentionPattern",
    "AttentionScheme",
    "BlockSparse",
    "Execution",
    "KeepRatio",
    "LowRank",
    "PagedSelection",
    "Scheme",
    "SemiStructured",
    "Site",
    "Structured",
    "Unstructured",
    "WeightScheme",
    "WeightSparsity",
    "available",
    "get",
    "window_pairs",
]
