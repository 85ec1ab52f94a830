"""Measured numbers: kept as JSON, those of the exercises in images/results.json beside the figures; shown as tables."""

import json
from pathlib import Path

import numpy as np

from lab1.basics.files import atomic
from lab1.experiment.profiles import output_folder


def record(part: str, values: dict) -> Path:
    """Keep the numbers of one part, such as "exercise-2.1", in images/results.json; see `update`."""
    path = output_folder("images") / "results.json"
    update(path, part, values)
    return path


def update(path: Path, part: str, values: dict) -> None:
    """Write the values under the name `part` into a JSON file; its other parts stay as they are.

    Args:
        values: numbers, strings, lists and dicts.

    Raises:
        ValueError: the file is there but is not JSON; it is left alone.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}): remove it, or restore it from git") from error
    results[part] = values
    text = json.dumps(results, indent=2, sort_keys=True) + "\n"
    with atomic(path) as file:
        file.write(text.encode())


def table(header: list[str], rows: list[list]) -> str:
    """A Markdown table; numbers get three significant digits, texts stay as they are."""

    def line(cells):
        return "| " + " | ".join(c if isinstance(c, str) else f"{c:.3g}" for c in cells) + " |"

    return "\n".join([line(header), "|" + " --- |" * len(header), *map(line, rows)])


def mean_and_spread(values: list[float], form: str) -> str:
    """The mean and the standard deviation, such as "0.952 ± 0.001" for the form ".3f"; of a single value, the value.

    Both are nan if a value is, such as the loss of a training that diverged.

    A form with a plus sign, such as "+.2f", is for the mean only.
    """
    mean = f"{np.mean(values):{form}}"
    return f"{mean} ± {np.std(values, ddof=1):{form.removeprefix('+')}}" if len(values) > 1 else mean


def mean_and_interval(values) -> tuple[float, float]:
    """The mean of an array (N,) without its nans, and half of the mean's 95% interval (1.96 standard errors).

    Both are nan where there are fewer than two values.
    """
    values = values[values == values]  # nan is the only number that differs from itself
    if len(values) < 2:
        return float("nan"), float("nan")
    return float(values.mean()), float(1.96 * values.std(ddof=1) / len(values) ** 0.5)


def counted(number: int, thing: str) -> str:
    """Such as "1 seed" and "3 seeds"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
