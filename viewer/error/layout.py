"""How values share a scale: views of a (rows, cols) tensor as blocks, and the statistics of a whole
tensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from viewer.errors import InputError

Array = npt.NDArray[Any]

GRANULARITIES = ("tensor", "channel", "group", "block")


@dataclass(frozen=True, slots=True)
class TensorStats:
    """Range of a whole tensor, needed when it is quantized in blocks of rows: smallest and largest value."""

    low: float
    high: float

    @property
    def amax(self) -> float:
        """max |x|."""
        return max(-self.low, self.high, 0.0)

    def merge(self, other: TensorStats) -> TensorStats:
        """The range of both together."""
        return TensorStats(min(self.low, other.low), max(self.high, other.high))


def stats_of(x: Array) -> TensorStats:
    """Smallest and largest value of ``x``; (0, 0) for an empty one."""
    return TensorStats(float(x.min()), float(x.max())) if x.size else TensorStats(0.0, 0.0)


def as_matrix(x: Array) -> Array:
    """``x`` as floating-point (rows, last axis); a scalar or a vector becomes one row."""
    values = np.asarray(x)
    if values.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        values = values.astype(np.float32)
    return values.reshape(1, -1) if values.ndim < 2 else values.reshape(-1, values.shape[-1])


def by_group(x: Array, size: int, quantize: Callable[[Array], Array]) -> Array:
    """Applies ``quantize`` to (n, size) blocks of consecutive values of each row and puts the result back.

    A row that ``size`` does not divide ends in a shorter block, which ``quantize`` sees as (rows, rest).
    """
    if size < 1:
        raise InputError(f"the group size must be at least 1, got {size}")
    rows, cols = x.shape
    whole = cols - cols % size
    head = quantize(x[:, :whole].reshape(-1, size)).reshape(rows, whole) if whole else x[:, :0]
    return head if whole == cols else np.concatenate([head, quantize(x[:, whole:])], axis=1)


def by_block(x: Array, height: int, width: int, quantize: Callable[[Array], Array]) -> Array:
    """Applies ``quantize`` to (n, height * width) flattened 2-D tiles (zero-padded at the edges)."""
    rows, cols = x.shape
    down, across = -rows % height, -cols % width
    padded = np.pad(x, ((0, down), (0, across))) if down or across else x
    r, c = padded.shape[0] // height, padded.shape[1] // width
    tiles = padded.reshape(r, height, c, width).transpose(0, 2, 1, 3).reshape(r * c, height * width)
    back = quantize(tiles).reshape(r, c, height, width).transpose(0, 2, 1, 3).reshape(padded.shape)
    return np.asarray(back[:rows, :cols])


def nonzero(scale: Array) -> Array:
    """``scale`` with zeros (blocks that hold only zeros) replaced by 1, so that x / scale stays 0."""
    return np.where(scale > 0, scale, np.ones((), scale.dtype))


def row_amax(x: Array) -> Array:
    """max |x| of each row, as (rows, 1), without a full-size temporary."""
    return np.asarray(np.maximum(x.max(axis=1, keepdims=True), -x.min(axis=1, keepdims=True)))
