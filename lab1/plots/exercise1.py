"""Figures of Exercise 1: learning curves, what an MLP confuses, and what depth does."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib import colors, ticker
from matplotlib.figure import Figure

from lab1.plots.style import COLOURS, CYCLE, legend_above, log_scale, sign, styled

Histories = dict[str, list[dict]]  # the name of a network -> the histories of its trainings, one a seed
Studies = dict[str, dict[int, list[float]]]  # kind of network -> depth -> one number for each seed


@styled
def learning_curves(histories: Histories, source: str, labels=("cross-entropy", "accuracy")) -> Figure:
    """Loss and accuracy against epochs, for training (dashed) and validation (solid), one colour for each network.

    The line is the mean over the seeds, the band holds all of them. `labels`: what loss and accuracy are called.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6))
    for axis, quantity, title in zip(axes, ("loss", "accuracy"), labels, strict=True):
        for (name, seeds), other in zip(histories.items(), CYCLE, strict=False):
            colour = COLOURS.get(name, other)
            for part, line in (("train", "--"), ("val", "-")):
                label = f"{name}, {'training' if part == 'train' else 'validation'}"
                epochs, values = seeds[0]["epoch"], np.array([history[f"{part}/{quantity}"] for history in seeds])
                axis.plot(epochs, values.mean(axis=0), line, color=colour, label=label)
                axis.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, lw=0)
        axis.set(xlabel="epoch", ylabel=title)
        axis.xaxis.set_major_locator(ticker.MaxNLocator(12, integer=True))
    log_scale(axes[0])
    axes[1].yaxis.set_major_formatter(ticker.PercentFormatter(1))
    legend_above(figure, axes[0], ncols=2)
    has_bands = any(len(seeds) > 1 for seeds in histories.values())
    return sign(figure, f"{source}; line: mean, band: all seeds" if has_bands else source)


@styled
def confusion(counts: list[list[int]], names: list[str], source: str, of: str = "pixels") -> Figure:
    """Of the pixels (or digits, ...) of each true class (row), the percentage predicted as each class (column).

    Every share above 0 has a number: one below 0.05% is written with one significant digit.
    """
    counts = np.array(counts)
    percent = 100 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    figure, axis = plt.subplots(figsize=(8, 6.6))
    image = axis.imshow(percent, cmap="cividis", norm=colors.SymLogNorm(linthresh=0.1, vmin=0, vmax=100))
    for (row, column), value in np.ndenumerate(percent):
        if value > 0:
            text = f"{value:.1f}" if value >= 0.05 else f"{value:.1g}"
            colour = "black" if value > 5 else "white"
            axis.text(column, row, text, ha="center", va="center", fontsize=8 if len(text) < 5 else 7, color=colour)
    axis.set_xticks(range(len(names)), names, rotation=90)
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="predicted", ylabel="true")
    axis.grid(visible=False)
    figure.colorbar(image, ax=axis, label=f"percent of the true class's {of}", format="%g")
    return sign(figure, source)


@styled
def pictures(images: torch.Tensor, titles: list[str], source: str) -> Figure:
    """Images (N, C, H, W) uint8, six in a row, each under its title."""
    num_rows = max(-(-len(images) // 6), 1)
    figure, axes = plt.subplots(num_rows, 6, figsize=(11, 2.3 * num_rows), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        axis.imshow(image.permute(1, 2, 0).squeeze().numpy(), cmap="gray")
        axis.set_title(title, fontsize=9)
    return sign(figure, source)


@styled
def against_depth(panels: dict[str, Studies], source: str) -> Figure:
    """Every training as a point against depth: one panel for each quantity, one colour for each kind of network.

    The line goes through the median of the seeds. A mean would lie where no network is, if some fail and some do not.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(11, 4.4), squeeze=False)
    for axis, (title, kinds) in zip(axes[0], panels.items(), strict=True):
        for (kind, of), other in zip(kinds.items(), CYCLE, strict=False):
            depths, values = list(of), np.array(list(of.values()))  # (depths, seeds)
            colour = COLOURS.get(kind, other)
            axis.plot(depths, np.median(values, axis=1), color=colour, lw=1, label=kind)
            axis.plot(depths, values, "o", color=colour, ms=5, alpha=0.6)
        axis.set_xscale("log", base=2)
        axis.set_xticks(depths, [str(depth) for depth in depths])
        axis.xaxis.set_minor_locator(ticker.NullLocator())
        axis.set(xlabel="depth", title=title)
        if "loss" in title:
            log_scale(axis)
        else:
            axis.yaxis.set_major_formatter(ticker.PercentFormatter(1))
    legend_above(figure, axes[0, 0])
    return sign(figure, f"{source}; a point is a training, the line the median")
