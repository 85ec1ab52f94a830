"""The loss around a trained network, along two random directions (Li et al. 2018, arXiv:1712.09913)."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call


def filter_normalised_direction(model: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """A random direction in which every filter is as long as the model's own filter (section 4 of the paper).

    Only parameters with two or more dimensions move: the filters of convolutions, the rows of linear layers. Biases
    and BatchNorm's scales and shifts stay.

    Returns:
        parameter name -> tensor of the parameter's shape.
    """
    direction = {}
    for name, weight in model.named_parameters():
        if weight.ndim >= 2:
            noise = torch.randn(weight.shape, generator=generator).to(weight.device)
            length = weight.detach().flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1)
            direction[name] = noise * length.view(-1, *[1] * (weight.ndim - 1))
    return direction


@torch.no_grad()
def loss_surface(
    model: nn.Module, images: Tensor, labels: Tensor, num_points: int = 21, span: float = 1.0, seed: int = 0
) -> Tensor:
    """The mean cross-entropy on a square grid around the weights of a trained network.

    The point (i, j) has the weights w + a_i d1 + b_j d2, where a and b run from -span to span and d1 and d2 are
    filter-normalised directions, so a step of 1 is as long as the weights themselves. BatchNorm normalises with the
    statistics of the given images at every point, as it does in training: with the running statistics of the centre,
    every change would look worse than it is. The model stays as it is. Taught in Exercise 2.1.

    Args:
        images, labels: (N, C, H, W) float32, normalised, and (N,), where the model is.
        num_points: of each side; odd, so that the middle of the grid is the network itself.

    Returns:
        (num_points, num_points) float32, on the CPU.

    Raises:
        ValueError: an even number of points, or a span that is not above 0.
    """
    if num_points % 2 == 0 or num_points < 1 or not span > 0:
        raise ValueError(f"num_points={num_points} must be odd, and span={span} above 0")
    generator = torch.Generator().manual_seed(seed)
    first, second = (filter_normalised_direction(model, generator) for _ in range(2))
    weights = {name: weight.detach() for name, weight in model.named_parameters() if name in first}
    steps = torch.linspace(-span, span, num_points).tolist()
    network = copy.deepcopy(model).train()  # a copy: train mode changes the running statistics
    losses = torch.empty(num_points, num_points)
    for i, a in enumerate(steps):
        for j, b in enumerate(steps):
            moved = {name: weight + a * first[name] + b * second[name] for name, weight in weights.items()}
            losses[i, j] = F.cross_entropy(functional_call(network, moved, (images,)).float(), labels)
    return losses
