"""How a model is called, and what it makes of a set of images: mean loss, accuracy, logits."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab1.basics.device import default_device, gains_from_bf16
from lab1.data import ImageSet
from lab1.training.convolution import MatrixProducts
from lab1.training.measures import RunningMean

Data = ImageSet | Iterable[tuple[Tensor, Tensor]]  # the latter: (images, targets) batches, such as a DataLoader's
LossFunction = Callable[[Tensor, Tensor], Tensor]  # (logits, targets) -> mean loss of the batch


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: Data,
    *,
    batch_size: int = 128,
    loss_function: LossFunction = F.cross_entropy,
    autocast: bool | None = None,
    device: torch.device | str | None = None,
) -> tuple[float, float]:
    """Mean loss per example and accuracy (0..1, over examples or over pixels), in eval mode.

    Arguments as in `fit`. The model's mode is restored. Taught in Exercise 1.1.
    """
    mean = RunningMean(loss_function)
    for logits, targets in _predictions(model, data, batch_size, autocast, device):
        mean.add(loss_function(logits, targets), logits, targets)
    return mean.result()


@torch.no_grad()
def predict(
    model: nn.Module,
    data: Data,
    *,
    batch_size: int = 128,
    autocast: bool | None = None,
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits (N, K) or (N, K, H, W) float32 and targets, of all examples, on the CPU, in eval mode."""
    logits, targets = zip(*_predictions(model, data, batch_size, autocast, device), strict=True)
    return torch.cat(logits).cpu(), torch.cat(targets).cpu()


def _predictions(model, data, batch_size, autocast, device) -> Iterator[tuple[Tensor, Tensor]]:
    device = torch.device(device) if device else default_device()
    autocast = gains_from_bf16(device) if autocast is None else autocast
    data = data.to(device) if isinstance(data, ImageSet) else data
    was_training = model.training
    model.to(device).eval()
    try:
        for images, targets in batches(data, batch_size, device):
            with fastest(device, autocast):
                logits = model(images)
            yield logits.float(), targets
    finally:
        model.train(was_training)


@contextlib.contextmanager
def fastest(device: torch.device, autocast: bool) -> Iterator[None]:
    """How a model is called: in bf16 where that is wanted, and on the CPU with convolutions as they are fastest."""
    products = MatrixProducts() if device.type == "cpu" else contextlib.nullcontext()
    with products, torch.autocast(device.type, torch.bfloat16, enabled=autocast):
        yield


def check_batches(data: Data, name: str) -> None:
    """Raise ValueError or TypeError unless the data can be gone through once an epoch, and tell how to mend it."""
    if isinstance(data, Iterator):
        raise TypeError(
            f"{name} is a {type(data).__name__}, which can be gone through once only: give a list or a DataLoader"
        )
    if isinstance(data, torch.utils.data.Dataset) and not isinstance(data, ImageSet):
        raise TypeError(f"{name} gives single examples, not batches: wrap the {type(data).__name__} in a DataLoader")
    if isinstance(data, Tensor) or not isinstance(data, Iterable | ImageSet):
        raise TypeError(f"{name} is a {type(data).__name__}: give an ImageSet, or batches of images and targets")
    if isinstance(data, ImageSet | list | tuple) and len(data) == 0:
        raise ValueError(f"{name} is empty: there is nothing to train on or to evaluate")


def num_batches(data: Data, batch_size: int, name: str) -> int:
    """How many batches an epoch has. Raises like `check_batches`, and where there are none or nobody can tell."""
    check_batches(data, name)
    try:
        count = -(-len(data) // batch_size) if isinstance(data, ImageSet) else len(data)
    except TypeError as error:
        raise TypeError(
            f"{name} does not say how many batches it has, which the schedule of the learning rate needs: give a list, "
            "or a DataLoader of a data set with a length"
        ) from error
    if count == 0:
        raise ValueError(f"there is nothing to train on: {name} has no batches")
    return count


def batches(
    data: Data, batch_size: int, device: torch.device, shuffle: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """The data's batches, on the device."""
    if isinstance(data, ImageSet):
        yield from data.batches(batch_size, shuffle=shuffle)
        return
    for batch in data:
        if not isinstance(batch, tuple | list) or [isinstance(t, Tensor) for t in batch] != [True, True]:
            raise TypeError("a batch of the data is no pair of tensors, images and targets")
        images, targets = batch
        yield images.to(device, non_blocking=True), targets.to(device, non_blocking=True)
