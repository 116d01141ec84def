"""Distributions that stand in for weights and activations: sampling and closed-form partial moments.

Every distribution has zero mean. ``partial_moments`` gives the integrals that an analytic error needs:
M_k(a, b) = integral of x^k p(x) over a .. b for k = 0, 1, 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from viewer.error.layout import Array
from viewer.errors import unknown

Moments = tuple[Array, Array, Array]


class Distribution(Protocol):
    """A symmetric, zero-mean distribution of values."""

    @property
    def name(self) -> str:
        """Name in tables and labels."""

    @property
    def variance(self) -> float:
        """E[x^2]."""

    def sample(self, rng: np.random.Generator, rows: int, cols: int) -> Array:
        """float64 (rows, cols)."""

    def density(self, x: Array) -> Array:
        """p(x)."""

    def cumulative_moments(self, x: Array) -> Moments:
        """Integrals of (1, t, t^2) p(t) from -infinity to x, elementwise; x may be +-infinity."""


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Normal with standard deviation ``sigma``."""

    sigma: float = 1.0

    @property
    def name(self) -> str:
        """ "gaussian"."""
        return "gaussian"

    @property
    def variance(self) -> float:
        """sigma^2."""
        return self.sigma**2

    def sample(self, rng: np.random.Generator, rows: int, cols: int) -> Array:
        """Independent normal values."""
        return rng.standard_normal((rows, cols)) * self.sigma

    def density(self, x: Array) -> Array:
        """exp(-x^2 / 2 sigma^2) / (sigma sqrt(2 pi))."""
        return np.asarray(np.exp(-0.5 * np.square(x / self.sigma)) / (self.sigma * np.sqrt(2 * np.pi)))

    def cumulative_moments(self, x: Array) -> Moments:
        """Phi, -sigma^2 p, sigma^2 (Phi - x p)."""
        from scipy.special import ndtr

        p = self.density(x)
        below = np.asarray(ndtr(x / self.sigma))
        x_p = np.where(np.isfinite(x), x, 0.0) * p
        return below, -self.variance * p, self.variance * (below - x_p)


@dataclass(frozen=True, slots=True)
class Laplace:
    """Double exponential exp(-|x| / b) / 2b; b = 1 / sqrt(2) has unit variance."""

    b: float = 2**-0.5

    @property
    def name(self) -> str:
        """ "laplace"."""
        return "laplace"

    @property
    def variance(self) -> float:
        """2 b^2."""
        return 2 * self.b**2

    def sample(self, rng: np.random.Generator, rows: int, cols: int) -> Array:
        """Independent Laplace values."""
        return rng.laplace(scale=self.b, size=(rows, cols))

    def density(self, x: Array) -> Array:
        """exp(-|x| / b) / 2b."""
        return np.asarray(np.exp(-np.abs(x) / self.b) / (2 * self.b))

    def cumulative_moments(self, x: Array) -> Moments:
        """Closed forms from the upper tail t >= |x|: exp(-t/b) (1/2, (t+b)/2, (t^2 + 2bt + 2b^2)/2)."""
        t = np.where(np.isfinite(x), np.abs(x), 0.0)
        tail = np.where(np.isfinite(x), np.exp(-t / self.b), 0.0) / 2
        first, second = tail * (t + self.b), tail * (t * t + 2 * self.b * t + 2 * self.b**2)
        positive = x > 0
        return np.where(positive, 1 - tail, tail), -first, np.where(positive, self.variance - second, second)


@dataclass(frozen=True, slots=True)
class StudentT:
    """Student's t with ``dof`` > 2 degrees of freedom, scaled to unit variance; kurtosis 3 + 6 / (dof -
    4)."""

    dof: float = 5.0

    @property
    def name(self) -> str:
        """ "student_t"."""
        return "student_t"

    @property
    def variance(self) -> float:
        """1."""
        return 1.0

    @property
    def _scale(self) -> float:
        return float(np.sqrt((self.dof - 2) / self.dof))

    def sample(self, rng: np.random.Generator, rows: int, cols: int) -> Array:
        """Independent values."""
        return rng.standard_t(self.dof, size=(rows, cols)) * self._scale

    def density(self, x: Array) -> Array:
        """Gamma((v+1)/2) / (Gamma(v/2) sqrt(v pi)) (1 + t^2/v)^(-(v+1)/2) / scale, t = x / scale."""
        from scipy.special import gammaln

        v, t = self.dof, x / self._scale
        log_norm = gammaln((v + 1) / 2) - gammaln(v / 2) - 0.5 * np.log(v * np.pi) - np.log(self._scale)
        return np.asarray(np.exp(log_norm - (v + 1) / 2 * np.log1p(t * t / v)))

    def cumulative_moments(self, x: Array) -> Moments:
        """t^2 p_v(t) = v (v-1)/(v-2) p'(t) - v p_v(t), where p' is t with v-2 degrees stretched by
        sqrt(v/(v-2)).

        M1 = -(v + t^2)/(v - 1) p_v(t) * scale^2 in the units of x.
        """
        from scipy.special import stdtr

        v, scale = self.dof, self._scale
        t = x / scale
        below = np.asarray(stdtr(v, t))
        finite = np.where(np.isfinite(t), t, 0.0)
        first = np.where(np.isfinite(t), -(v + finite**2) / (v - 1) * self.density(finite * scale), 0.0)
        second = v * ((v - 1) / (v - 2) * stdtr(v - 2, t * np.sqrt((v - 2) / v)) - below)
        return below, first * scale**2, second * scale**2


@dataclass(frozen=True, slots=True)
class OutlierChannels:
    """Gaussian values, except that a ``share`` of the channels (columns) is ``factor`` times as large.

    The defaults (0.1 % of the channels, 20 times) are the magnitudes reported for large language models
    by LLM.int8() (arXiv:2208.07339 section 4). Columns are fixed, so every row (token) holds outliers. The
    closed forms are those of the mixture over columns.
    """

    share: float = 0.001
    factor: float = 20.0

    @property
    def name(self) -> str:
        """ "outlier_channels"."""
        return "outlier_channels"

    @property
    def variance(self) -> float:
        """1 - share + share factor^2."""
        return 1 - self.share + self.share * self.factor**2

    def sample(self, rng: np.random.Generator, rows: int, cols: int) -> Array:
        """At least one outlier column when share > 0; columns drawn at random."""
        x = rng.standard_normal((rows, cols))
        count = max(1, round(self.share * cols)) if self.share > 0 else 0
        x[:, rng.permutation(cols)[:count]] *= self.factor
        return x

    def density(self, x: Array) -> Array:
        """The mixture's density."""
        wide = Gaussian(self.factor).density(x)
        return np.asarray((1 - self.share) * Gaussian().density(x) + self.share * wide)

    def cumulative_moments(self, x: Array) -> Moments:
        """The mixture's moments."""
        narrow, wide = Gaussian().cumulative_moments(x), Gaussian(self.factor).cumulative_moments(x)
        m0, m1, m2 = ((1 - self.share) * a + self.share * b for a, b in zip(narrow, wide, strict=True))
        return m0, m1, m2


DISTRIBUTIONS: dict[str, Distribution] = {
    d.name: d for d in (Gaussian(), Laplace(), StudentT(), OutlierChannels())
}


def distribution(name: str) -> Distribution:
    """The standard distribution called ``name`` (unit variance body); InputError for an unknown one."""
    if name not in DISTRIBUTIONS:
        raise unknown("distribution", name, DISTRIBUTIONS)
    return DISTRIBUTIONS[name]


def partial_moments(dist: Distribution, low: Array, high: Array) -> Moments:
    """(M0, M1, M2) over low .. high, elementwise."""
    below, above = (
        dist.cumulative_moments(np.asarray(low, float)),
        dist.cumulative_moments(np.asarray(high, float)),
    )
    m0, m1, m2 = (b - a for a, b in zip(below, above, strict=True))
    return m0, m1, m2
