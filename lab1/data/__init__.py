"""Images in, tensors out: where images come from, how they are split, batched and augmented.

>>> from lab1 import data
>>> cifar = data.load("cifar10")
>>> images, labels = cifar.train.batch([0, 1, 2])  # (3, 3, 32, 32) float32, (3,) int64
"""

from lab1.data.images import ImageSet
from lab1.data.snapshots import DataError
from lab1.data.sources import Dataset, load

__all__ = ["DataError", "Dataset", "ImageSet", "load"]
