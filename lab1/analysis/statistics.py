"""How sure a comparison is: intervals, and tests in pairs. All through SciPy."""

import math
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """An estimate and its 95% interval."""

    value: float
    low: float
    high: float


class McNemar(NamedTuple):
    """Two networks on the same examples: how many only the first, and only the second, gets right; the p-value."""

    only_first: int
    only_second: int
    p: float


def accuracy_interval(right: np.ndarray) -> Interval:
    """The share of true values among (N,) booleans, with Wilson's 95% interval."""
    from scipy.stats import binomtest

    interval = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    return Interval(float(right.mean()), float(interval.low), float(interval.high))


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """McNemar's exact test of two trained networks on the same examples.

    Of the examples that exactly one of the two gets right, how many go to each? Equally good networks make that a
    fair coin. The test speaks about these two trained networks, not about training: so it is made for each seed and
    never pooled.

    Args:
        first, second: (N,) booleans, whether each network is right.

    Raises:
        ValueError: arrays of different lengths.
    """
    from scipy.stats import binomtest

    if first.shape != second.shape:
        raise ValueError(f"the same examples are needed in both, not {first.shape} and {second.shape}")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differing = only_first + only_second
    return McNemar(only_first, only_second, float(binomtest(only_first, differing).pvalue) if differing else 1.0)


def mean_interval(values) -> Interval:
    """The mean of independent values, such as one a seed, with the 95% interval of Student's t distribution.

    The interval is (nan, nan) for fewer than two values. nan values are left out.
    """
    from scipy.stats import t

    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return Interval(float(values.mean()) if len(values) else math.nan, math.nan, math.nan)
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half))
