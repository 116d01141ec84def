"""What to report of a list of timings, and when there are enough of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

CONFIDENCE = 0.95


@cache
def median_ranks(n: int) -> tuple[int, int] | None:
    """1-based ranks (lo, hi) whose order statistics hold the median with at least 95 % confidence.

    lo = largest r with P(Binomial(n, 1/2) <= r - 1) <= 0.025; hi = n + 1 - lo. None below n = 6, where not
    even (min, max) reaches 95 %.
    """
    tail, rank = 0.0, 0
    for k in range(n // 2 + 1):
        tail += math.comb(n, k) / 2**n if n <= 1000 else math.exp(_log_half_binomial(n, k))
        if tail > (1 - CONFIDENCE) / 2:
            break
        rank = k + 1
    return (rank, n + 1 - rank) if rank >= 1 else None


def _log_half_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)


def quantile(ordered: Sequence[float], q: float) -> float:
    """Linear interpolation between the order statistics of a sorted, non-empty list (numpy's default)."""
    place = q * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@dataclass(frozen=True, slots=True)
class Summary:
    """Statistics of positive samples, in the samples' unit.

    ``std`` has n - 1 in the denominator (0 for one sample); ``rel_iqr`` = (q3 - q1) / median; ``ci95`` is the
    order-statistic interval of the median (the range below 6 samples); ``drift`` = median of the last third /
    median of the first third - 1 (0 below 3 samples).
    """

    n: int
    min: float
    q1: float
    median: float
    q3: float
    max: float
    mean: float
    std: float
    rel_iqr: float
    ci95_lo: float
    ci95_hi: float
    drift: float

    @property
    def ci_half_width(self) -> float:
        """Half the interval's width relative to the median."""
        return (self.ci95_hi - self.ci95_lo) / 2 / self.median


def summarize(samples: Sequence[float]) -> Summary:
    """Summary of a non-empty list of positive, finite samples in the order they were taken."""
    if not samples or not all(math.isfinite(x) and x > 0 for x in samples):
        raise ValueError("samples must be positive, finite and at least one")
    ordered, n = sorted(samples), len(samples)
    mean = math.fsum(samples) / n
    variance = math.fsum((x - mean) ** 2 for x in samples) / (n - 1) if n > 1 else 0.0
    median, q1, q3 = quantile(ordered, 0.5), quantile(ordered, 0.25), quantile(ordered, 0.75)
    ranks = median_ranks(n) or (1, n)
    third, drift = n // 3, 0.0
    if third:
        first, last = sorted(samples[:third]), sorted(samples[-third:])
        drift = quantile(last, 0.5) / quantile(first, 0.5) - 1
    return Summary(
        n=n,
        min=ordered[0],
        q1=q1,
        median=median,
        q3=q3,
        max=ordered[-1],
        mean=mean,
        std=math.sqrt(variance),
        rel_iqr=(q3 - q1) / median,
        ci95_lo=ordered[ranks[0] - 1],
        ci95_hi=ordered[ranks[1] - 1],
        drift=drift,
    )


@dataclass(frozen=True, slots=True)
class StopRule:
    """When a benchmark has enough samples.

    At least ``min_samples`` and ``min_seconds``; then when the 95 % interval of the median is narrower than
    +- ``half_width``, or when the noise itself has settled: the spread (std / mean) of the last
    ``noise_window`` noise estimates (std / mean of all samples so far) is below ``noise_spread``. After
    ``max_seconds`` it stops unconverged.
    """

    min_samples: int = 30
    min_seconds: float = 0.5
    half_width: float = 0.005
    noise_window: int = 10
    noise_spread: float = 0.05
    max_seconds: float = 15.0


STANDARD = StopRule()
QUICK = StopRule(min_samples=15, min_seconds=0.1, half_width=0.01, max_seconds=0.6)


@dataclass(slots=True)
class Sampling:
    """Samples so far (seconds each) and the noise estimates after each of them."""

    rule: StopRule
    seconds: list[float] = field(default_factory=list)
    noise: list[float] = field(default_factory=list)
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """One more sample (Welford's update of mean and variance)."""
        self.seconds.append(value)
        n, delta = len(self.seconds), value - self.mean
        self.mean += delta / n
        self.squares += delta * (value - self.mean)
        if n > 1:
            self.noise.append(math.sqrt(self.squares / (n - 1)) / self.mean)

    def verdict(self) -> str:
        """``more``, ``converged``, ``noise_settled`` or ``not_converged``."""
        rule, total = self.rule, math.fsum(self.seconds)
        if len(self.seconds) >= rule.min_samples and total >= rule.min_seconds:
            summary = summarize(self.seconds)
            if median_ranks(summary.n) and summary.ci_half_width < rule.half_width:
                return "converged"
            last = self.noise[-rule.noise_window :]
            mean = math.fsum(last) / len(last) if last else 0.0
            if len(last) == rule.noise_window and mean > 0 and summarize(last).std / mean < rule.noise_spread:
                return "noise_settled"
        return "not_converged" if total >= rule.max_seconds else "more"


def collect(take: Callable[[], Sequence[float]], rule: StopRule) -> Sampling:
    """Calls ``take`` (which returns the seconds of one or more batches) until the rule is satisfied."""
    sampling = Sampling(rule)
    while sampling.verdict() == "more":
        for value in take():
            sampling.add(value)
    return sampling


def combine(process_medians: Sequence[float], ci_half_width: float) -> tuple[float, float]:
    """(headline, relative uncertainty) of several fresh processes.

    The headline is the median of the processes' medians; the uncertainty is half their range or the interval
    of the median within a process, whichever is larger, relative to the headline.
    """
    ordered = sorted(process_medians)
    headline = quantile(ordered, 0.5)
    return headline, max((ordered[-1] - ordered[0]) / 2 / headline, ci_half_width)
