"""How a signal grows on its way up through a network, and its gradient on its way down."""

import math

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


def ends(measured: dict[str, list[float]]) -> dict[str, float]:
    """What `signal` measured, in five numbers.

    Returns:
        "level": log10 of the gradient's norm at the first layer;
        "gradient": by how many powers of ten it grows from the last layer down to the first;
        "output": by how many powers of ten the output's norm grows from the first layer up to the last;
        "dead", "cosine": those of the last layer.
    """
    gradient, output = measured["gradient"], measured["output"]
    return {
        "level": math.log10(gradient[0]),
        "gradient": math.log10(gradient[0] / gradient[-1]),
        "output": math.log10(output[-1] / output[0]),
        "dead": measured["dead"][-1],
        "cosine": measured["cosine"][-1],
    }


@torch.no_grad()
def branch_ratios(model: nn.Module, images: Tensor) -> dict[str, float]:
    """How large the branch F(x) of each residual block is beside its shortcut, where the two are added.

    The model's mode stays as it is; in train mode BatchNorm updates its running statistics.

    Returns:
        the name of each block, in depth order -> norm of the branch / norm of the shortcut (x or its projection),
        both L2 norms over the whole batch.
    """
    blocks = {name: m for name, m in model.named_modules() if isinstance(m, BasicBlock) and m.skip}
    branches: dict[str, float] = {}
    shortcuts: dict[str, float] = {}

    def keep(name: str, block: BasicBlock) -> list:
        def branch(module, inputs, output):
            branches[name] = output.double().norm().item()

        def shortcut(module, inputs, output):
            shortcuts[name] = (inputs[0] if module is block else output).double().norm().item()

        return [block.bn2.register_forward_hook(branch), (block.projection or block).register_forward_hook(shortcut)]

    hooks = [hook for name, block in blocks.items() for hook in keep(name, block)]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: branches[name] / shortcuts[name] for name in blocks}
