"""Figures of Exercise 2.2: the fully convolutional network, its label maps, and the digits it finds."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib import colors
from matplotlib.figure import Figure

from lab1.analysis.detection import correct
from lab1.data.canvases import BACKGROUND, Boxes
from lab1.models.fcn import ResNet18FCN
from lab1.plots.style import BLUE, GREY, LABEL_COLOURS, ORANGE, PURPLE, VERMILION, bare, sign, styled

_LABELS = {"cmap": LABEL_COLOURS, "vmin": 0, "vmax": BACKGROUND}
PIXEL_KINDS = {  # what comparing two label maps says of a pixel
    "background, right": "#F2F2F2",
    "digit, right": BLUE,
    "wrong digit": VERMILION,
    "digit missed": ORANGE,
    "digit invented": PURPLE,
}


@styled
def fcn_architecture(model: ResNet18FCN, image: torch.Tensor, source: str) -> Figure:
    """The network drawn to scale from its own maps for one image (1, C, H, W), with that image and its label map.

    A stack is as tall as its maps and, on a logarithmic scale, as deep as it has channels.

    Raises:
        TypeError: the image holds no floating point numbers.
    """
    if not image.is_floating_point():
        raise TypeError(f"the image is {image.dtype}: take one as ImageSet.batch gives it, (1, C, H, W), normalised")
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
    coarser = before = None  # the score maps below it, from right to left: where the last one is, and its size
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
            text = f"upsample\n{_times(before)}\nto {_times(shapes[name][1:])}"
            _arrow(axis, (coarser - 0.1, -6.5), (left + depth + slant + 0.1, -6.5), text)
        coarser, before = left, shapes[name][1:]
    _arrow(axis, (coarser - 0.1, -6.5), (half + 0.15, -6.5), "argmax")
    axis.set(xlim=(-half - 0.3, right + 0.6), ylim=(-10, 3.2))
    return sign(figure, source)


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


@styled
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
        bare(axis)
    handles = [plt.Rectangle((0, 0), 1, 1, facecolor=c, edgecolor=GREY) for c in PIXEL_KINDS.values()]
    figure.legend(handles, PIXEL_KINDS, loc="outside lower center", ncols=len(PIXEL_KINDS), fontsize=9)
    figure.suptitle(title, fontsize=12)
    return sign(figure, source)


@styled
def detections(canvases: list[tuple[torch.Tensor, torch.Tensor, Boxes, Boxes]], source: str) -> Figure:
    """For each canvas: the image with the true boxes and the found ones, and below it the label map.

    A found box is blue if it is right, and vermilion if it is not: a wrong label, or a box that fits no digit.

    Args:
        canvases: (image (H, W), predicted label map (H, W), found boxes, true boxes), one canvas each.
    """
    widths = [image.shape[1] / image.shape[0] for image, *_ in canvases]
    figure, axes = plt.subplots(2, len(canvases), figsize=(11, 6.6), squeeze=False, width_ratios=widths)
    for (top, bottom), (image, predicted, found, true) in zip(axes.T, canvases, strict=True):
        top.imshow(image.numpy(), cmap="gray")
        bottom.imshow(predicted.numpy(), interpolation="nearest", **_LABELS)
        for box in true.boxes.tolist():
            _box(top, box, color="white", lw=1, ls="--")
        right = correct(found, true).tolist()
        for box, label, is_right in zip(found.boxes.tolist(), found.labels.tolist(), right, strict=True):
            colour = BLUE if is_right else VERMILION
            _box(top, box, color=colour, lw=2)
            va = "bottom" if box[1] > 0.1 * len(image) else "top"  # within the image
            style = {"fontsize": 8, "color": "white", "ha": "left", "va": va, "clip_on": True}
            top.text(box[0] - 0.5, box[1] - 0.5, str(label), bbox={"color": colour, "pad": 1}, **style)
        counts = f"{len(true.labels)} digits, {sum(right)} right, {len(right) - sum(right)} wrong"
        top.set_title(f"{_times(image.shape)}: {counts}", fontsize=11)
        bare(top)
        bare(bottom)
    handles = [
        plt.Rectangle((0, 0), 1, 1, fill=False, ec=BLUE, lw=2, label="found, right"),
        plt.Rectangle((0, 0), 1, 1, fill=False, ec=VERMILION, lw=2, label="found, wrong"),
        plt.Rectangle((0, 0), 1, 1, fill=False, ec=GREY, ls="--", label="true digit (white)"),
        *(plt.Rectangle((0, 0), 1, 1, fc=LABEL_COLOURS(label), label=str(label)) for label in range(10)),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=13, fontsize=9, handlelength=1, columnspacing=1)
    return sign(figure, source)


def _box(axis, box, **style) -> None:
    left, top, right, bottom = box  # the edges of pixels lie at halves
    axis.add_patch(plt.Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, **style))
