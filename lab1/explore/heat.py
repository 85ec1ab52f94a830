"""Grad-CAM of any image, layer and pair of classes. Exercise 2.3."""

import torch
from matplotlib.figure import Figure
from torch import nn

from lab1.analysis.gradcam import GradCAM
from lab1.data import ImageSet
from lab1.explore import panel
from lab1.plots.style import HEAT, bare, denormalise, sign, styled

PREDICTED, RUNNER_UP = "predicted", "runner-up"


def gradcam(
    model: nn.Module,
    images: ImageSet,
    classes: tuple[str, ...],
    source: str,
    layers: tuple[str, ...] = ("layer1", "layer2", "layer3", "layer4"),
) -> None:
    """Choose an image, a layer and two classes: the image, and both heatmaps with the classes' probabilities.

    Args:
        images: as the model takes them, such as `cifar.test`.
        source: which data, for the figure's lower edge.
        layers: dotted names of modules whose output is a feature map.
    """
    device = next(model.parameters()).device
    named = {name: i for i, name in enumerate(classes)}

    def draw(image: int, layer: str, first: str, second: str) -> bytes:
        batch, labels = (t.to(device) for t in images.batch([image]))
        with torch.no_grad():
            probabilities = model.eval()(batch)[0].softmax(0)
        ranked = probabilities.argsort(descending=True).tolist()
        ranks = {PREDICTED: ranked[0], RUNNER_UP: ranked[1]}
        targets = [ranks[name] if name in ranks else named[name] for name in (first, second)]
        with GradCAM(model, layer) as cam:
            heat = cam(batch.expand(2, -1, -1, -1), targets).cpu()
        titles = [f"{classes[target]}: {probabilities[target]:.1%}" for target in targets]
        [picture] = denormalise(batch, images.mean, images.std)
        truth = f"image {image}: {classes[labels[0]]}"
        return panel.png(_figure(picture, heat, [truth, *titles], f"{layer}; {source}"))

    options = [PREDICTED, RUNNER_UP, *classes]
    controls = {
        "image": panel.number("image", 0, len(images) - 1, 0),
        "layer": panel.choice("layer", list(layers), layers[-2]),
        "first": panel.choice("class", options, PREDICTED),
        "second": panel.choice("and class", options, RUNNER_UP),
    }
    panel.show(controls, draw, "An image, and the Grad-CAM heatmaps of two classes laid over it.")


@styled
def _figure(picture, heat, titles: list[str], source: str) -> Figure:
    figure = Figure(figsize=(9, 3.6))
    axes = figure.subplots(1, 3)
    axes[0].imshow(picture, interpolation="nearest")
    for axis, each in zip(axes[1:], heat.numpy(), strict=True):
        axis.imshow(picture.mean(axis=2), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.imshow(each, cmap=HEAT, vmin=0, vmax=1, alpha=0.55, interpolation="bilinear")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=11)
        bare(axis)
    return sign(figure, source)
