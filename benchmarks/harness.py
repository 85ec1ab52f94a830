"""Arms of a comparison, interleaved in one process, and their paired ratios."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch


class Row(NamedTuple):
    """One line of the table: how long `arm` takes, in shares of `baseline`, measured side by side."""

    comparison: str
    arm: str
    baseline: str
    arm_seconds: float  # medians
    baseline_seconds: float
    ratio: float  # median over the repetitions of arm / baseline, and the extremes
    low: float
    high: float


def interleave(arms: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every call: all arms in turn, once to warm up and then `repeats` times."""
    times = {name: [] for name in arms}
    for repeat in range(repeats + 1):
        for name, arm in arms.items():
            start = time.perf_counter()
            arm()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if repeat:
                times[name].append(time.perf_counter() - start)
    return times


def compare(comparison: str, times: dict[str, list[float]], arm: str, baseline: str) -> Row:
    ratios = [a / b for a, b in zip(times[arm], times[baseline], strict=True)]
    medians = (statistics.median(times[name]) for name in (arm, baseline))
    return Row(comparison, arm, baseline, *medians, statistics.median(ratios), min(ratios), max(ratios))
