"""Four trained networks that come with the lab, so that nobody has to train hours to look inside one."""

from pathlib import Path

import torch
from torch import nn

from lab1.models.resnet import ResNet

WEIGHTS = Path(__file__).parent / "weights"
NAMES = ("plain-20", "plain-56", "residual-20", "residual-56")
# of the 45,000 training images, on the scale 0..1
MEAN = (0.49149, 0.48220, 0.44661)
STD = (0.24531, 0.24287, 0.26059)


def pretrained(name: str) -> ResNet:
    """A CIFAR ResNet of He et al. 2016, section 4.2, with or without its shortcuts, trained on all of CIFAR-10.

    Trained for 10 epochs with seed 0 on 45,000 training images of a JPEG-compressed copy, as benchmarks/full_cifar.py
    says; lab1/records/NAME-seed0.json has its history and its errors. It takes images (N, 3, 32, 32) float32 that are
    normalised with MEAN and STD of this module, and returns logits (N, 10). In eval mode, on the CPU.

    Args:
        name: "plain-20", "plain-56", "residual-20" or "residual-56": with shortcuts or without, and the depth.

    Raises:
        ValueError: another name.
    """
    if name not in NAMES:
        raise ValueError(f"there is no pretrained network {name!r}: choose one of {', '.join(NAMES)}")
    kind, depth = name.split("-")
    n = (int(depth) - 2) // 6
    model = ResNet((n, n, n), skip=kind == "residual", width=16)
    model.load_state_dict(torch.load(WEIGHTS / f"{name}.pt", weights_only=True))
    return model.eval()


def save(model: nn.Module, name: str) -> None:
    """Keep a network's weights in half precision, and BatchNorm's running statistics in full."""
    state = model.state_dict()
    half = {key: value.half() if key.endswith(("weight", "bias")) else value for key, value in state.items()}
    torch.save(half, WEIGHTS / f"{name}.pt")
