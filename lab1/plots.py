"""Every figure of the lab, each a function that returns a matplotlib Figure.

Colours are Okabe and Ito's, which colour-blind readers can tell apart (those of the ten digits are explained by
numbers instead); heatmaps are perceptually uniform. Every figure says at its lower edge which data it was made from.
"""

import functools
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib import colors, ticker
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from lab1.data import ImageSet
from lab1.fcn import ResNet18FCN
from lab1.files import atomic
from lab1.gradients import is_shortcut
from lab1.segmentation import BACKGROUND, Boxes
from lab1.training import epoch_rows

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
MAP_COLOURS = {
    "layer1": "#009E73",
    "layer2": ORANGE,
    "layer3": BLUE,
    "layer4": VERMILION,
    "another image's": "#56B4E9",
    "centre": PURPLE,
    "random": GREY,
}
LABEL_COLOURS = colors.ListedColormap([*plt.get_cmap("tab10").colors, "#F2F2F2"])  # ten digits and the background
_LABELS = {"cmap": LABEL_COLOURS, "vmin": 0, "vmax": BACKGROUND}
PIXEL_KINDS = {  # what comparing two label maps says of a pixel
    "background, right": "#F2F2F2",
    "digit, right": BLUE,
    "wrong digit": VERMILION,
    "digit missed": ORANGE,
    "digit invented": PURPLE,
}
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


def _styled(plot):
    """Draw in the lab's style, whatever the notebook's is."""

    @functools.wraps(plot)
    def draw(*args, **kwargs) -> Figure:
        with plt.rc_context(STYLE):
            return plot(*args, **kwargs)

    return draw


def _sign(figure: Figure, source: str) -> Figure:
    figure.get_layout_engine().set(rect=(0, 0.035, 1, 0.965))
    figure.text(0.995, 0.008, source, ha="right", va="bottom", fontsize=8, color=GREY)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as the PNG or JPEG that `path` ends in, whole or not at all."""
    path = Path(path)
    with atomic(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=140)


def denormalise(images: torch.Tensor, mean, std) -> np.ndarray:
    """(N, C, H, W) normalised -> (N, H, W, C) float in [0, 1], for imshow."""
    mean, std = (torch.tensor(t, device=images.device).view(-1, 1, 1) for t in (mean, std))
    return (images * std + mean).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()


@_styled
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
    return _sign(figure, source)


def depths(layers: list[str]) -> np.ndarray:
    """Where each layer stands: 1 for the first, 2 for the second, ...; a shortcut's projection half a step back."""
    depth, places = 0, []
    for name in layers:
        depth += not is_shortcut(name)
        places.append(depth - 0.5 if is_shortcut(name) else depth)
    return np.array(places)


@_styled
def initial_gradients(norms: dict, source: str) -> Figure:
    """Gradient norm per layer at initialisation: one panel for each kind of network, one line for each depth.

    Args:
        norms: (title of the panel, depth of the network) -> array (seeds, layers), projections left out.
    """
    titles = list(dict.fromkeys(title for title, _ in norms))
    all_depths = sorted({depth for _, depth in norms})
    colours = dict(zip(all_depths, plt.cm.viridis(np.linspace(0, 0.9, len(all_depths))), strict=True))
    num_rows = -(-len(titles) // 2)
    figure, axes = plt.subplots(num_rows, 2, figsize=(11, 3.75 * num_rows), sharex=True, sharey=True, squeeze=False)
    for axis, title in zip(axes.flat, titles, strict=True):
        for depth in all_depths:
            seeds = norms[title, depth]
            x = np.linspace(0, 1, seeds.shape[1])
            axis.plot(x, np.exp(np.log(seeds).mean(axis=0)), color=colours[depth], label=f"{depth} layers")
            axis.fill_between(x, seeds.min(axis=0), seeds.max(axis=0), color=colours[depth], alpha=0.2, lw=0)
        axis.set(title=title, yscale="log")
    for axis in axes[-1]:
        axis.set_xlabel("place of the layer (0: first, 1: last)")
    for axis in axes[:, 0]:
        axis.set_ylabel("L2 norm of the gradient")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=len(all_depths), fontsize=9)
    return _sign(figure, f"{source}; lines: geometric mean over seeds, bands: all seeds")


Histories = dict[str, list[dict]]  # the name of a network -> the histories of its trainings, one a seed


@_styled
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
    _log_scale(axes[0])
    axes[1].yaxis.set_major_formatter(ticker.PercentFormatter(1))
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=9)
    return _sign(figure, source)


def _steps(seeds: list[dict], key: str, epoch: int) -> np.ndarray:
    """The rows of one epoch, (steps of all seeds, layers)."""
    return np.concatenate([epoch_rows(history, key, epoch).numpy() for history in seeds])


def gradient_limits(histories: Histories, epochs: list[int]) -> tuple[float, float]:
    """Limits of a logarithmic axis that shows the gradient norms of all these networks and epochs."""
    norms = np.concatenate([_steps(seeds, "grad_norm", e).ravel() for seeds in histories.values() for e in epochs])
    return 0.8 * np.nanmin(norms), 1.25 * np.nanmax(norms)


@_styled
def gradient_norms(histories: Histories, epochs: list[int], limits: tuple[float, float], source: str) -> Figure:
    """Gradient norm per layer: one row of panels for each network, one column for each epoch, on one scale.

    The line is the median over the epoch's steps of all seeds, the band holds nine tenths of them; diamonds are the
    projections.
    """
    shape = (len(histories), len(epochs))
    size = (11, 3.6 * shape[0]) if shape[1] > 1 else (8, 4.2)
    figure, axes = plt.subplots(*shape, figsize=size, sharex=True, sharey=True, squeeze=False)
    for row, (name, seeds) in zip(axes, histories.items(), strict=True):
        for axis, epoch in zip(row, epochs, strict=True):
            _gradient_line(axis, _steps(seeds, "grad_norm", epoch), seeds[0]["layers"], name)
            _log_scale(axis)
            axis.set(title=f"{name}, epoch {epoch}", ylim=limits, ylabel="L2 norm of the gradient")
            axis.label_outer()
    for axis in axes[-1]:
        _name_layers(axis, seeds[0]["layers"])
    return _sign(figure, source)


@_styled
def gradient_comparison(histories: Histories, epochs: list[int], source: str) -> Figure:
    """Both networks in one panel: gradient norm (top), and gradient norm times weight norm (bottom), per layer."""
    figure, axes = plt.subplots(2, len(epochs), figsize=(11, 7), sharex=True, sharey="row")
    for column, epoch in zip(axes.T, epochs, strict=True):
        for name, seeds in histories.items():
            gradient, weight = (_steps(seeds, key, epoch) for key in ("grad_norm", "weight_norm"))
            _gradient_line(column[0], gradient, seeds[0]["layers"], name)
            _gradient_line(column[1], gradient * weight, seeds[0]["layers"], name)
        column[0].set(title=f"epoch {epoch}")
        _log_scale(column[0]), _log_scale(column[1])
        _name_layers(column[1], seeds[0]["layers"])
    axes[0, 0].set_ylabel("gradient norm")
    axes[1, 0].set_ylabel("gradient norm x weight norm")
    axes[0, 0].legend(fontsize=9)
    return _sign(figure, source)


def _gradient_line(axis, norms: np.ndarray, layers: list[str], name: str) -> None:
    x, shortcut, colour = depths(layers), np.array([is_shortcut(layer) for layer in layers]), COLOURS[name]
    low, middle, high = np.quantile(norms, (0.05, 0.5, 0.95), axis=0)
    axis.fill_between(x[~shortcut], low[~shortcut], high[~shortcut], color=colour, alpha=0.2, lw=0)
    axis.plot(x[~shortcut], middle[~shortcut], "o-", color=colour, markersize=4, label=name)
    axis.plot(x[shortcut], middle[shortcut], "D", color=colour, markersize=6, markerfacecolor="white")


def _log_scale(axis) -> None:
    """A logarithmic y-axis with plain numbers (0.6, not 6e-01); short ones are labelled between powers of ten, too."""
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(_PlainLogFormatter())
    axis.yaxis.set_minor_formatter(_PlainLogFormatter(minor_thresholds=(2, 0.5)))


class _PlainLogFormatter(ticker.LogFormatter):
    """Which ticks are labelled is LogFormatter's choice."""

    def __call__(self, value, position=None) -> str:
        return super().__call__(value, position) and f"{value:g}"


def _name_layers(axis, layers: list[str]) -> None:
    main = [layer for layer in layers if not is_shortcut(layer)]
    axis.set_xticks(range(1, len(main) + 1), [short_name(layer) for layer in main], rotation=90, fontsize=8)


def short_name(layer: str) -> str:
    """A parameter's name that fits under a tick: "layer3.1.conv2.weight" becomes "3.1.conv2"."""
    return re.sub(r"^layer", "", layer).removesuffix(".weight").replace("stem.0", "stem")


@_styled
def gradient_heatmap(histories: Histories, source: str) -> Figure:
    """log10 gradient norm of every layer at every step of the first seed, both networks on one colour scale."""
    first = {name: seeds[0] for name, seeds in histories.items()}
    main = {n: [i for i, layer in enumerate(h["layers"]) if not is_shortcut(layer)] for n, h in first.items()}
    logs = {name: np.log10(h["grad_norm"].numpy()[:, main[name]]).T for name, h in first.items()}
    low, high = np.nanquantile(np.concatenate([v.ravel() for v in logs.values()]), (0.002, 0.998))
    figure, axes = plt.subplots(len(logs), 1, figsize=(11, 3.6 * len(logs)), sharex=True, squeeze=False)
    for axis, (name, values) in zip(axes[:, 0], logs.items(), strict=True):
        ends, layers = first[name]["epoch_ends"], [first[name]["layers"][i] for i in main[name]]
        image = axis.imshow(values, aspect="auto", cmap="cividis", vmin=low, vmax=high, interpolation="nearest")
        axis.set_yticks(range(len(layers)), [short_name(layer) for layer in layers], fontsize=7)
        axis.set_xticks([end - 0.5 for end in [0, *ends[:-1]]], range(len(ends)))
        axis.set(title=name)
        axis.grid(axis="y", visible=False)
    axes[-1, 0].set_xlabel("epoch (each begins at its tick)")
    figure.colorbar(image, ax=axes, label="log10 of the gradient norm", pad=0.01)
    return _sign(figure, source)


@_styled
def fcn_architecture(model: ResNet18FCN, image: torch.Tensor, source: str) -> Figure:
    """The network drawn to scale from its own maps for one image (1, C, H, W), with that image and its label map.

    A stack is as tall as its maps and, on a logarithmic scale, as deep as it has channels.
    """
    with torch.no_grad():
        maps = {**model.eval().features(image), "logits": model(image)}
    shapes = {name: tuple(t.shape[1:]) for name, t in maps.items()}
    num_classes, height, width = shapes["logits"]
    unit = 4 / height  # of the drawing, for a pixel
    figure, axis = plt.subplots(figsize=(13, 6.5))
    axis.set_axis_off()
    axis.set_aspect("equal")
    half = unit * width / 2
    axis.imshow(image[0, 0].numpy(force=True), cmap="gray", extent=(-half, half, -2, 2))
    labels = maps["logits"][0].argmax(0).numpy(force=True)
    axis.imshow(labels, extent=(-half, half, -8.5, -4.5), interpolation="nearest", **_LABELS)
    axis.text(0, -2.3, f"image\n{_times(image.shape[1:])}", ha="center", va="top", fontsize=9)
    axis.text(0, -8.8, f"label map\n{height} x {width}", ha="center", va="top", fontsize=9)

    right, middles = half, {}  # the trunk, from left to right
    for name in list(shapes)[:-1]:
        channels, tall = shapes[name][0], unit * shapes[name][1]
        depth, x = 0.3 * np.log2(channels), right + 1.2
        _arrow(axis, (right + 0.1, 0), (x - 0.1, 0))
        right = _stack(axis, (x, 0), depth, tall, "#BFD9EA", f"{name}\n{_times(shapes[name])}")
        middles[name] = x + depth / 2
    coarser = None  # the score maps below it, from right to left
    for name in reversed([name for name in middles if name != "stem"]):
        channels, tall, depth = shapes[name][0], unit * shapes[name][1], 0.3 * np.log2(num_classes)
        left, slant = middles[name] - depth / 2, 0.15 * tall
        if name in model.scores:
            below = -tall / 2 - 1.15
            text = f"1x1 conv\n{channels} to {num_classes}"
            _arrow(axis, (middles[name], below), (middles[name], -6.5 + tall / 2 + slant + 0.1), text)
        what = "scores" if coarser is None else "sum" if name in model.scores else "upsampled"
        _stack(axis, (left, -6.5), depth, tall, "#F4D9A8", f"{what}\n{num_classes} x {_times(shapes[name][1:])}")
        if coarser is not None:
            _arrow(axis, (coarser - 0.1, -6.5), (left + depth + slant + 0.1, -6.5), "upsample\nx 2")
        coarser = left
    _arrow(axis, (coarser - 0.1, -6.5), (half + 0.15, -6.5), "argmax")
    axis.set(xlim=(-half - 0.3, right + 0.6), ylim=(-10, 3.2))
    return _sign(figure, source)


def _times(shape) -> str:
    return " x ".join(map(str, shape))


def _arrow(axis, start, end, text: str = "") -> None:
    axis.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0})
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    if start[0] == end[0]:
        axis.text(x + 0.12, y, text, fontsize=8, color=GREY, ha="left", va="center")
    else:
        axis.text(x, y + 0.15, text, fontsize=8, color=GREY, ha="center", va="bottom")


def _stack(axis, middle_left, depth: float, tall: float, colour: str, text: str) -> float:
    """Maps behind one another, seen from the side. Returns where it ends on the right."""
    x, y, slant = *middle_left, 0.15 * tall
    low, high, end = y - tall / 2, y + tall / 2, x + depth
    faces = [
        ([(x, low), (end, low), (end, high), (x, high)], 1.0),
        ([(end, low), (end + slant, low + slant), (end + slant, high + slant), (end, high)], 0.8),
        ([(x, high), (x + slant, high + slant), (end + slant, high + slant), (end, high)], 0.9),
    ]
    for points, shade in faces:
        face = tuple(shade * v for v in colors.to_rgb(colour))
        axis.add_patch(plt.Polygon(points, facecolor=face, edgecolor="#555555", lw=0.8))
    axis.text(x + depth / 2, low - 0.25, text, ha="center", va="top", fontsize=9)
    return end + slant


def pixel_kinds(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Two label maps (H, W) -> (H, W): for every pixel, its place in PIXEL_KINDS."""
    digit, claimed = target != BACKGROUND, predicted != BACKGROUND
    conditions = [digit & (predicted == target), digit & claimed, digit, claimed]
    return np.select(conditions, [1, 2, 3, 4], default=0)


@_styled
def segmentation(image: torch.Tensor, predicted: torch.Tensor, target: torch.Tensor, title: str, source: str) -> Figure:
    """Input, result, ground truth, and the comparison of the latter two, pixel by pixel; (H, W) each."""
    kinds = pixel_kinds(predicted.numpy(), target.numpy())
    figure, axes = plt.subplots(1, 4, figsize=(11, 3.7))
    axes[0].imshow(image.numpy(), cmap="gray")
    for axis, labels in zip(axes[1:3], (predicted, target), strict=True):
        axis.imshow(labels.numpy(), interpolation="nearest", **_LABELS)
        digits = [label for label in labels.unique().tolist() if label != BACKGROUND]
        handles = [plt.Rectangle((0, 0), 1, 1, color=LABEL_COLOURS(label)) for label in digits]
        axis.legend(handles, map(str, digits), fontsize=9, loc="upper left", handlelength=1, borderpad=0.2)
    kind_colours = colors.ListedColormap(list(PIXEL_KINDS.values()))
    axes[3].imshow(kinds, cmap=kind_colours, vmin=0, vmax=len(PIXEL_KINDS) - 1, interpolation="nearest")
    titles = ("input", "result", "ground truth", f"comparison: {(kinds > 1).sum()} pixels wrong")
    for axis, name in zip(axes, titles, strict=True):
        axis.set_title(name, fontsize=11)
        _bare(axis)
    handles = [plt.Rectangle((0, 0), 1, 1, facecolor=c, edgecolor=GREY) for c in PIXEL_KINDS.values()]
    figure.legend(handles, PIXEL_KINDS, loc="outside lower center", ncols=len(PIXEL_KINDS), fontsize=9)
    figure.suptitle(title, fontsize=12)
    return _sign(figure, source)


def _bare(axis) -> None:
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)
    axis.spines[:].set_visible(True)
    axis.spines[:].set_color("#BBBBBB")


@_styled
def detections(canvases: list[tuple[torch.Tensor, torch.Tensor, Boxes, Boxes]], source: str) -> Figure:
    """For each canvas: the image with the true boxes (dashed) and the found ones, and below it the label map.

    Args:
        canvases: (image (H, W), predicted label map (H, W), found boxes, true boxes), one canvas each.
    """
    widths = [image.shape[1] / image.shape[0] for image, *_ in canvases]
    figure, axes = plt.subplots(2, len(canvases), figsize=(11, 6.2), squeeze=False, width_ratios=widths)
    for (top, bottom), (image, predicted, found, true) in zip(axes.T, canvases, strict=True):
        top.imshow(image.numpy(), cmap="gray")
        bottom.imshow(predicted.numpy(), interpolation="nearest", **_LABELS)
        for box in true.boxes.tolist():
            _box(top, box, color="white", lw=1, ls="--")
        for box, label in zip(found.boxes.tolist(), found.labels.tolist(), strict=True):
            _box(top, box, color=LABEL_COLOURS(label), lw=2)
            style = {"fontsize": 8, "color": "white", "ha": "left", "va": "bottom", "clip_on": True}
            top.text(box[0] - 0.5, box[1] - 0.5, str(label), bbox={"color": LABEL_COLOURS(label), "pad": 1}, **style)
        top.set_title(f"{_times(image.shape)}: {len(found.labels)} found, {len(true.labels)} there", fontsize=11)
        _bare(top), _bare(bottom)
    return _sign(figure, source)


def _box(axis, box, **style) -> None:
    left, top, right, bottom = box  # the edges of pixels lie at halves
    axis.add_patch(plt.Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, **style))


@_styled
def confusion(counts: list[list[int]], names: list[str], source: str, of: str = "pixels") -> Figure:
    """Of the pixels (or digits, ...) of each true class (row), the percentage predicted as each class (column)."""
    counts = np.array(counts)
    percent = 100 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    figure, axis = plt.subplots(figsize=(8, 6.6))
    image = axis.imshow(percent, cmap="cividis", norm=colors.SymLogNorm(linthresh=0.1, vmin=0, vmax=100))
    for (row, column), value in np.ndenumerate(percent):
        if value >= 0.05:
            colour = "black" if value > 5 else "white"
            axis.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=8, color=colour)
    axis.set_xticks(range(len(names)), names, rotation=90)
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="predicted", ylabel="true")
    axis.grid(visible=False)
    figure.colorbar(image, ax=axis, label=f"percent of the true class's {of}", format="%g")
    return _sign(figure, source)


@_styled
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
            shown = _overlay(axis, image, heat)
            if masks is not None:
                axis.contour(masks[i], levels=[0.5], colors="white", linewidths=1)
                y, x = np.unravel_index(heat.argmax(), heat.shape)
                if heat[y, x] > 0:
                    axis.plot(x, y, "x", color="#56B4E9", markersize=7, markeredgewidth=2)
    for axis, name in zip(axes[:, 0], ("image", *rows), strict=True):
        axis.set_ylabel(name, fontsize=9)
    for axis in axes.flat:
        _bare(axis)
    figure.colorbar(shown, ax=axes[1:], label="heat, of its own maximum", pad=0.01, aspect=40)
    _sign(figure, source).draw_without_rendering()
    figure.set_layout_engine("none")  # so many panels are laid out once, not again for every file
    return figure


def _overlay(axis, image: np.ndarray, heat: np.ndarray):
    """The image in grey, and the heat over it in colour."""
    axis.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    return axis.imshow(heat, cmap=HEAT, vmin=0, vmax=1, alpha=0.55, interpolation="bilinear")


@_styled
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
        _bare(axis)
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


@_styled
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
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=len(maps), fontsize=9)
    return _sign(figure, source)


@_styled
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
    return _sign(figure, source)


Studies = dict[str, dict[int, list[float]]]  # kind of network -> depth -> one number for each seed


@_styled
def against_depth(panels: dict[str, Studies], source: str) -> Figure:
    """One panel for each quantity, one line for each kind of network: mean and range of the seeds against depth."""
    figure, axes = plt.subplots(1, len(panels), figsize=(11, 4.4), squeeze=False)
    for axis, (title, kinds) in zip(axes[0], panels.items(), strict=True):
        for kind, of in kinds.items():
            depths, values = list(of), np.array(list(of.values()))  # (depths, seeds)
            axis.plot(depths, values.mean(axis=1), "o-", color=COLOURS[kind], label=kind)
            axis.fill_between(depths, values.min(axis=1), values.max(axis=1), color=COLOURS[kind], alpha=0.2, lw=0)
        axis.set_xscale("log", base=2)
        axis.set_xticks(depths, [str(depth) for depth in depths])
        axis.xaxis.set_minor_locator(ticker.NullLocator())
        axis.set(xlabel="depth", title=title)
        if "loss" in title:
            _log_scale(axis)
        else:
            axis.yaxis.set_major_formatter(ticker.PercentFormatter(1))
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=len(kinds), fontsize=9)
    return _sign(figure, f"{source}; lines: mean, bands: all seeds")


@_styled
def pictures(images: torch.Tensor, titles: list[str], source: str) -> Figure:
    """Images (N, C, H, W) uint8, six in a row, each under its title."""
    num_rows = max(-(-len(images) // 6), 1)
    figure, axes = plt.subplots(num_rows, 6, figsize=(11, 2.3 * num_rows), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        axis.imshow(image.permute(1, 2, 0).squeeze().numpy(), cmap="gray")
        axis.set_title(title, fontsize=9)
    return _sign(figure, source)
