"""The default optimizer, and schedules: how the learning rate changes over the steps."""

from collections.abc import Callable

import torch
from torch import nn

Schedule = Callable[[torch.optim.Optimizer, int], torch.optim.lr_scheduler.LRScheduler]  # for so many steps


def sgd(model: nn.Module, lr: float, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """SGD with Nesterov momentum over what is trainable; weight decay on weights, not on biases and BatchNorm."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    # fused: the update in one pass over the memory
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0, fused=True)


def one_cycle(optimizer: torch.optim.Optimizer, total_steps: int) -> torch.optim.lr_scheduler.OneCycleLR:
    """Smith and Topin 2018 (arXiv:1708.07120), for the learning rate only."""
    peaks = [group["lr"] for group in optimizer.param_groups]
    rise = 0.2 if total_steps != 5 else 0.21  # of 5 steps a fifth would be a rise in 0 steps, by which PyTorch divides
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps, pct_start=rise, cycle_momentum=False)


def steps(optimizer: torch.optim.Optimizer, total_steps: int) -> torch.optim.lr_scheduler.MultiStepLR:
    """The schedule of He et al. 2016, section 4.2: a tenth of the learning rate after half the steps and after 3/4."""
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, [total_steps // 2, total_steps * 3 // 4], gamma=0.1)
