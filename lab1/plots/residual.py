"""Figures of Exercise 2.1 that show why residual connections help: signals, lesions, shattering, the loss around."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colors, ticker
from matplotlib.figure import Figure

from lab1.plots.style import BLUE, CYCLE, GREY, VERMILION, sign, styled

DEPTH_MARKERS = ("o", "s", "^", "D", "v")


@styled
def signals(measured: dict, panels: dict[str, str], source: str) -> Figure:
    """What happens to a signal and its gradient, block by block: a row of panels for each kind of network.

    Args:
        measured: (kind of network, depth) -> quantity -> array (seeds, blocks).
        panels: the quantities to show, each with the title of its panel; "dead" and "cosine" get a linear axis from 0
            to 1, all others a logarithmic one.
    """
    kinds = list(dict.fromkeys(kind for kind, _ in measured))
    depths = sorted({depth for _, depth in measured})
    shades = dict(zip(depths, plt.cm.viridis(np.linspace(0, 0.9, len(depths))), strict=True))
    size = (1 + 2.1 * len(panels), 1.9 * len(kinds) + 0.9)
    figure, axes = plt.subplots(len(kinds), len(panels), figsize=size, sharex=True, sharey="col", squeeze=False)
    for row, kind in zip(axes, kinds, strict=True):
        for axis, quantity in zip(row, panels, strict=True):
            for depth in depths:
                seeds = np.asarray(measured[kind, depth][quantity])
                is_share = quantity in ("dead", "cosine")
                middle = seeds.mean(axis=0) if is_share else np.exp(np.log(seeds).mean(axis=0))
                axis.plot(np.linspace(0, 1, seeds.shape[1]), middle, color=shades[depth], label=f"{depth} layers")
                if is_share:
                    axis.set_ylim(-0.03, 1.03)
                else:
                    axis.set_yscale("log")
        row[0].set_ylabel(kind.replace(", ", "\n"), fontsize=10)
    for axis, title in zip(axes[0], panels.values(), strict=True):
        axis.set_title(title, fontsize=10)
    axes[-1, len(panels) // 2].set_xlabel("place of the block (0: stem, 1: last)", fontsize=10)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(depths), fontsize=9)
    return sign(figure, f"{source}; lines: mean over the seeds (geometric on logarithmic axes)")


@styled
def branch_ratios(measured: dict[str, np.ndarray], source: str) -> Figure:
    """How large the branch of each residual block is beside its shortcut, by the block's place in its stage.

    Args:
        measured: stage -> array (seeds, blocks), the ratios of its blocks.
    """
    figure, axis = plt.subplots(figsize=(9.5, 4.6))
    for (stage, seeds), colour, marker in zip(measured.items(), CYCLE, DEPTH_MARKERS, strict=False):
        place = np.arange(1, seeds.shape[1] + 1)
        axis.plot(place, seeds.mean(axis=0), marker, color=colour, mfc="none", label=stage)
    axis.plot(place, 1 / np.sqrt(place), color=GREY, lw=1, ls="--", label="1 / square root of the place")
    axis.set(xscale="log", yscale="log", xlabel="place k of the block in its stage", ylabel="branch / shortcut")
    for limits in (axis.xaxis, axis.yaxis):
        limits.set_major_formatter(ticker.FormatStrFormatter("%g"))
        limits.set_minor_formatter(ticker.NullFormatter())
    axis.set_xticks([k for k in (1, 2, 4, 8, 16) if k <= place[-1]])
    axis.set_yticks([0.25, 0.5, 1, 1.5])
    axis.legend(fontsize=9)
    return sign(figure, f"{source}; points: mean over the seeds")


@styled
def lesions(errors: dict[str, dict[str, float]], source: str) -> Figure:
    """The error of trained networks without each of their blocks in turn; one panel for each network.

    Args:
        errors: title -> what `lab1.analysis.lesions.lesion_errors` returns; titles begin with "residual" or "plain".
    """
    figure, axes = plt.subplots(1, len(errors), figsize=(11, 3.9), sharey=True, squeeze=False)
    for axis, (title, of) in zip(axes[0], errors.items(), strict=True):
        names = [name for name in of if name != "none"]
        first_of_stage = [name.endswith(".0") and not name.startswith("layer1") for name in names]
        colour = BLUE if title.startswith("residual") else VERMILION
        filled = [colour if first else "white" for first in first_of_stage]
        places = range(1, len(names) + 1)
        axis.scatter(places, [of[name] for name in names], c=filled, edgecolors=colour, s=26, zorder=3)
        axis.axhline(of["none"], color=GREY, lw=1, ls="--")
        axis.set(title=title, xlabel="removed block")
        axis.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    axes[0, 0].yaxis.set_major_formatter(ticker.PercentFormatter(1))
    axes[0, 0].set_ylabel("error")
    axes[0, 0].set_ylim(0, 1)
    handles = [
        plt.Line2D([], [], color=GREY, lw=1, ls="--", label="no block removed"),
        plt.Line2D([], [], ls="", marker="o", mec=GREY, mfc="white", label="block that keeps the shape"),
        plt.Line2D([], [], ls="", marker="o", mec=GREY, mfc=GREY, label="block that changes the shape"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=9)
    return sign(figure, source)


@styled
def shattering(correlations: dict[str, dict[int, np.ndarray]], source: str) -> Figure:
    """Correlation of input gradients against their distance on a line between two images; a panel for each kind.

    Args:
        correlations: kind of network -> depth -> array (lines and seeds, lags).
    """
    figure, axes = plt.subplots(1, len(correlations), figsize=(11, 4.2), sharey=True, squeeze=False)
    for axis, (kind, depths) in zip(axes[0], correlations.items(), strict=True):
        shades = plt.cm.viridis(np.linspace(0, 0.9, len(depths)))
        for (depth, rows), shade, marker in zip(depths.items(), shades, DEPTH_MARKERS, strict=False):
            mean = np.mean(rows, axis=0)
            axis.plot(mean, color=shade, marker=marker, mfc="none", markevery=2, ms=6, label=f"{depth} layers")
        axis.axhline(0, color=GREY, lw=1)
        axis.set(title=kind, xlabel="distance in steps of the line")
    axes[0, 0].set_ylabel("correlation of the input gradients")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(handles), fontsize=9)
    return sign(figure, f"{source}; 0: unrelated, as in white noise")


@styled
def loss_landscape(surfaces: dict[str, np.ndarray], span: float, source: str) -> Figure:
    """The loss around trained networks on one logarithmic colour scale, with contours; a panel for each network.

    Args:
        surfaces: title -> (points, points), what `lab1.analysis.landscape.loss_surface` returns.
        span: the grid runs from -span to span in both directions.
    """
    low = min(surface.min() for surface in surfaces.values())
    high = max(surface.max() for surface in surfaces.values())
    levels = np.geomspace(low, high, 14)
    figure, axes = plt.subplots(1, len(surfaces), figsize=(11, 5.2), sharex=True, sharey=True, squeeze=False)
    for axis, (title, surface) in zip(axes[0], surfaces.items(), strict=True):
        steps = np.linspace(-span, span, len(surface))
        shown = axis.contourf(steps, steps, surface.T, levels=levels, norm=colors.LogNorm(low, high), cmap="cividis")
        axis.contour(steps, steps, surface.T, levels=levels, colors="white", linewidths=0.6)
        axis.plot(0, 0, "+", color="white", ms=12, mew=2)
        axis.set(title=title, xlabel="first direction", aspect="equal")
        axis.grid(visible=False)
    axes[0, 0].set_ylabel("second direction")
    bar = figure.colorbar(shown, ax=axes, label="cross-entropy (logarithmic)", format="%.2g", shrink=0.8)
    bar.ax.yaxis.set_minor_locator(ticker.NullLocator())
    return sign(figure, f"{source}; cross: the trained network; a step of 1 is as long as its weights")
