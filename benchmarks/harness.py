"""Arms of a comparison, interleaved in one process, and their paired ratios."""

import datetime
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from lab1.basics.device import hardware
from lab1.experiment import results

FOLDER = Path(__file__).resolve().parent


class Row(NamedTuple):
    """One line of the table: two arms, a and b, measured side by side."""

    comparison: str
    a: str
    b: str
    a_seconds: float  # medians
    b_seconds: float
    ratio: float  # median over the repetitions of a / b, and the extremes
    low: float
    high: float
    limit: str  # what keeps b from being faster, and how close to that it is


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


def ratios(times: dict[str, list[float]], a: str, b: str) -> list[float]:
    """a / b in each repetition of arms that were interleaved."""
    return [x / y for x, y in zip(times[a], times[b], strict=True)]


def compare(comparison: str, times: dict[str, list[float]], a: str, b: str, limit: str) -> Row:
    """The row of two arms that were interleaved; `limit` says what keeps b from being faster."""
    paired = ratios(times, a, b)
    seconds = (statistics.median(times[name]) for name in (a, b))
    return Row(comparison, a, b, *seconds, statistics.median(paired), min(paired), max(paired), limit)


def peak_bytes() -> int:
    """The most memory that this process (on CUDA: its tensors) has held so far."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage's peak is at least that of the process which started this one
        return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1])
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def in_a_new_process(module: str, *arguments: str) -> dict:
    """What `python -m MODULE ARGUMENTS` prints as JSON in its last line."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=FOLDER.parent)
    return json.loads(done.stdout.splitlines()[-1])


def record(part: str, values: dict, path: Path = FOLDER / "results.json") -> None:
    """Keep what was measured, with the hardware, in benchmarks/results.json; other parts stay as they are."""
    conditions = {"hardware": hardware(), "torch": torch.__version__, "date": str(datetime.date.today())}
    results.update(path, part, conditions | values)
