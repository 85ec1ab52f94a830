"""Lesions: a trained network without one of its blocks (Veit et al. 2016, arXiv:1605.06431, section 4.1)."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lab1.models.resnet import BasicBlock


def removable_blocks(model: nn.Module) -> list[str]:
    """The names of the blocks that can be removed: all of a residual network; of a plain one those that keep the shape.

    Without a shortcut nothing is left of a block that changes the shape.
    """
    return [name for name, m in model.named_modules() if isinstance(m, BasicBlock) and (m.skip or keeps_shape(m))]


def keeps_shape(block: BasicBlock) -> bool:
    """Whether a block's output has the shape of its input."""
    return block.conv1.in_channels == block.conv1.out_channels and block.conv1.stride == (1, 1)


@contextlib.contextmanager
def removed(model: nn.Module, name: str) -> Iterator[nn.Module]:
    """Inside the `with`, the block's input goes on in place of its output, through the projection if there is one.

    Afterwards the model is as it was, also after an exception. Taught in Exercise 2.1.

    Raises:
        ValueError: a name that is not among `removable_blocks(model)`.
    """
    if name not in removable_blocks(model):
        raise ValueError(f"{name!r} cannot be removed: choose one of {', '.join(removable_blocks(model))}")
    parent, _, child = name.rpartition(".")
    stage, block = model.get_submodule(parent), model.get_submodule(name)
    shortcut = nn.Identity() if block.projection is None else nn.Sequential(block.projection, nn.ReLU())
    setattr(stage, child, shortcut.train(block.training))
    try:
        yield model
    finally:
        setattr(stage, child, block)


@torch.no_grad()
def lesion_errors(model: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 500) -> dict[str, float]:
    """The error (0..1) in eval mode of the network as it is, under the name "none", and without each block in turn.

    Args:
        images, labels: (N, C, H, W) float32, normalised, and (N,), where the model is.
    """
    was_training = model.training
    model.eval()

    def error() -> float:
        chunks = zip(images.split(batch_size), labels.split(batch_size), strict=True)
        return sum((model(x).argmax(1) != y).sum().item() for x, y in chunks) / len(labels)

    try:
        errors = {"none": error()}
        for name in removable_blocks(model):
            with removed(model, name):
                errors[name] = error()
    finally:
        model.train(was_training)
    return errors
