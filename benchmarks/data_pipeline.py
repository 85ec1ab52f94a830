"""An epoch of augmented CIFAR-10 batches: lab1.data against torchvision's per-image transforms, without workers."""

import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from benchmarks.harness import Row, compare, interleave
from lab1 import data

BATCH_SIZE = 128


class PerImage(torch.utils.data.Dataset):
    """What torchvision.datasets.CIFAR10 does with its images: an array in memory, a PIL image and transforms each."""

    def __init__(self, train: data.ImageSet, augment: bool):
        self.images, self.labels = train.images.permute(0, 2, 3, 1).contiguous().numpy(), train.labels.tolist()
        random = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()] if augment else []
        normalise = transforms.Normalize(train.mean, train.std)
        self.transform = transforms.Compose([*random, transforms.ToTensor(), normalise])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i):
        return self.transform(Image.fromarray(self.images[i])), self.labels[i]


def run(quick: bool) -> list[Row]:
    cifar = data.load("cifar10")
    train = cifar.train

    def epoch_of_lab1():
        for _ in train.batches(BATCH_SIZE, shuffle=True):
            pass

    def epoch_of_torchvision(loader=DataLoader(PerImage(train, augment=True), BATCH_SIZE, shuffle=True)):  # noqa: B008
        for _ in loader:
            pass

    # without augmentation the two are the same batches
    ours, labels = next(cifar.val.batches(64))
    theirs, their_labels = next(iter(DataLoader(PerImage(cifar.val, augment=False), 64)))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert torch.equal(labels, their_labels)
    times = interleave({"lab1.data": epoch_of_lab1, "torchvision, PIL": epoch_of_torchvision}, 3 if quick else 9)
    return [compare(f"an epoch of {len(train):,} augmented images", times, "torchvision, PIL", "lab1.data")]
