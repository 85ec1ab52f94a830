"""The default optimizer, schedules of the learning rate, and what `fit` asks of another optimizer and schedule."""

import inspect
from collections.abc import Callable

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR, ReduceLROnPlateau

Schedule = Callable[[torch.optim.Optimizer, int], LRScheduler]  # for so many steps


def sgd(model: nn.Module, lr: float, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """SGD with Nesterov momentum over what is trainable; weight decay on weights, not on biases and BatchNorm.

    Raises ValueError for a model without trainable parameters.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("the model has no trainable parameters: there is nothing to train")
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    # fused: the update in one pass over the memory
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0, fused=True)


def check(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """Raise ValueError unless `fit` can train the model with the optimizer, and tell how to mend it."""
    name = type(optimizer).__name__
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ValueError(
            f"{name} evaluates the loss several times a step, which fit does not do: take an optimizer such as SGD or "
            "AdamW, or write the loop yourself"
        )
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not any(p.requires_grad and id(p) in held for p in model.parameters()):
        raise ValueError(
            f"the {name} holds none of the model's trainable parameters, so nothing would be trained: make it from "
            "this model's parameters(), after the last change to the model"
        )


def scheduler_of(
    schedule: Schedule | bool | None, optimizer: torch.optim.Optimizer, total_steps: int
) -> LRScheduler | None:
    """The scheduler that `fit` steps after every batch; None for a constant learning rate.

    Raises TypeError or ValueError for a schedule that does not work like this.
    """
    if not schedule:
        return None
    schedule = one_cycle if schedule is True else schedule
    if not callable(schedule) or isinstance(schedule, LRScheduler):
        raise TypeError(
            f"schedule is a {type(schedule).__name__}: give True, False, or a function that makes a scheduler from an "
            "optimizer and the number of steps, such as lab1.training.steps"
        )
    scheduler = schedule(optimizer, total_steps)
    if isinstance(scheduler, ReduceLROnPlateau):
        raise ValueError(
            "ReduceLROnPlateau waits for a measure after each epoch, but fit steps a schedule after every batch: give "
            "a schedule that depends on the step alone, such as True or lab1.training.steps"
        )
    if not hasattr(scheduler, "step"):
        raise TypeError(f"the schedule made a {type(scheduler).__name__}, not a scheduler of torch.optim.lr_scheduler")
    return scheduler


def one_cycle(optimizer: torch.optim.Optimizer, total_steps: int) -> OneCycleLR:
    """Smith and Topin 2018 (arXiv:1708.07120), for the learning rate only."""
    peaks = [float(group["lr"]) for group in optimizer.param_groups]  # of a tensor, which changes, the present value
    rise = 0.2 if total_steps != 5 else 0.21  # of 5 steps a fifth would be a rise in 0 steps, by which PyTorch divides
    return OneCycleLR(optimizer, peaks, total_steps, pct_start=rise, cycle_momentum=False)


def steps(optimizer: torch.optim.Optimizer, total_steps: int) -> MultiStepLR:
    """The schedule of He et al. 2016, section 4.2: a tenth of the learning rate after half the steps and after 3/4."""
    return MultiStepLR(optimizer, [total_steps // 2, total_steps * 3 // 4], gamma=0.1)
