"""Token pruning: from some layer on, only a share of the tokens is processed and cached.

FastV (arXiv:2403.06764) drops tokens after layer 2; cascade pruning (SpAtten, arXiv:2012.09852) drops more by depth.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from viewer.workload import Number, Segment, Step

#: Layers that still see every token (FastV's K).
FULL_LAYERS = 2


def kept_step(step: Step, share: float) -> Step:
    """What later layers see of a step: ceil(share * n) of a prompt's new tokens and of the cached ones.

    A single new token (decode) always stays; sampled rows, sources and images are those of the whole step.
    """
    if share == 1.0:
        return step
    segments = tuple(
        Segment(seg.count, np.where(np.less_equal(seg.new, 1.0), seg.new, _kept(seg.new, share)),
                _kept(seg.cached, share))
        for seg in step.segments
    )  # fmt: skip
    return replace(step, segments=segments)


def _kept(rows: Number, share: float) -> Number:
    return np.ceil(np.asarray(rows) * share - 1e-9)
