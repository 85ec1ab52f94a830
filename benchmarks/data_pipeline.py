"""An epoch of augmented CIFAR-10 batches: lab1.data against torchvision and PIL, an image at a time."""

import statistics

import torch
from torch.utils.data import DataLoader

from benchmarks.harness import Row, compare, interleave, ratios
from benchmarks.usual_script import PerImage
from lab1 import data

BATCH_SIZE = 128


def run(quick: bool) -> list[Row]:
    cifar = data.load("cifar10")
    train = cifar.train
    loaders = {
        "torchvision, PIL": DataLoader(PerImage(train, augment=True), BATCH_SIZE, shuffle=True),
        "torchvision, PIL, 2 workers": DataLoader(PerImage(train, augment=True), BATCH_SIZE, True, num_workers=2),
    }

    def copy():  # the least a pipeline can do: read every image, write it as float32
        for images in train.images.split(BATCH_SIZE):
            images.float()

    def exhaust(batches):
        for _ in batches:
            pass

    arms = {"copy": copy, "lab1.data": lambda: exhaust(train.batches(BATCH_SIZE, shuffle=True))}
    arms |= {name: lambda loader=loader: exhaust(loader) for name, loader in loaders.items()}

    # without augmentation the two are the same images
    ours, labels = cifar.val.batch(range(64))
    theirs, their_labels = next(iter(DataLoader(PerImage(cifar.val, augment=False), 64)))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert torch.equal(labels, their_labels)
    times = interleave(arms, 3 if quick else 9)
    share = statistics.median(ratios(times, "copy", "lab1.data"))
    limit = f"memory: {share:.0%} of the speed of converting the stored images to float32"
    title = f"loading an epoch of {len(train):,} augmented images"
    return [compare(title, times, name, "lab1.data", limit) for name in loaders]
