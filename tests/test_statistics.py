import math

import numpy as np
import pytest

from lab1.analysis.statistics import accuracy_interval, mcnemar, mean_interval


def test_wilson():
    interval = accuracy_interval(np.array([True] * 90 + [False] * 10))
    assert interval == pytest.approx((0.9, 0.8256343, 0.9447709), abs=1e-6)  # by Wilson's formula


def test_mcnemar():
    first = np.array([True] * 9 + [False] * 1 + [True] * 5)
    second = np.array([False] * 9 + [True] * 1 + [True] * 5)
    result = mcnemar(first, second)
    assert (result.only_first, result.only_second) == (9, 1)
    assert result.p == pytest.approx(2 * (1 + 10) / 2**10)  # both tails of a fair coin, thrown ten times
    assert mcnemar(first, first).p == 1
    with pytest.raises(ValueError, match="same examples"):
        mcnemar(first, second[:3])


def test_t_interval():
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval == pytest.approx((2, 2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)), rel=1e-6)
    assert mean_interval([1.0, math.nan, 2.0, 3.0]) == pytest.approx(interval)
    assert mean_interval([5.0])[0] == 5
    assert all(math.isnan(v) for v in mean_interval([5.0])[1:])
