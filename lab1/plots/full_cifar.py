"""Figure of Exercise 2.1: what becomes of a gradient that explodes at initialisation while the network trains."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from lab1.plots.style import BLUE, GREY, PURPLE, VERMILION, legend_above, log_scale, sign, styled

LOOKS = ((VERMILION, "-"), (VERMILION, "--"), (BLUE, "-"), (BLUE, "--"), (PURPLE, "-"))


@styled
def growth_while_training(records: dict[str, dict], source: str) -> Figure:
    """Left: by which factor the gradient grows from the last 3x3 convolution to the first; right: the training loss.

    The gradient's norm is multiplied by that of the weights, because with BatchNorm the gradient alone depends on it.

    Args:
        records: the name of a line -> what `lab1.experiment.records.read` returns.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
    for (name, record), (colour, line) in zip(records.items(), LOOKS, strict=False):
        steps, factor = smooth(*growth(record))
        left.plot(steps, factor, line, color=colour, label=name)
        right.plot(record["history"]["epoch"], record["history"]["train/loss"], line, color=colour)
    left.axhline(1, color=GREY, lw=1)
    left.set(xscale="log", yscale="log", xlabel="step", title="gradient x weight norm, first 3x3 convolution / last")
    right.set(xlabel="epoch", title="training loss")
    right.xaxis.set_major_locator(ticker.MaxNLocator(12, integer=True))
    log_scale(right)
    legend_above(figure, left)
    return sign(figure, source)


def growth(record: dict) -> tuple[np.ndarray, np.ndarray]:
    """The kept steps (S,), and the factor at each: norms of gradient times weights, first over last convolution."""
    names = record["history"]["layers"]
    convolutions = [i for i, name in enumerate(names) if name.endswith(("conv1.weight", "conv2.weight"))]
    product = record["grad_norm"] * record["weight_norm"]
    return record["steps"], product[:, convolutions[0]] / product[:, convolutions[-1]]


def smooth(steps: np.ndarray, factor: np.ndarray, num_points: int = 40) -> tuple[list[int], list[float]]:
    """Geometric means over intervals of steps that are equally long on a logarithmic axis, counted from 1."""
    edges = np.unique(np.geomspace(1, steps[-1] + 2, num_points).astype(int))
    inside = {first: (steps + 1 >= first) & (steps + 1 < end) for first, end in itertools.pairwise(edges)}
    inside = {first: kept for first, kept in inside.items() if kept.any()}
    return list(inside), [float(np.exp(np.log(factor[kept]).mean())) for kept in inside.values()]
