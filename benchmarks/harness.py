"""Arms of a comparison, interleaved in one process, and their paired ratios."""

import datetime
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from lab1 import results
from lab1.device import hardware

FOLDER = Path(__file__).resolve().parent


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
    bound: str  # what keeps the arm from being faster, and how close to that it is


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


def compare(comparison: str, times: dict[str, list[float]], arm: str, baseline: str, bound: str) -> Row:
    """The row of two arms that were interleaved; `bound` says what limits the first one."""
    ratios = [a / b for a, b in zip(times[arm], times[baseline], strict=True)]
    medians = (statistics.median(times[name]) for name in (arm, baseline))
    return Row(comparison, arm, baseline, *medians, statistics.median(ratios), min(ratios), max(ratios), bound)


def record(part: str, values: dict, path: Path = FOLDER / "results.json") -> None:
    """Keep what was measured, with the hardware, in benchmarks/results.json; other parts stay as they are."""
    conditions = {"hardware": hardware(), "torch": torch.__version__, "date": str(datetime.date.today())}
    results.update(path, part, conditions | values)
