"""Where images come from: a snapshot, a download or what ships with the lab; and how they are split."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lab1.basics.announce import announce
from lab1.data import downloads, shapes10
from lab1.data.downloads import NotAtHandError
from lab1.data.images import ImageSet
from lab1.data.snapshots import note_of, read_snapshot

MNIST_SAMPLE = Path(__file__).parents[1] / "assets" / "mnist-sample.npz"


@dataclass(frozen=True)
class Dataset:
    """What `load` returns: three ImageSets and what there is to know about them."""

    name: str  # "cifar10", "mnist" or "shapes10": what the images really are
    train: ImageSet  # augmented if it is a colour set
    val: ImageSet  # a stratified tenth of the training images
    test: ImageSet  # for the very end
    classes: tuple[str, ...]
    mean: tuple[float, ...]  # per channel, of the training part, on the 0..1 scale
    std: tuple[float, ...]
    source: str  # for captions and run configurations

    def __str__(self) -> str:
        sizes = f"{len(self.train):,} training, {len(self.val):,} validation, {len(self.test):,} test images"
        return f"{self.source}: {sizes}"


class _Kind(NamedTuple):
    title: str
    image_shape: tuple[int, ...]  # as stored in a snapshot, without N
    classes: tuple[str, ...]


_CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_KINDS = {
    "cifar10": _Kind("CIFAR-10", (32, 32, 3), _CIFAR10_CLASSES),
    "mnist": _Kind("MNIST", (28, 28), tuple("0123456789")),
    "shapes10": _Kind("Shapes-10", (32, 32, 3), shapes10.CLASSES),
}


def load(
    name: str,
    num_train: int | None = None,
    num_test: int | None = None,
    *,
    folder: str | Path | None = None,
    download: bool = True,
    seed: int = 0,
) -> Dataset:
    """Load "cifar10", "mnist" or "shapes10", and say in one line where it came from.

    Three sources are tried in this order: the snapshot NAME.npz in the data folder (keys x_train, y_train, x_test,
    y_test, all uint8); torchvision's files in that folder, or else its download into it; what ships with the lab,
    which is a sample of MNIST, and Shapes-10 in place of CIFAR-10.

    Args:
        num_train: how many images to train and validate with, drawn at random, each class in proportion; None for all.
        num_test: the same for the test set.
        folder: the data folder; by default LAB1_DATA, or data/ without it.
        download: whether files that are missing may be downloaded.
        seed: of the split. A tenth of the training images, each class in proportion, is the validation set.

    Raises:
        ValueError: an unknown name, or counts too small to split.
        DataError: a snapshot that is damaged or of another layout; torchvision's files with other images or labels
            than theirs; a data folder that a download cannot be written to.
    """
    if name not in _KINDS:
        raise ValueError(f"no data set is called {name!r}: choose one of {', '.join(_KINDS)}")
    folder = Path(folder or os.environ.get("LAB1_DATA") or "data")
    if name == "shapes10":
        found, reasons = _shapes10(name), []
    else:
        found, reasons = _first_at_hand(name, folder, download)
    dataset = _split(found, num_train, num_test, seed)
    announce("; ".join([f"data: {dataset}", *reasons]))
    return dataset


class _Found(NamedTuple):
    """All images of a data set, (N, H, W) or (N, H, W, C) uint8, their labels (N,) uint8 and, if known, masks."""

    name: str
    source: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    train_masks: np.ndarray | None = None
    test_masks: np.ndarray | None = None


def _first_at_hand(name: str, folder: Path, download: bool) -> tuple[_Found, list[str]]:
    """The images of the first source that has any, and why those before it have none."""
    reasons = []
    for source in (_snapshot, _torchvision):
        try:
            return source(name, folder, download), reasons
        except NotAtHandError as error:
            reasons += [str(error)] if str(error) else []
    return (_mnist_sample() if name == "mnist" else _shapes10(name)), reasons


def _snapshot(name: str, folder: Path, download: bool) -> _Found:
    path = folder / f"{name}.npz"
    if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises where it may not look
        raise NotAtHandError
    arrays = read_snapshot(path, _KINDS[name].image_shape)
    note = note_of(path)  # such as "JPEG-compressed copy"
    return _Found(name, f"{_KINDS[name].title} (snapshot {path.name}{note and f', {note}'})", *arrays)


def _torchvision(name: str, folder: Path, download: bool) -> _Found:
    arrays = downloads.torchvision_arrays(name, folder, _KINDS[name].image_shape, download)
    return _Found(name, f"{_KINDS[name].title} (torchvision download)", *arrays)


def _mnist_sample() -> _Found:
    return _Found("mnist", "MNIST (built-in sample)", *read_snapshot(MNIST_SAMPLE, _KINDS["mnist"].image_shape))


def _shapes10(asked_for: str) -> _Found:
    arrays, masks = shapes10.train_and_test()
    missing = "" if asked_for == "shapes10" else f", {_KINDS[asked_for].title} not available"
    return _Found("shapes10", f"Shapes-10 (built in{missing})", *arrays, *masks)


def _split(found: _Found, num_train: int | None, num_test: int | None, seed: int) -> Dataset:
    y_train, y_test = torch.from_numpy(found.y_train), torch.from_numpy(found.y_test)
    order, test = _stratified_order(y_train, seed)[:num_train], _stratified_order(y_test, seed)[:num_test]
    val, train = order[: len(order) // 10], order[len(order) // 10 :]
    if min(len(val), len(test), num_train or 1, num_test or 1) < 1:
        raise ValueError(f"num_train={num_train} and num_test={num_test} leave no images for validation or test")

    x_train, x_test = _channels_first(found.x_train), _channels_first(found.x_test)
    channels = [x_train[train, c].float() / 255 for c in range(x_train.shape[1])]
    mean, std = tuple(c.mean().item() for c in channels), tuple(c.std(correction=0).item() for c in channels)

    def part(images, labels, masks, which, augment=False):
        which = which.sort().values
        masks = None if masks is None else torch.from_numpy(masks)[which]
        return ImageSet(images[which], labels[which], mean, std, augment, masks)

    return Dataset(
        name=found.name,
        train=part(x_train, y_train, found.train_masks, train, augment=len(channels) == 3),
        val=part(x_train, y_train, found.train_masks, val),
        test=part(x_test, y_test, found.test_masks, test),
        classes=_KINDS[found.name].classes,
        mean=mean,
        std=std,
        source=found.source,
    )


def _channels_first(images: np.ndarray) -> Tensor:
    """(N, H, W) or (N, H, W, C) -> (N, C, H, W)."""
    images = torch.from_numpy(images)
    return images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)


def _stratified_order(labels: Tensor, seed: int) -> Tensor:
    """A random order of all indices in which every beginning holds each class in proportion."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    share = torch.empty(len(labels), dtype=torch.float64)  # how much of its own class stands before an image
    for label in labels.unique():
        members = order[labels[order] == label]
        share[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
    return order[share[order].argsort(stable=True)]
