"""A step as one device sees it: its replica's requests, in micro-batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from viewer.workload import Number, Segment, Step


def split_step(step: Step, replicas: int, passes: int = 1) -> Step:
    """The requests of the largest replica and micro-batch: ceil(ceil(count / replicas) / passes) of each segment.

    Rows that are sampled and images shrink with the requests. replicas = passes = 1 gives the step itself.
    """
    if replicas == 1 and passes == 1:
        return step

    def local(count: Number) -> Number:
        # the slack keeps a whole quotient whole when counts come from float arithmetic
        return np.ceil(np.ceil(count / replicas - 1e-9) / passes - 1e-9)

    segments = tuple(replace(seg, count=local(seg.count)) for seg in step.segments)
    source = tuple(replace(seg, count=local(seg.count)) for seg in step.source)
    share = _requests(segments) / step.requests
    return Step(segments, step.sampled_rows * share, source, step.images * share)


def _requests(segments: tuple[Segment, ...]) -> Number:
    total: Number = 0.0
    for seg in segments:
        total = total + seg.count
    return total
