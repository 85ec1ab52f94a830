"""Digits that are placed, moved and scaled on a canvas, and what a fully convolutional network sees. Exercise 2.2."""

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from lab1.analysis.detection import find_digits
from lab1.data import ImageSet
from lab1.data.canvases import BACKGROUND, Boxes, Canvases, place_digits
from lab1.explore import panel
from lab1.plots.exercise22 import detections

NOTHING = "none"
SHOWN = ("3", "5", "8")  # at first; a row of controls for each


def segmentation(model: nn.Module, digits: ImageSet, source: str, size: int = 96) -> None:
    """Choose three digits, where they lie and how large they are: label map and boxes follow.

    Args:
        model: (N, 1, H, W) to logits (N, 11, H, W), such as a ResNet18FCN.
        digits: grey images, of which the first of each label is used, such as `mnist.test`.
        source: which data, for the figure's lower edge.
        size: height and width of the canvas in pixels.
    """
    device = next(model.parameters()).device
    pictures = _one_of_each(digits)

    def draw(**values) -> bytes:
        placed = [tuple(values[f"{what} {i}"] for what in ("digit", "x", "y", "scale")) for i in range(len(SHOWN))]
        canvas = compose(pictures, [each for each in placed if each[0] != NOTHING], size)
        mean, std = (torch.tensor(t).view(-1, 1, 1) for t in (digits.mean, digits.std))
        with torch.no_grad():
            logits = model.eval()(((canvas.images / 255 - mean) / std).to(device))
        predicted = logits.argmax(1).cpu()
        seen = (canvas.images[0, 0], predicted[0], find_digits(predicted), canvas.digits)
        figure = detections([seen], source)
        picture = panel.png(figure)
        plt.close(figure)
        return picture

    controls = {}
    for i, label in enumerate(SHOWN):
        controls[f"digit {i}"] = panel.choice("digit", [NOTHING, *map(str, pictures)], label)
        controls[f"x {i}"] = panel.number("x", 0, size - 1, 8 + i % 2 * size // 2)
        controls[f"y {i}"] = panel.number("y", 0, size - 1, 8 + i // 2 * size // 2)
        controls[f"scale {i}"] = panel.number("scale", 0.5, 3.0, 1.0)
    panel.show(controls, draw, "Digits on a canvas with the boxes that were found, and the predicted label map.")


def compose(pictures: dict[int, Tensor], placed: list[tuple[str, int, int, float]], size: int) -> Canvases:
    """A canvas with digits: (label, left edge, upper edge, scale), moved inwards where they would reach beyond it."""
    if not placed:
        nothing = Boxes(torch.zeros(0, 4, dtype=torch.int64), *torch.zeros(2, 0, dtype=torch.int64))
        background = torch.full((1, size, size), BACKGROUND)
        return Canvases(torch.zeros(1, 1, size, size, dtype=torch.uint8), background, nothing)
    labels, left, top, scale = zip(*placed, strict=True)
    labels = torch.tensor([int(label) for label in labels])
    images = torch.stack([pictures[label] for label in labels.tolist()])
    corners = torch.tensor([top, left]).T
    return place_digits(images, labels, corners, torch.tensor(scale), (size, size))


def _one_of_each(digits: ImageSet) -> dict[int, Tensor]:
    images, labels = digits.images.cpu(), digits.labels.tolist()
    return {label: images[labels.index(label)] for label in sorted(set(labels))}
