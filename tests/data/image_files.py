"""Small image sets of random pixels, as arrays and as snapshots."""

import numpy as np

from lab1.data import ImageSet

SHAPES = {"cifar10": (32, 32, 3), "mnist": (28, 28)}
KEYS = ("x_train", "y_train", "x_test", "y_test")


def random_arrays(name="cifar10", num_train=100, num_test=20, seed=0):
    """x_train, y_train, x_test, y_test as in a snapshot; no two images are equal."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for part, n in (("train", num_train), ("test", num_test)):
        arrays[f"x_{part}"] = rng.integers(0, 256, (n, *SHAPES[name]), dtype=np.uint8)
        arrays[f"y_{part}"] = (np.arange(n) % 10).astype(np.uint8)
    return arrays


def write_snapshot(folder, name="cifar10", **changes):
    path = folder / f"{name}.npz"
    np.savez(path, **random_arrays(name) | changes)
    return path


def positions(images: ImageSet, x: np.ndarray) -> list[int]:
    """Where in x (N, H, W) or (N, H, W, C) each image stands."""
    where = {image.tobytes(): i for i, image in enumerate(x)}
    return [where[image.permute(1, 2, 0).numpy().tobytes()] for image in images.images]


def all_positions(dataset, arrays):
    """Those of the training, validation and test images; labels must have come along."""
    found = []
    for images, part in ((dataset.train, "train"), (dataset.val, "train"), (dataset.test, "test")):
        found.append(positions(images, arrays[f"x_{part}"]))
        assert images.labels.tolist() == arrays[f"y_{part}"][found[-1]].tolist()
    return found


def is_same_data(dataset, arrays) -> bool:
    train, val, test = all_positions(dataset, arrays)
    return sorted(train + val) == list(range(len(arrays["x_train"]))) and test == list(range(len(arrays["x_test"])))
