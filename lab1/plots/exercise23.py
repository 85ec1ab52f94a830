"""Figures of Exercise 2.3: Grad-CAM, and whether its heatmaps can be believed."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from lab1.plots.style import BLUE, GREY, HEAT, ORANGE, PURPLE, VERMILION, bare, legend_above, sign, styled

MAP_COLOURS = {
    "layer1": "#009E73",
    "layer2": ORANGE,
    "layer3": BLUE,
    "layer4": VERMILION,
    "another image's": "#56B4E9",
    "centre": PURPLE,
    "random": GREY,
}


@styled
def heatmaps(
    images: np.ndarray, rows: dict[str, np.ndarray], titles: list[str], source: str, *, right=None, masks=None
) -> Figure:
    """Images, and below each its heatmaps, laid over it: a row of the figure for each of `rows`.

    Args:
        images: (N, H, W, 3) in 0..1.
        rows: what the row shows -> heatmaps (N, H, W) in 0..1.
        titles: N texts, to stand above the images.
        right: N booleans; the titles of right images become blue, of wrong ones vermilion.
        masks: (N, H, W) bool; the heatmaps get the outlines of these objects and a cross at the hottest pixel.
    """
    n = len(images)
    figure, axes = plt.subplots(1 + len(rows), n, figsize=(1.2 * n + 0.9, 1.3 * (1 + len(rows)) + 0.6), squeeze=False)
    for i, (axis, image, title) in enumerate(zip(axes[0], images, titles, strict=True)):
        axis.imshow(image, interpolation="nearest")
        axis.set_title(title, fontsize=8, color="black" if right is None else BLUE if right[i] else VERMILION)
    for row, maps in zip(axes[1:], rows.values(), strict=True):
        for i, (axis, image, heat) in enumerate(zip(row, images, maps, strict=True)):
            _overlay(axis, image, heat)
            if masks is not None:
                axis.contour(masks[i], levels=[0.5], colors="white", linewidths=1)
                y, x = np.unravel_index(heat.argmax(), heat.shape)
                if heat[y, x] > 0:
                    axis.plot(x, y, "x", color="#56B4E9", markersize=7, markeredgewidth=2)
    for axis, name in zip(axes[:, 0], ("image", *rows), strict=True):
        axis.set_ylabel(name, fontsize=9)
    for axis in axes.flat:
        bare(axis)
    first_overlay = axes[1, 0].images[-1]
    figure.colorbar(first_overlay, ax=axes[1:], label="heat, of its own maximum", pad=0.01, aspect=40)
    sign(figure, source).draw_without_rendering()
    figure.set_layout_engine("none")  # so many panels are laid out once, not again for every file
    return figure


def _overlay(axis, image: np.ndarray, heat: np.ndarray) -> None:
    """The image in grey, and the heat over it in colour."""
    axis.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.imshow(heat, cmap=HEAT, vmin=0, vmax=1, alpha=0.55, interpolation="bilinear")


@styled
def gradcam_method(image, maps, alpha, heat, layer: str, class_name: str, source: str, num_maps: int = 4) -> Figure:
    """Grad-CAM drawn with the real feature maps of one image.

    Args:
        image: (H, W, 3) in 0..1.
        maps, alpha: the layer's feature maps (C, h, w) and their weights (C,); those that contribute most are shown.
        heat: (H, W) in 0..1, what GradCAM gives.
        layer, class_name: where the maps come from, and the class that alpha belongs to.
    """
    width, height = 13, 5.6
    figure = plt.figure(figsize=(width, height), layout="none")
    middle = 0.45  # of all large pictures

    def place(x, y, side, title=""):
        axis = figure.add_axes((x, y - side / 2, side * height / width, side))
        axis.set_title(title, fontsize=10)
        bare(axis)
        return axis

    def write(x, y, text, size=10, **style):
        figure.text(x, y, text, fontsize=size, **({"ha": "center", "va": "center"} | style))

    def arrow(start, end):
        style = {"arrowstyle": "-|>", "mutation_scale": 14, "color": GREY, "transform": figure.transFigure}
        figure.add_artist(FancyArrowPatch((start, middle), (end, middle), **style))

    place(0.015, middle, 0.33, "image").imshow(image, interpolation="nearest")
    arrow(0.165, 0.245)
    write(0.205, middle + 0.05, f"forward\nto {layer}", color=GREY)
    for row, k in enumerate(np.argsort(-np.abs(alpha) * np.abs(maps).mean(axis=(1, 2)))[:num_maps]):
        y = 0.755 - 0.19 * row
        place(0.255, y, 0.165).imshow(maps[k], cmap="viridis")
        write(0.335, y, rf"$A_{{{k}}}$", 12, ha="left")
        write(0.385, y, rf"$\alpha_{{{k}}} = {1000 * alpha[k]:+.2f} \cdot 10^{{-3}}$", 11, ha="left")
    write(0.355, 0.06, f"... of {len(alpha)} maps of {maps.shape[1]} x {maps.shape[2]}, largest contributions first")
    arrow(0.505, 0.535)
    total = np.einsum("c,chw->hw", alpha, maps)
    limit = np.abs(total).max()
    place(0.545, middle, 0.29, r"$\Sigma_k\ \alpha_k A_k$").imshow(total, cmap="RdBu_r", vmin=-limit, vmax=limit)
    arrow(0.675, 0.7)
    place(0.71, middle, 0.29, "ReLU").imshow(total.clip(min=0), cmap=HEAT, vmin=0)
    arrow(0.84, 0.865)
    _overlay(place(0.87, middle, 0.29, "upsampled"), image, heat)
    write(0.09, 0.93, f"score $y^c$: the logit of {class_name}", 11)
    write(0.38, 0.945, r"1. gradient $\partial y^c / \partial A_k$, backward from the score", 11)
    write(0.38, 0.895, r"2. weight $\alpha_k$: its mean over the positions", 11)
    write(0.77, 0.93, "3. heatmap: weighted sum, ReLU, upsampling", 11)
    write(0.995, 0.02, source, 8, color=GREY, ha="right")
    return figure


@styled
def faithfulness_curves(curves: dict[str, dict[str, np.ndarray]], source: str) -> Figure:
    """One panel for each kind of curve, one line for each kind of map.

    The line is the mean over the images, the band its 95% interval (1.96 standard errors).

    Args:
        curves: "deletion", "insertion" -> kind of map -> probabilities (N, S + 1).
    """
    figure, axes = plt.subplots(1, len(curves), figsize=(11, 4.6), sharey=True)
    for axis, (title, maps) in zip(axes, curves.items(), strict=True):
        for name, values in maps.items():
            mean, error = values.mean(axis=0), 1.96 * values.std(axis=0, ddof=1) / len(values) ** 0.5
            share, colour, line = np.linspace(0, 1, len(mean)), MAP_COLOURS[name], "-" if "layer" in name else "--"
            axis.plot(share, mean, line, color=colour, label=name)
            axis.fill_between(share, mean - error, mean + error, color=colour, alpha=0.15, lw=0)
        axis.set(title=title, xlabel="share of the pixels")
        axis.xaxis.set_major_formatter(ticker.PercentFormatter(1))
    axes[0].set_ylabel("probability of the predicted class")
    legend_above(figure, axes[0])
    return sign(figure, source)


@styled
def randomisation(correlations: dict[str, np.ndarray], replaced: list[str], source: str) -> Figure:
    """Rank correlation with the trained network's maps while its layers are replaced by untrained ones.

    Args:
        correlations: layer of the maps -> (len(replaced), N), nan where a map is constant. Line: mean over the images;
            band: half of them.
        replaced: names of the layers, in the order in which they were replaced.
    """
    figure, axis = plt.subplots(figsize=(8, 4.6))
    for layer, values in correlations.items():
        values = np.concatenate([np.ones_like(values[:1]), values])  # nothing is replaced yet
        colour = MAP_COLOURS[layer]
        low, high = np.nanquantile(values, (0.25, 0.75), axis=1)
        axis.plot(np.nanmean(values, axis=1), "o-", color=colour, label=f"maps of {layer}")
        axis.fill_between(range(len(values)), low, high, color=colour, alpha=0.15, lw=0)
    axis.axhline(0, color=GREY, lw=1)
    axis.set_xticks(range(len(replaced) + 1), ["trained", *(f"... {name}" for name in replaced)])
    axis.set(xlabel="replaced by untrained layers, one after another", ylabel="rank correlation with the trained maps")
    axis.legend()
    return sign(figure, source)
