"""Shattered gradients: how soon the gradients at two inputs have nothing to do with each other.

Balduzzi et al. 2017, arXiv:1702.08591: in a plain network the gradient with respect to the input, followed along a
line, looks the more like white noise the deeper the network is; with skip connections it keeps some correlation.
"""

import torch
from torch import Tensor, nn


def input_gradients(model: nn.Module, start: Tensor, end: Tensor, num_points: int, batch_size: int = 64) -> Tensor:
    """The gradients of the first logit at equally spaced points of the line from one image to another.

    In eval mode: BatchNorm's statistics are frozen, so that a gradient depends on its own point only (set them with
    `freeze_statistics` in an untrained network). The model's mode is restored; parameters get no gradients.

    Args:
        start, end: (C, H, W), where the model is.

    Returns:
        (num_points, C * H * W) float32.
    """
    was_training = model.training
    model.eval()
    share = torch.linspace(0, 1, num_points, device=start.device).view(-1, 1, 1, 1)
    gradients = []
    try:
        for points in (start + share * (end - start)).split(batch_size):
            points = points.requires_grad_()
            (gradient,) = torch.autograd.grad(model(points)[:, 0].sum(), points)
            gradients.append(gradient.flatten(1))
    finally:
        model.train(was_training)
    return torch.cat(gradients).float()


@torch.no_grad()
def freeze_statistics(model: nn.Module, images: Tensor) -> None:
    """Set every BatchNorm's running statistics to those of one batch (N, C, H, W); the model is left in eval mode."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def autocorrelation(gradients: Tensor, num_lags: int) -> Tensor:
    """The correlation of gradients (T, D) whose points lie 0, 1, ..., num_lags - 1 steps apart: (num_lags,).

    The mean gradient of the line is subtracted first, so white noise gives 1, 0, 0, ...; 1 everywhere is a gradient
    that changes slowly.

    Raises:
        ValueError: as many lags as points, or more.
    """
    if num_lags >= len(gradients):
        raise ValueError(f"{len(gradients)} points are too few for {num_lags} lags")
    centred = (gradients - gradients.mean(dim=0)).double()
    power = centred.square().sum(dim=1).mean()
    products = [(centred[: len(centred) - k] * centred[k:]).sum(dim=1).mean() for k in range(num_lags)]
    return (torch.stack(products) / power).float()
