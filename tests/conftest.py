import matplotlib
import pytest
import torch

from lab1.data import ImageSet
from lab1.data.snapshots import read_snapshot
from lab1.data.sources import MNIST_SAMPLE

matplotlib.use("Agg")


@pytest.fixture
def tiny():
    """make(n): n learnable 8x8 colour images of four classes (which quarter is bright), as an ImageSet."""

    def make(n=48, seed=0, **options):
        generator = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 90, (n, 3, 8, 8), dtype=torch.uint8, generator=generator)
        labels = torch.randint(0, 4, (n,), generator=generator)
        for image, label in zip(images, labels.tolist(), strict=True):
            row, column = divmod(label, 2)
            image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 150
        return ImageSet(images, labels, mean=(0.3,) * 3, std=(0.25,) * 3, **options)

    return make


@pytest.fixture(scope="session")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """200 real digits, (200, 1, 28, 28) uint8, and their labels: from the sample that ships with the lab."""
    x_train, y_train, _, _ = read_snapshot(MNIST_SAMPLE, (28, 28))
    return torch.from_numpy(x_train[:200])[:, None], torch.from_numpy(y_train[:200]).long()
