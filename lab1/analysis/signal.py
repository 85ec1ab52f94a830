"""How a signal grows on its way up through a network, and its gradient on its way down."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab1.models.resnet import BasicBlock

QUANTITIES = ("gradient", "output", "product", "dead", "cosine")


def block_names(model: nn.Module) -> list[str]:
    """The names of the stem and of every basic block of a ResNet, in depth order."""
    return [name for name, m in model.named_modules() if name == "stem" or isinstance(m, BasicBlock)]


def signal(model: nn.Module, layers: list[str], images: Tensor, labels: Tensor) -> dict[str, list[float]]:
    """One forward and one backward pass of the cross-entropy, observed at the outputs h of some layers.

    The model's mode stays as it is; BatchNorm in train mode updates its running statistics, as in any forward pass.
    Parameters keep the gradients they had. Taught in Exercise 2.1.

    Args:
        layers: names of modules, each of which is called once and returns a tensor (N, ...).
        images, labels: a batch as the model takes it, N at least 2.

    Returns:
        For each layer, in the order given:
        "gradient": the L2 norm of dL/dh over the whole batch;
        "output": the L2 norm of h over the whole batch;
        "product": their product. In a chain of layers that are homogeneous of degree one (linear layers or
        convolutions without biases, ReLU) the inner product <h, dL/dh> is the same at every layer;
        "dead": the share of units (channels at a position) that are zero for every image of the batch;
        "cosine": the mean cosine between the outputs of two different images.

    Raises:
        ValueError: fewer than two images.
        AttributeError: a name that the model has not.
    """
    if len(images) < 2:
        raise ValueError("the cosine between different images needs at least two images")
    outputs: dict[str, Tensor] = {}
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: outputs.__setitem__(name, output)
        )
        for name in layers
    ]
    try:
        loss = F.cross_entropy(model(images).float(), labels)
    finally:
        for hook in hooks:
            hook.remove()
    gradients = torch.autograd.grad(loss, [outputs[name] for name in layers])
    measured: dict[str, list[float]] = {quantity: [] for quantity in QUANTITIES}
    for name, gradient in zip(layers, gradients, strict=True):
        h = outputs[name].detach().flatten(1).double()  # (N, units)
        gradient_norm, output_norm = gradient.double().norm().item(), h.norm().item()
        measured["gradient"].append(gradient_norm)
        measured["output"].append(output_norm)
        measured["product"].append(gradient_norm * output_norm)
        measured["dead"].append((h == 0).all(dim=0).double().mean().item())
        measured["cosine"].append(mean_cosine(h))
    return measured


def mean_cosine(vectors: Tensor) -> float:
    """The mean cosine between two different rows of (N, D)."""
    unit = F.normalize(vectors.double(), dim=1, eps=1e-300)  # a deep network's outputs can be tiny
    n = len(unit)
    return ((unit.sum(dim=0).square().sum() - unit.square().sum()) / (n * (n - 1))).item()
