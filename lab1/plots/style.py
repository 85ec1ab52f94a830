"""What all figures share: colours, style, the line that names the data.

Colours are Okabe and Ito's, which colour-blind readers can tell apart (those of the ten digits are explained by
numbers instead); heatmaps are perceptually uniform.
"""

import functools
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib import colors, ticker
from matplotlib.figure import Figure

from lab1.basics.files import atomic

BLUE, VERMILION, ORANGE, PURPLE, GREY = "#0072B2", "#D55E00", "#E69F00", "#CC79A7", "#666666"
COLOURS = {
    "with skip connections": BLUE,
    "without skip connections": VERMILION,
    "from the classifier": BLUE,
    "from scratch": VERMILION,
    "with residual connections": BLUE,
    "without residual connections": VERMILION,
}
CYCLE = (BLUE, "#56B4E9", VERMILION, ORANGE)  # for what has no colour of its own
HEAT = "inferno"  # the colour map of heatmaps
LABEL_COLOURS = colors.ListedColormap([*plt.get_cmap("tab10").colors, "#F2F2F2"])  # ten digits and the background
STYLE = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
}


def styled(plot):
    """Draw in the lab's style, whatever the notebook's is."""

    @functools.wraps(plot)
    def draw(*args, **kwargs) -> Figure:
        with plt.rc_context(STYLE):
            return plot(*args, **kwargs)

    return draw


def sign(figure: Figure, source: str) -> Figure:
    figure.set_layout_engine("constrained", rect=(0, 0.035, 1, 0.965))
    figure.text(0.995, 0.008, source, ha="right", va="bottom", fontsize=8, color=GREY)
    return figure


def legend_above(figure: Figure, axis, ncols: int | None = None) -> None:
    """One legend for the whole figure: that of this panel, in one row unless `ncols` says otherwise."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=ncols or len(labels), fontsize=9)


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as the PNG or JPEG that `path` ends in, whole or not at all."""
    path = Path(path)
    with atomic(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=140)


def denormalise(images: torch.Tensor, mean, std) -> np.ndarray:
    """(N, C, H, W) normalised -> (N, H, W, C) float in [0, 1], for imshow."""
    mean, std = (torch.tensor(t, device=images.device).view(-1, 1, 1) for t in (mean, std))
    return (images * std + mean).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()


def bare(axis) -> None:
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)
    axis.spines[:].set_visible(True)
    axis.spines[:].set_color("#BBBBBB")


def log_scale(axis) -> None:
    """A logarithmic y-axis with plain numbers (0.6, not 6e-01), and several of them, however short or long it is."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(_Steps125())
    axis.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axis.yaxis.set_minor_formatter(_PlainLogFormatter(minor_thresholds=(2, 0.5)))


class _Steps125(ticker.LogLocator):
    """1, 2 and 5 times every power of ten; on an axis of more than four powers of ten only 1."""

    def tick_values(self, vmin, vmax):
        self.set_params(subs=(1, 2, 5) if vmax < 1e4 * vmin else (1,))
        return super().tick_values(vmin, vmax)


class _PlainLogFormatter(ticker.LogFormatter):
    """Which ticks are labelled is LogFormatter's choice."""

    def __call__(self, value, position=None) -> str:
        return super().__call__(value, position) and f"{value:g}"
