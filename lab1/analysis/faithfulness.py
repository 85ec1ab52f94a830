"""How faithful is a heatmap: does it show what the network used, and does it depend on what the network learned?"""

from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def deletion_curve(model: nn.Module, images: Tensor, heat: Tensor, targets: Tensor, num_steps: int = 10) -> Tensor:
    """The class's probability while pixels are replaced by the mean colour, those with the most heat first.

    The faster it falls, the more faithful the map: a small area under the curve (Petsiuk et al. 2018,
    arXiv:1806.07421). Taught in Exercise 2.3.

    Args:
        images: (N, C, H, W) normalised, so that the mean colour is 0. The model is evaluated on their device.
        heat: (N, H, W). Pixels of equal heat go in a random order, the same in every call.
        targets: (N,), the class of each image whose probability is followed.

    Returns:
        (N, num_steps + 1) probabilities in 0..1, after a share of 0, 1 / num_steps, ..., 1 of the pixels.

    Raises:
        ValueError: heat or targets that do not fit the images, targets that are no classes of the model, or no steps.
    """
    return _curve(model, images, torch.zeros_like(images), heat, targets, _shares(num_steps))


def insertion_curve(model: nn.Module, images: Tensor, heat: Tensor, targets: Tensor, num_steps: int = 10) -> Tensor:
    """The class's probability while the blurred image is made sharp, beginning with the pixels with the most heat.

    The faster it rises, the more faithful the map: a large area under the curve. Otherwise as `deletion_curve`.
    """
    return _curve(model, blurred(images), images, heat, targets, _shares(num_steps))


def fall_when_blurred(
    model: nn.Module, images: Tensor, heat: Tensor, targets: Tensor, share: Fraction = Fraction(1, 6)
) -> Tensor:
    """By how much the class's probability falls when this share of the pixels is blurred, those with the most heat.

    (N,) in -1..1. An intervention: if the network needs what is there, the probability falls more than for an equally
    large region elsewhere. Otherwise as `deletion_curve`. Taught in Exercise 2.3.
    """
    before, after = _curve(model, images, blurred(images), heat, targets, [Fraction(0), share]).T
    return before - after


def _shares(num_steps: int) -> list[Fraction]:
    """0, 1 / num_steps, ..., 1: as fractions, so that no pixel is lost to rounding."""
    if num_steps < 1:
        raise ValueError(f"a curve needs num_steps above 0, not {num_steps}")
    return [Fraction(step, num_steps) for step in range(num_steps + 1)]


def _curve(model, before: Tensor, after: Tensor, heat: Tensor, targets: Tensor, shares: list[Fraction]) -> Tensor:
    _check_same_size("heat", heat, (len(before), *before.shape[2:]))
    if targets.shape != (len(before),) or targets.is_floating_point():
        found = f"{targets.dtype} {tuple(targets.shape)}"
        raise ValueError(f"{len(before)} images need as many classes as targets, not {found}")
    heat, num_pixels = heat.to(before.device), heat[0].numel()
    ties = torch.randperm(num_pixels, generator=torch.Generator().manual_seed(0)).to(heat.device)
    order = ties[heat.flatten(1)[:, ties].argsort(dim=1, descending=True, stable=True)]
    rank = order.argsort(dim=1).view_as(heat)[:, None]  # (N, 1, H, W): 0 for the hottest pixel
    mixed = [torch.where(rank < float(share * num_pixels), after, before) for share in shares]
    logits, targets = _logits(model, torch.cat(mixed)), targets.cpu().repeat(len(shares))
    if not 0 <= targets.min() <= targets.max() < logits.shape[1]:
        raise ValueError(f"targets must lie in 0..{logits.shape[1] - 1}: the model has {logits.shape[1]} classes")
    return logits.softmax(1).gather(1, targets[:, None].long()).view(len(shares), -1).T


@torch.no_grad()
def _logits(model: nn.Module, images: Tensor) -> Tensor:
    """(N, K) float32 on the CPU, in eval mode and in batches of 128, on the images' device."""
    was_training = model.training
    model.to(images.device).eval()
    try:
        return torch.cat([model(batch) for batch in images.split(128)]).float().cpu()
    finally:
        model.train(was_training)


def _check_same_size(name: str, maps: Tensor, shape: tuple[int, ...]) -> None:
    if maps.shape != shape:
        raise ValueError(f"{name} must be {tuple(shape)}, a map for each image, not {tuple(maps.shape)}")


def _check_maps_and_masks(heat: Tensor, masks: Tensor) -> None:
    _check_same_size("masks", masks, heat.shape)
    if heat.ndim != 3 or masks.dtype != torch.bool:
        found = f"{tuple(heat.shape)} and masks {masks.dtype}"
        raise ValueError(f"heat must be (N, H, W) and masks (N, H, W) of dtype bool, not {found}")


def blurred(images: Tensor, sigma: float = 3.0) -> Tensor:
    """Images (N, C, H, W) under a Gaussian of this standard deviation in pixels; mirrored beyond the border."""
    radius = int(3 * sigma)
    if min(images.shape[2:]) <= radius:
        size = "x".join(map(str, images.shape[2:]))
        raise ValueError(
            f"images of {size} are too small to be blurred with sigma={sigma}: use more than {radius} pixels"
        )
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=images.device) / sigma) ** 2)
    kernel = (weights / weights.sum()).repeat(images.shape[1], 1, 1, 1)  # (C, 1, 1, 2 * radius + 1)
    images = F.pad(images, (radius,) * 4, mode="reflect")
    images = F.conv2d(images, kernel, groups=images.shape[1])
    return F.conv2d(images, kernel.mT, groups=images.shape[1])


def area_under(curves: Tensor) -> Tensor:
    """(N, S + 1) -> (N,): the mean height of each curve, by the trapezoidal rule."""
    return torch.trapezoid(curves, dim=1) / (curves.shape[1] - 1)


def rank_correlation(heat: Tensor, other: Tensor) -> Tensor:
    """Spearman's correlation of two heatmaps of each image: (N, H, W) both -> (N,) in -1..1, nan for a constant map.

    About 0 after the network's weights were replaced by random ones, if the map depends on them (Adebayo et al. 2018,
    arXiv:1810.03292). Maps of different shapes are refused with a ValueError.
    """
    from scipy.stats import rankdata

    _check_same_size("other", other, heat.shape)
    ranks = (torch.from_numpy(rankdata(maps.flatten(1).numpy(force=True), axis=1)) for maps in (heat, other))
    first, second = (r - r.mean(dim=1, keepdim=True) for r in ranks)  # float64
    return (first * second).sum(1) / (first.square().sum(1) * second.square().sum(1)).sqrt()


def pointing_game(heat: Tensor, masks: Tensor, tolerance: int = 2) -> Tensor:
    """Whether the hottest pixel lies on the object or at most `tolerance` pixels from it (Zhang et al. 2016,
    arXiv:1608.00507).

    Args:
        heat: (N, H, W); masks: (N, H, W) bool, the objects, holes filled where a hole shall count (see `filled`).

    Returns:
        (N,) in 0..1: of several equally hot pixels, the share that hits. So a map without any heat scores chance,
        which is the mean of `grown(masks, tolerance)`.

    Raises:
        ValueError: heat or masks of another shape or dtype.
    """
    _check_maps_and_masks(heat, masks)
    hottest = heat == heat.amax(dim=(1, 2), keepdim=True)
    return (hottest & grown(masks, tolerance)).sum(dim=(1, 2)) / hottest.sum(dim=(1, 2))


def grown(masks: Tensor, tolerance: int) -> Tensor:
    """Masks (N, H, W) bool, and all pixels whose distance from them is at most `tolerance` pixels."""
    steps = torch.arange(-tolerance, tolerance + 1, device=masks.device)
    disc = (steps[:, None] ** 2 + steps**2 <= tolerance**2).float()
    return F.conv2d(masks[:, None].float(), disc[None, None], padding=tolerance)[:, 0] > 0.5


def filled(masks: Tensor) -> Tensor:
    """Masks (N, H, W) bool with their holes closed: a ring becomes a disc."""
    from scipy.ndimage import binary_fill_holes

    closed = [binary_fill_holes(mask) for mask in masks.numpy(force=True)]
    return torch.tensor(np.array(closed, dtype=bool).reshape(masks.shape), device=masks.device)


def energy_in_mask(heat: Tensor, masks: Tensor) -> Tensor:
    """The share of all heat that lies on the object (Wang et al. 2020, arXiv:1910.01279): (N,), nan without heat.

    heat: (N, H, W), masks: (N, H, W) bool; a ValueError says so where they are not.
    """
    _check_maps_and_masks(heat, masks)
    return (heat * masks).sum(dim=(1, 2)) / heat.sum(dim=(1, 2))
