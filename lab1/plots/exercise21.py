"""Figures of Exercise 2.1: the gradients of every layer, at initialisation and during training."""

import re

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colors
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from lab1.analysis.gradients import epoch_rows, is_shortcut
from lab1.data import ImageSet
from lab1.plots.exercise1 import Histories
from lab1.plots.style import COLOURS, GREY, denormalise, legend_above, log_scale, sign, styled


@styled
def examples(data: ImageSet, classes: tuple[str, ...], source: str) -> Figure:
    """The first image of every class as the network gets it, and below it two more draws of its augmentation."""
    labels = data.labels.tolist()
    first = [labels.index(c) for c in range(len(classes)) if c in labels]
    figure, axes = plt.subplots(3, len(first), figsize=(11, 3.8), squeeze=False)
    for row in axes:
        images = denormalise(data.batch(first)[0], data.mean, data.std)
        for axis, image in zip(row, images, strict=True):
            axis.imshow(image.squeeze(), cmap="gray")
            axis.set_axis_off()
    for axis, i in zip(axes[0], first, strict=True):
        axis.set_title(classes[labels[i]], fontsize=9)
    return sign(figure, source)


def depths(layers: list[str]) -> np.ndarray:
    """Where each layer stands: 1 for the first, 2 for the second, ...; a shortcut's projection half a step back."""
    depth, places = 0, []
    for name in layers:
        depth += not is_shortcut(name)
        places.append(depth - 0.5 if is_shortcut(name) else depth)
    return np.array(places)


@styled
def initial_gradients(norms: dict, source: str) -> Figure:
    """Gradient norm per layer at initialisation: one panel for each kind of network, one line for each depth.

    The line is the geometric mean over the seeds. Bars beside the panel's ends show the range of the seeds in the first
    and in the last layer, in the order of the depths.

    Args:
        norms: (title of the panel, depth of the network) -> array (seeds, layers), projections left out.
    """
    titles = list(dict.fromkeys(title for title, _ in norms))
    all_depths = sorted({depth for _, depth in norms})
    colours = dict(zip(all_depths, plt.cm.viridis(np.linspace(0, 0.9, len(all_depths))), strict=True))
    num_rows = -(-len(titles) // 2)
    figure, axes = plt.subplots(num_rows, 2, figsize=(11, 3.75 * num_rows), sharex=True, sharey=True, squeeze=False)
    for axis, title in zip(axes.flat, titles, strict=True):
        for i, depth in enumerate(all_depths, start=1):
            seeds = norms[title, depth]
            x, outside = np.linspace(0, 1, seeds.shape[1]), [-0.02 * i, 1 + 0.02 * i]
            axis.plot(x, np.exp(np.log(seeds).mean(axis=0)), color=colours[depth], label=f"{depth} layers")
            low, high = seeds[:, [0, -1]].min(axis=0), seeds[:, [0, -1]].max(axis=0)
            axis.vlines(outside, low, high, color=colours[depth], lw=2)
        axis.set(title=title, yscale="log")
    for axis in axes[-1]:
        axis.set_xlabel("place of the layer (0: first, 1: last)")
    for axis in axes[:, 0]:
        axis.set_ylabel("L2 norm of the gradient")
    legend_above(figure, axes[0, 0])
    return sign(figure, f"{source}; lines: geometric mean, bars: range of the seeds in the first and last layer")


def _steps(seeds: list[dict], key: str, epoch: int) -> np.ndarray:
    """The rows of one epoch, (steps of all seeds, layers)."""
    return np.concatenate([epoch_rows(history, key, epoch).numpy() for history in seeds])


def gradient_limits(histories: Histories, epochs: list[int]) -> tuple[float, float]:
    """Limits of a logarithmic axis that shows the gradient norms of all these networks and epochs."""
    norms = np.concatenate([_steps(seeds, "grad_norm", e).ravel() for seeds in histories.values() for e in epochs])
    return 0.8 * np.nanmin(norms), 1.25 * np.nanmax(norms)


@styled
def gradient_norms(histories: Histories, epochs: list[int], limits: tuple[float, float], source: str) -> Figure:
    """Gradient norm per layer: one row of panels for each network, one column for each epoch, on one scale.

    The line is the median over the epoch's steps of all seeds, the band holds nine tenths of them. Projections are
    diamonds.
    """
    shape = (len(histories), len(epochs))
    size = (11, 3.6 * shape[0]) if shape[1] > 1 else (8, 4.2)
    figure, axes = plt.subplots(*shape, figsize=size, sharex=True, sharey=True, squeeze=False)
    for row, (name, seeds) in zip(axes, histories.items(), strict=True):
        for axis, epoch in zip(row, epochs, strict=True):
            _gradient_line(axis, _steps(seeds, "grad_norm", epoch), seeds[0]["layers"], name)
            log_scale(axis)
            axis.set(title=f"{name}, epoch {epoch}", ylim=limits, ylabel="L2 norm of the gradient")
            axis.label_outer()
    last_row = list(histories.values())[-1]
    for axis in axes[-1]:
        _name_layers(axis, last_row[0]["layers"])
    figure.legend(handles=_marks(), loc="outside upper center", ncols=3, fontsize=9)
    return sign(figure, source)


@styled
def gradient_comparison(histories: Histories, epochs: list[int], source: str) -> Figure:
    """Both networks in one panel: gradient norm (top), and gradient norm times weight norm (bottom), per layer."""
    figure, axes = plt.subplots(2, len(epochs), figsize=(11, 7), sharex=True, sharey="row", squeeze=False)
    layers = list(histories.values())[-1][0]["layers"]
    for column, epoch in zip(axes.T, epochs, strict=True):
        for name, seeds in histories.items():
            gradient, weight = (_steps(seeds, key, epoch) for key in ("grad_norm", "weight_norm"))
            _gradient_line(column[0], gradient, seeds[0]["layers"], name)
            _gradient_line(column[1], gradient * weight, seeds[0]["layers"], name)
        column[0].set(title=f"epoch {epoch}")
        for axis in column:
            log_scale(axis)
        _name_layers(column[1], layers)
    axes[0, 0].set_ylabel("gradient norm")
    axes[1, 0].set_ylabel("gradient norm x weight norm")
    networks = [plt.Line2D([], [], color=COLOURS[name], label=name) for name in histories]
    figure.legend(handles=[*networks, *_marks()], loc="outside upper center", ncols=5, fontsize=9)
    return sign(figure, source)


def _marks() -> list:
    """What the marks of `_gradient_line` mean, for a legend."""
    return [
        plt.Line2D([], [], ls="", marker="o", ms=4, color=GREY, label="layer: median of the steps"),
        plt.Line2D([], [], ls="", marker="D", ms=6, mfc="white", mec=GREY, label="projection"),
        plt.Rectangle((0, 0), 1, 1, color=GREY, alpha=0.2, lw=0, label="nine tenths of the steps"),
    ]


def _gradient_line(axis, norms: np.ndarray, layers: list[str], name: str) -> None:
    x, shortcut, colour = depths(layers), np.array([is_shortcut(layer) for layer in layers]), COLOURS[name]
    low, middle, high = np.quantile(norms, (0.05, 0.5, 0.95), axis=0)
    axis.fill_between(x[~shortcut], low[~shortcut], high[~shortcut], color=colour, alpha=0.2, lw=0)
    axis.plot(x[~shortcut], middle[~shortcut], "o-", color=colour, markersize=4, label=name)
    axis.plot(x[shortcut], middle[shortcut], "D", color=colour, markersize=6, markerfacecolor="white")


def _name_layers(axis, layers: list[str]) -> None:
    main = [layer for layer in layers if not is_shortcut(layer)]
    axis.set_xticks(range(1, len(main) + 1), [short_name(layer) for layer in main], rotation=90, fontsize=8)


def short_name(layer: str) -> str:
    """A parameter's name that fits under a tick: "layer3.1.conv2.weight" becomes "3.1.conv2"."""
    return re.sub(r"^layer", "", layer).removesuffix(".weight").replace("stem.0", "stem")


@styled
def gradient_heatmap(histories: Histories, source: str) -> Figure:
    """log10 gradient norm of every layer at every step of the first seed, both networks on one colour scale."""
    first = {name: seeds[0] for name, seeds in histories.items()}
    layers, logs = {}, {}  # of each network, projections left out
    for name, history in first.items():
        main = [i for i, layer in enumerate(history["layers"]) if not is_shortcut(layer)]
        layers[name] = [short_name(history["layers"][i]) for i in main]
        logs[name] = np.log10(history["grad_norm"].numpy()[:, main]).T
    low, high = np.nanquantile(np.concatenate([values.ravel() for values in logs.values()]), (0.002, 0.998))
    colours = ScalarMappable(colors.Normalize(low, high), cmap="cividis")
    figure, axes = plt.subplots(len(logs), 1, figsize=(11, 3.6 * len(logs)), sharex=True, squeeze=False)
    for axis, (name, values) in zip(axes[:, 0], logs.items(), strict=True):
        axis.imshow(values, aspect="auto", cmap=colours.cmap, norm=colours.norm, interpolation="nearest")
        axis.set_yticks(range(len(layers[name])), layers[name], fontsize=7)
        ends = first[name]["epoch_ends"]
        axis.set_xticks([end - 0.5 for end in [0, *ends[:-1]]], range(len(ends)))
        axis.set(title=name)
        axis.grid(axis="y", visible=False)
    axes[-1, 0].set_xlabel("epoch (each begins at its tick)")
    figure.colorbar(colours, ax=axes, label="log10 of the gradient norm", pad=0.01)
    return sign(figure, source)
