"""The baseline of Exercise 2.2 that needs no segmentation network: a threshold, and a classifier for each component."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab1.data.canvases import BACKGROUND

SIZE, INSIDE = 28, 20  # MNIST: a digit's longer side has 20 pixels, in the middle of 28


def label_components(model: nn.Module, images: Tensor, mean: float, std: float, threshold: float = 0.5) -> Tensor:
    """Label maps of canvases from a classifier of single digits; every connected component gets one label.

    The pixels brighter than the threshold are the foreground, so the background is always right. Pixels are connected
    along edges and corners. Each component is cut out, with the darker pixels that touch it, scaled to the size of
    MNIST's digits, and classified. Digits that touch are one component, of which at least one digit must be wrong.

    Args:
        model: (M, 1, 28, 28) normalised digits to logits (M, 10). It is called in eval mode, and left as it was.
        images: (N, 1, H, W) uint8.
        mean, std: what the classifier's digits were normalised with, on the scale 0..1.

    Returns:
        (N, H, W) int64; `lab1.analysis.detection.find_digits` makes boxes of it.
    """
    from scipy import ndimage

    everywhere = torch.ones(3, 3).numpy()  # neighbours along edges and corners
    maps = torch.full((len(images), *images.shape[2:]), BACKGROUND)
    places, digits = [], []
    for i, brightness in enumerate(images[:, 0] / 255):
        components, count = ndimage.label(brightness > threshold, structure=everywhere)
        for number in range(1, count + 1):
            own = components == number
            digits.append(_as_mnist(brightness * torch.from_numpy(ndimage.binary_dilation(own, everywhere))))
            places.append((i, torch.from_numpy(own)))
    if not digits:
        return maps
    labels = _classify(model, (torch.stack(digits)[:, None] - mean) / std)
    for (i, own), label in zip(places, labels.tolist(), strict=True):
        maps[i][own] = label
    return maps


def _as_mnist(image: Tensor) -> Tensor:
    """What is not black of an image (H, W), as large as MNIST's digits and in the middle of (28, 28)."""
    rows, columns = (image > 0).any(1).nonzero()[:, 0], (image > 0).any(0).nonzero()[:, 0]
    digit = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = ((INSIDE * side / max(digit.shape)) for side in digit.shape)
    size = max(round(height), 1), max(round(width), 1)
    digit = F.interpolate(digit[None, None], size, mode="bilinear", antialias=True)[0, 0]
    top, left = (SIZE - size[0]) // 2, (SIZE - size[1]) // 2
    return F.pad(digit, (left, SIZE - size[1] - left, top, SIZE - size[0] - top))


@torch.no_grad()
def _classify(model: nn.Module, digits: Tensor) -> Tensor:
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        return torch.cat([model(batch.to(device)).argmax(1).cpu() for batch in digits.split(256)])
    finally:
        model.train(was_training)
