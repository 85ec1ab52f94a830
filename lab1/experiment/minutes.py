"""How long a cell will take, said before it starts."""

import time
from collections.abc import Callable, Iterable

from torch import nn

from lab1 import training
from lab1.data import Dataset


def expect(what: str, step: Callable[[], object], times: float) -> None:
    """Print how many minutes it takes to do `step` so many times. It is done twice, and timed the second time."""
    step()  # the first time sets things up
    start = time.perf_counter()
    step()
    _say(what, times * (time.perf_counter() - start) / 60)


def expect_training(
    what: str, networks: Iterable[nn.Module], data: Dataset, *, num_epochs: int, batch_size: int, runs: int = 1
) -> None:
    """Print how many minutes it takes to train these networks, each so many times, from one timed step of each."""
    steps = {"num_epochs": num_epochs, "batch_size": batch_size, "runs": runs}
    _say(what, sum(training.expected_minutes(network, data.train, data.val, **steps) for network in networks))


def _say(what: str, minutes: float) -> None:
    print(f"expect {minutes:.1f} minutes for {what}" if minutes < 10 else f"expect {minutes:.0f} minutes for {what}")
