"""Sparse attention, caches and activations: counts of pairs, positions and columns.

All lengths may be numbers or numpy arrays that broadcast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = float | npt.NDArray[np.float64]


def window_pairs(new: Numbers, cached: Numbers, width: Numbers) -> Numbers:
    """Pairs of a causal step whose queries see at most ``width`` positions each.

    P = sum over i = 1..new of min(cached + i, width)
      = a*cached + a(a+1)/2 + (new - a)*width,  a = clip(width - cached, 0, new).
    """
    a = np.clip(np.asarray(width) - cached, 0, new)
    return a * cached + a * (a + 1) / 2 + (new - a) * width


@dataclass(frozen=True, slots=True)
class AttentionPattern:
    """A fixed mask: each query sees ``window`` neighbours, ``global_tokens`` first and ``random`` positions.

    BigBird (arXiv:2007.14062) counts in blocks: bidirectional pairs = (g+w+r)*b*S + g*b*S. StreamingLLM
    (arXiv:2309.17453) is a window with a few global (sink) tokens. Causal attention caps the positions
    that exist; the overlap of the three sets is not subtracted (an upper count).
    """

    window: int
    global_tokens: int = 0
    random: int = 0

    @property
    def name(self) -> str:
        """``attn-w1024-g4-r0``."""
        return f"attn-w{self.window}-g{self.global_tokens}-r{self.random}"

    @property
    def hardware_need(self) -> str:
        """A kernel that skips whole tiles."""
        return "an attention kernel that skips masked tiles"

    @property
    def positions(self) -> int:
        """Positions that one query sees at most."""
        return self.window + self.global_tokens + self.random

    def pairs(self, new: Numbers, cached: Numbers) -> Numbers:
        """Query-key pairs of a causal step of ``new`` tokens after ``cached``."""
        return window_pairs(new, cached, self.positions)

    def bidirectional_pairs(self, length: Numbers) -> Numbers:
        """Pairs of a bidirectional pass: every query's positions, and global queries that see all."""
        full = np.asarray(length, dtype=float) * length
        return np.minimum(length * (self.positions + self.global_tokens), full)

    def kv_positions(self, context: Numbers) -> Numbers:
        """Cached positions that one new token reads: min(context, window + global + random)."""
        return np.minimum(context, self.positions)

    def kv_kept(self, context: Numbers) -> Numbers:
        """Positions that must stay in the cache: all of them if random ones may be asked for."""
        kept = np.minimum(context, self.window + self.global_tokens)
        return np.asarray(context, dtype=float) if self.random else kept


@dataclass(frozen=True, slots=True)
class KeepRatio:
    """Only a share of the cached tokens is kept (H2O heavy hitters, arXiv:2306.14048).

    Pairs, KV traffic and KV capacity shrink to ``keep``; scoring adds one vector op per pair (the running
    sum of the attention probabilities).
    """

    keep: float

    @property
    def name(self) -> str:
        """``kvkeep20``: 20 % of the cached tokens stay."""
        return f"kvkeep{100 * self.keep:g}"

    @property
    def hardware_need(self) -> str:
        """A cache that evicts."""
        return "a cache manager that evicts tokens; probabilities must leave the attention kernel"

    def kv_positions(self, context: Numbers) -> Numbers:
        """Cached positions that are left, rounded up."""
        return np.ceil(np.asarray(context) * self.keep - 1e-9)

    kv_kept = kv_positions

    def pairs(self, new: Numbers, cached: Numbers) -> Numbers:
        """Pairs of a step: the kept part of the cache, and all pairs among the new tokens."""
        return new * self.kv_positions(cached) + new * (np.asarray(new) + 1.0) / 2.0

    def scoring_vector_flops(self, heads: Numbers, pairs: Numbers) -> Numbers:
        """One add per head and pair."""
        return heads * pairs


@dataclass(frozen=True, slots=True)
class PagedSelection:
    """Quest (arXiv:2406.10774): read min and max of each page's keys, then only the best pages.

    Metadata 2 * ceil(S / page) * K * d values per step; the cache itself stays whole.
    """

    page: int
    pages_read: int

    @property
    def name(self) -> str:
        """``quest-p16-n128``."""
        return f"quest-p{self.page}-n{self.pages_read}"

    @property
    def hardware_need(self) -> str:
        """A paged cache."""
        return "a paged KV cache with page summaries"

    def kv_positions(self, context: Numbers) -> Numbers:
        """Positions read: the chosen pages, at most the context."""
        return np.minimum(context, self.page * self.pages_read)

    def kv_kept(self, context: Numbers) -> Numbers:
        """Everything stays cached."""
        return context

    def pairs(self, new: Numbers, cached: Numbers) -> Numbers:
        """Pairs of a causal step."""
        return window_pairs(new, cached, self.page * self.pages_read)

    def summary_values(self, context: Numbers, kv_width: Numbers) -> Numbers:
        """Values of page summaries read per step: 2 * ceil(context / page) * kv_width."""
        return 2 * np.ceil(np.asarray(context) / self.page) * kv_width


@dataclass(frozen=True, slots=True)
class AttentionNM:
    """N of M attention probabilities kept, pruned on the fly (DFSS, arXiv:2203.00091).

    QK^T is dense; PV runs at N/M on a sparse tensor unit; an unfused score matrix stores N/M of the
    values and an index of ceil(log2 M) bits each.
    """

    keep: int
    of: int

    @property
    def name(self) -> str:
        """``attn-2:4``."""
        return f"attn-{self.keep}:{self.of}"

    @property
    def hardware_need(self) -> str:
        """Sparse tensor cores."""
        return "sparse tensor cores for the value product"

    def value_flops_factor(self, math_type: str, sparse_types: frozenset[str]) -> float:
        """Executed share of the probabilities-times-values product."""
        ratio_known = (self.keep, self.of) in ((1, 2), (2, 4))
        return self.keep / self.of if ratio_known and math_type in sparse_types else 1.0

    def score_bits(self, element_bits: float) -> float:
        """Stored bits per original score of an unfused score matrix: N/M * (bits + index)."""
        return self.keep / self.of * (element_bits + (self.of - 1).bit_length())


@dataclass(frozen=True, slots=True)
class ActivationSparsity:
    """A share ``sparsity`` of a linear layer's inputs is zero (ReLU, TEAL arXiv:2408.14690).

    The weight columns of zero inputs are not read. Tokens of a batch have different zeros, so the columns
    needed are the union: share = 1 - sparsity^T. Pays in decode only.
    """

    sparsity: float

    @property
    def name(self) -> str:
        """``actsparse50``."""
        return f"actsparse{100 * self.sparsity:g}"

    @property
    def hardware_need(self) -> str:
        """A gather kernel."""
        return "a matrix-vector kernel that gathers weight columns"

    def column_share(self, tokens: Numbers) -> Numbers:
        """Expected share of the weight columns that ``tokens`` tokens need: 1 - s^T.

        It multiplies the weight bytes and the executed FLOPs alike.
        """
        return 1.0 - np.power(self.sparsity, tokens)
