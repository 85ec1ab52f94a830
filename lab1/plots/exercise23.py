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
def gradcam_method(image, maps, gradient, heat, layer: str, class_name: str, source: str) -> Figure:
    """Grad-CAM drawn with the real feature maps of one image: forward to the score, backward to the layer, heatmap.

    Of all feature maps it shows the two that speak most for the class and the two that speak most against it.

    Args:
        image: (H, W, 3) in 0..1.
        maps, gradient: the layer's feature maps (C, h, w), and the gradient of the class's score with respect to them.
        heat: (H, W) in 0..1, what GradCAM gives.
        layer, class_name: where the maps come from, and the class that the score belongs to.
    """
    figure = plt.figure(figsize=(13, 6.2), layout="none")
    alpha = gradient.mean(axis=(1, 2))  # (C,)
    order = np.argsort(-alpha * maps.mean(axis=(1, 2)))
    shown = list(dict.fromkeys([*order[:2], *order[-2:]]))
    middle = 0.42  # of the column of maps
    _place(figure, 0.01, middle, 0.3, "image").imshow(image, interpolation="nearest")
    _way(figure, (0.16, middle), (0.205, middle), GREY)
    limit = np.abs(gradient[shown]).max()
    for row, k in enumerate(shown):
        y, sign_colour = middle + 0.18 * (1.5 - row), VERMILION if alpha[k] > 0 else BLUE
        _place(figure, 0.215, y, 0.155).imshow(maps[k], cmap="viridis")
        _place(figure, 0.355, y, 0.155).imshow(gradient[k], cmap="RdBu_r", vmin=-limit, vmax=limit)
        figure.text(0.295, y, rf"$A_{{{k}}}$", fontsize=11, va="center")
        text = rf"$\alpha_{{{k}}} = {1000 * alpha[k]:+.2f} \cdot 10^{{-3}}$"
        figure.text(0.44, y, text, fontsize=11, va="center", color=sign_colour)
    _write(figure, 0.3, 0.02, f"{len(shown)} of {len(alpha)} maps: for the class and against it", GREY)

    score = 0.66, 0.92  # the forward path ends there, the backward path begins there
    _write(figure, *score, f"score $y^c$\n(logit of {class_name})", "black", boxstyle="round", facecolor="#F2F2F2")
    _way(figure, (0.251, 0.78), (score[0] - 0.05, 0.95), GREY, "angle,angleA=90,angleB=180,rad=6")
    _write(figure, 0.425, 0.975, f"forward: {layer}, the rest of the network, the score", GREY)
    _way(figure, (score[0] - 0.05, 0.89), (0.391, 0.78), VERMILION, "angle,angleA=180,angleB=90,rad=6")
    _write(figure, 0.5, 0.865, r"1. backward: gradient $\partial y^c / \partial A_k$", VERMILION)
    _write(figure, 0.5, 0.795, r"2. weight $\alpha_k$: its mean", VERMILION)

    total = np.einsum("c,chw->hw", alpha, maps)
    limit = np.abs(total).max()
    _write(figure, 0.78, 0.7, "3. heatmap: weighted sum of all maps, ReLU, upsampling", "black")
    _way(figure, (0.55, middle), (0.575, middle), GREY)
    weighted = _place(figure, 0.58, middle, 0.26, r"$\Sigma_k\ \alpha_k A_k$")
    weighted.imshow(total, cmap="RdBu_r", vmin=-limit, vmax=limit)
    _way(figure, (0.708, middle), (0.725, middle), GREY)
    _place(figure, 0.73, middle, 0.26, "ReLU").imshow(total.clip(min=0), cmap=HEAT, vmin=0)
    _way(figure, (0.858, middle), (0.868, middle), GREY)
    _overlay(_place(figure, 0.872, middle, 0.26, "upsampled"), image, heat)
    _write(figure, 0.735, 0.24, "red: for the class (above 0), blue: against it (below 0)", GREY)
    figure.text(0.995, 0.02, source, fontsize=8, color=GREY, ha="right")
    return figure


def _place(figure: Figure, left: float, middle: float, side: float, title: str = ""):
    """A square panel; all in shares of the figure, `side` of its height."""
    width, height = figure.get_size_inches()
    axis = figure.add_axes((left, middle - side / 2, side * height / width, side))
    axis.set_title(title, fontsize=10)
    bare(axis)
    return axis


def _way(figure: Figure, start, end, colour: str, bend: str = "arc3") -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": 13, "color": colour, "connectionstyle": bend}
    figure.add_artist(FancyArrowPatch(start, end, transform=figure.transFigure, **style))


def _write(figure: Figure, x: float, y: float, text: str, colour: str, **box) -> None:
    figure.text(x, y, text, fontsize=10, color=colour, ha="center", va="center", bbox=box or None)


@styled
def faithfulness_curves(curves: dict[str, dict[str, np.ndarray]], source: str) -> Figure:
    """One panel for each kind of curve, one line for each kind of map: dotted for a layer's controls.

    The line is the mean over the images, the bars are its 95% intervals (1.96 standard errors), side by side.

    Args:
        curves: "deletion", "insertion" -> kind of map, such as "layer2" or "layer2, another image's" -> probabilities
            (N, S + 1).
    """
    figure, axes = plt.subplots(1, len(curves), figsize=(11, 4.6), sharey=True)
    for axis, (title, maps) in zip(axes, curves.items(), strict=True):
        for name, values, shift in zip(maps, maps.values(), _beside(len(maps), 0.04), strict=True):
            mean, error = values.mean(axis=0), 1.96 * values.std(axis=0, ddof=1) / len(values) ** 0.5
            layer, _, control = name.partition(", ")  # such as "layer2, another image's"
            line = ":" if control else "-" if layer.startswith("layer") else "--"
            share, colour = np.linspace(0, 1, len(mean)), MAP_COLOURS[layer]
            axis.plot(share, mean, line, color=colour, label=name)
            axis.vlines(share + shift, mean - error, mean + error, color=colour, lw=1)
        axis.set(title=title, xlabel="share of the pixels")
        axis.xaxis.set_major_formatter(ticker.PercentFormatter(1))
    axes[0].set_ylabel("probability of the predicted class")
    legend_above(figure, axes[0], ncols=4)
    return sign(figure, f"{source}; bars: 95% intervals")


def _beside(count: int, width: float) -> np.ndarray:
    """Where `count` marks of one place stand beside each other: shifts from -width / 2 to width / 2."""
    return width * ((np.arange(count) + 0.5) / count - 0.5)


@styled
def randomisation(
    correlations: dict[str, np.ndarray], others: dict[str, np.ndarray], replaced: list[str], source: str
) -> Figure:
    """Rank correlation with the trained network's maps while its layers are replaced by untrained ones.

    Args:
        correlations: layer of the maps -> (len(replaced), N), nan where a map is constant. Point: mean over the images;
            bar: the middle half of them.
        others: layer of the maps -> (N,), the correlation with another image's map of the trained network: what maps
            have in common that are about different things. Its mean is the dashed line.
        replaced: names of the layers, in the order in which they were replaced.
    """
    figure, axis = plt.subplots(figsize=(11, 4.6))
    for layer, shift in zip(correlations, _beside(len(correlations), 0.3), strict=True):
        values, colour = correlations[layer], MAP_COLOURS[layer]
        values = np.concatenate([np.ones_like(values[:1]), values])  # nothing is replaced yet
        places = np.arange(len(values)) + shift
        axis.vlines(places, *np.nanquantile(values, (0.25, 0.75), axis=1), color=colour, lw=2, alpha=0.6)
        axis.plot(places, np.nanmean(values, axis=1), "o", color=colour, label=f"maps of {layer}")
        axis.axhline(np.nanmean(others[layer]), color=colour, lw=1, ls="--", label="another image's map")
    axis.axhline(0, color=GREY, lw=1)
    axis.set_xticks(range(len(replaced) + 1), ["trained", *(f"... {name}" for name in replaced)])
    axis.set(xlabel="replaced by untrained layers, one after another", ylabel="rank correlation with the trained maps")
    axis.legend(ncols=3, fontsize=9)
    return sign(figure, f"{source}; point: mean, bar: middle half of the maps")
