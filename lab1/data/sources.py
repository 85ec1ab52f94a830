"""Where images come from: a snapshot, a download or what ships with the lab; and how they are split."""

import contextlib
import errno
import os
import socket
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lab1.basics.announce import announce
from lab1.data import shapes10
from lab1.data.images import ImageSet

MNIST_SAMPLE = Path(__file__).parents[1] / "assets" / "mnist-sample.npz"


class DataError(RuntimeError):
    """Images that cannot be used; the message names the file, the fault and what to do."""


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


class _Known(NamedTuple):
    title: str
    image_shape: tuple[int, ...]  # as stored in a snapshot, without N
    classes: tuple[str, ...]


_CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_KNOWN = {
    "cifar10": _Known("CIFAR-10", (32, 32, 3), _CIFAR10_CLASSES),
    "mnist": _Known("MNIST", (28, 28), tuple("0123456789")),
    "shapes10": _Known("Shapes-10", (32, 32, 3), shapes10.CLASSES),
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
    y_test, all uint8); torchvision's download into that folder; what ships with the lab, which is a sample of MNIST,
    and Shapes-10 in place of CIFAR-10.

    Args:
        num_train: how many images to train and validate with, drawn at random, each class in proportion; None for all.
        num_test: the same for the test set.
        folder: the data folder; by default LAB1_DATA, or data/ without it.
        download: whether torchvision may try.
        seed: of the split. A tenth of the training images, each class in proportion, is the validation set.

    Raises:
        ValueError: an unknown name, or counts too small to split.
        DataError: a snapshot that is damaged or of another layout; a data folder that a download cannot be written to.
    """
    if name not in _KNOWN:
        raise ValueError(f"no data set is called {name!r}: choose one of {', '.join(_KNOWN)}")
    folder = Path(folder or os.environ.get("LAB1_DATA") or "data")
    title, snapshot, arrays, masks, trouble = _KNOWN[name].title, folder / f"{name}.npz", None, None, ""
    if name != "shapes10" and os.path.exists(snapshot):  # noqa: PTH110 - Path.exists raises where it may not look
        arrays, source = read_snapshot(snapshot, _KNOWN[name].image_shape), f"{title} (snapshot {snapshot.name})"
    elif name != "shapes10" and download:
        try:
            arrays, source = _torchvision(name, folder), f"{title} (torchvision download)"
        except _NoDownloadError as error:
            trouble = f"; no download: {error}"
    if arrays is None and name == "mnist":
        arrays, source = read_snapshot(MNIST_SAMPLE, _KNOWN[name].image_shape), "MNIST (built-in sample)"
    elif arrays is None:
        source = "Shapes-10 (built in)" if name == "shapes10" else f"Shapes-10 (built in, {title} not at hand)"
        arrays, masks = shapes10.train_and_test()
        name = "shapes10"
    dataset = _split(name, source, arrays, masks, num_train, num_test, seed)
    announce(f"data: {dataset}{trouble}")
    return dataset


def _split(name, source, arrays, masks, num_train, num_test, seed) -> Dataset:
    x_train, y_train, x_test, y_test = (torch.from_numpy(a) for a in arrays)
    train_masks, test_masks = map(torch.from_numpy, masks) if masks else (None, None)
    order, test = _stratified_order(y_train, seed)[:num_train], _stratified_order(y_test, seed)[:num_test]
    val, train = order[: len(order) // 10], order[len(order) // 10 :]
    if min(len(val), len(test), num_train or 1, num_test or 1) < 1:
        raise ValueError(f"num_train={num_train} and num_test={num_test} leave nothing to validate or test with")

    def nchw(images):  # (N, H, W) or (N, H, W, C) -> (N, C, H, W)
        return images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)

    x_train, x_test = nchw(x_train), nchw(x_test)
    channels = [x_train[train, c].float() / 255 for c in range(x_train.shape[1])]
    mean, std = tuple(c.mean().item() for c in channels), tuple(c.std(correction=0).item() for c in channels)

    def part(images, labels, masks, which, augment=False):
        which = which.sort().values
        return ImageSet(images[which], labels[which], mean, std, augment, None if masks is None else masks[which])

    return Dataset(
        name,
        part(x_train, y_train, train_masks, train, augment=len(channels) == 3),
        part(x_train, y_train, train_masks, val),
        part(x_test, y_test, test_masks, test),
        _KNOWN[name].classes,
        mean,
        std,
        source,
    )


def _stratified_order(labels: Tensor, seed: int) -> Tensor:
    """A random order of all indices in which every beginning holds each class in proportion."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    share = torch.empty(len(labels), dtype=torch.float64)  # how much of its own class stands before an image
    for label in labels.unique():
        members = order[labels[order] == label]
        share[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
    return order[share[order].argsort(stable=True)]


def read_snapshot(path: Path, image_shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """x_train, y_train, x_test, y_test of a snapshot, checked.

    Raises:
        DataError: naming the file and what is wrong with it.
    """
    keys = ("x_train", "y_train", "x_test", "y_test")

    def refuse(fault: str) -> DataError:
        layout = f"uint8 images (N, {', '.join(map(str, image_shape))}) and uint8 labels (N,) from 0 to 9"
        return DataError(f"{path}: {fault}. A snapshot holds {layout} as {', '.join(keys)}; replace or remove the file")

    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("it is no zip file, or only a part of one")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in keys if key in archive.files}
    except OSError as error:
        raise refuse(f"cannot be read ({error.strerror or error})") from error
    except Exception as error:  # zipfile, zlib and NumPy have a dozen kinds for as many kinds of damage
        raise refuse(f"not a complete NumPy archive ({str(error) or type(error).__name__})") from error
    if missing := [key for key in keys if not isinstance(arrays.get(key), np.ndarray)]:
        raise refuse(f"{', '.join(missing)} missing")
    for split in ("train", "test"):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        for key, array in ((f"x_{split}", x), (f"y_{split}", y)):
            if array.dtype != np.uint8:
                raise refuse(f"{key} is {array.dtype}, not uint8")
        if x.shape[1:] != image_shape or x.ndim != len(image_shape) + 1:
            raise refuse(f"x_{split} has the shape {x.shape}")
        if y.ndim != 1 or len(x) != len(y):
            raise refuse(f"x_{split} has the shape {x.shape} but y_{split} {y.shape}")
        if len(y) == 0:
            raise refuse(f"x_{split} is empty")
        if y.max() > 9:
            raise refuse(f"y_{split} holds the label {y.max()}")
    return tuple(arrays[key] for key in keys)


_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def _unwritable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"cannot write to the data folder {folder}: {error.strerror}. Make room there or set LAB1_DATA to a folder "
        "that can be written to, or put a snapshot there"
    )


class _NoDownloadError(Exception):
    """torchvision cannot get the data; the message says why, in one line."""


def _torchvision(name: str, folder: Path) -> tuple[np.ndarray, ...]:
    """The whole data set by torchvision: from its files in the folder, or else downloaded.

    What an interrupted download left behind is replaced.

    Raises:
        _NoDownloadError: it can be had in neither way.
        DataError: the folder would be needed for the download but cannot be written to.
    """
    import torchvision  # takes a second, and is not needed where there is a snapshot

    kind, archives, extracted = {
        "cifar10": (torchvision.datasets.CIFAR10, "cifar-10-python.tar.gz", "cifar-10-batches-py/*"),
        "mnist": (torchvision.datasets.MNIST, "MNIST/raw/*.gz", "MNIST/*/*[!z]"),
    }[name]

    def read(download: bool) -> tuple[np.ndarray, ...]:
        train, test = (kind(folder, train=part, download=download) for part in (True, False))
        return tuple(_as_uint8(values) for values in (train.data, train.targets, test.data, test.targets))

    with contextlib.suppress(Exception):  # of many kinds: files are not there, or cut off at any point
        return read(download=False)
    _check_writable(folder)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # torchvision sets none: a silent network would hang the notebook for ever
    try:
        for _ in range(2):
            try:
                for file in folder.glob(extracted):  # torchvision checks archives, but not everything that is in them
                    file.unlink()
                return read(download=True)
            except Exception as error:
                if getattr(error, "errno", None) in _UNWRITABLE:
                    raise _unwritable(folder, error) from error
                reason = error
            if not any(folder.glob(archives)):  # nothing has arrived, so nothing has broken off
                break
    finally:
        socket.setdefaulttimeout(timeout)
    raise _NoDownloadError((str(reason).strip() or type(reason).__name__).splitlines()[-1][:100])


def _as_uint8(values) -> np.ndarray:
    return np.asarray(values).astype(np.uint8)


def _check_writable(folder: Path) -> None:
    try:
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is a file")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error
