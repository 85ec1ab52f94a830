"""The trainings on all of CIFAR-10 behind Exercises 1.2 and 2.1: hours of them, and each leaves a record.

python -m benchmarks.full_cifar                     all of them: about ten hours for a core with bf16 units
python -m benchmarks.full_cifar plain-56-seed0 ...  some of them
OMP_NUM_THREADS=1                                   two at a time, one core each: a quarter faster than in turn

The protocol, which was fixed before any test image was looked at: SGD with Nesterov momentum 0.9, weight decay 5e-4 on
weights, batches of 128, random crops and flips; the learning rate rises for a fifth of all steps and falls to zero
along a cosine (one-cycle). 10 epochs for the CIFAR ResNets of He et al. (2016), section 4.2, 11 for ResNet18.
The highest learning rate of each kind and depth is the best of three by the accuracy on validation images after a
training of three epochs with a seed of its own; ResNet18 has the 0.1 of Exercise 2.1.

records/NAME.json has the history and the errors of the trained network in eval mode, in float32, on training images
without augmentation, on validation and on test images. records/NAME.npz has what the network predicts for each test
image, and the norms of gradients and weights at the first 200 steps and at every tenth. A training that was
interrupted goes on from model_states/, and one that has a record is not made again. The four networks of seed 0 are
kept in half precision for lab1.models.pretrained.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from lab1 import ResNet, ResNet18, data, training
from lab1.basics.device import hardware
from lab1.experiment import train
from lab1.models import pretrained
from lab1.models.resnet import BasicBlock

RECORDS = Path(__file__).parents[1] / "records"
RATES = (0.03, 0.1, 0.3)
TRIAL_SEED = 100  # none of those that are compared


def cifar_resnet(depth: int, skip: bool, zero: bool = False) -> ResNet:
    """20 or 56 layers; with zero, each block starts as the identity: the last scale of its branch is zero."""
    model = ResNet([(depth - 2) // 6] * 3, skip=skip, width=16)
    if zero:
        for block in (module for module in model.modules() if isinstance(module, BasicBlock)):
            nn.init.zeros_(block.bn2.weight)
    return model


def falling(optimizer: torch.optim.Optimizer, total_steps: int) -> CosineAnnealingLR:
    """The cosine from the first step on, without the rise."""
    return CosineAnnealingLR(optimizer, total_steps)


def best_rate(kind: str, depth: int) -> float:
    """The learning rate with the highest validation accuracy in the trials."""
    accuracy = {}
    for lr in RATES:
        record = json.loads((RECORDS / f"trial-{kind}-{depth}-lr{lr}.json").read_text(encoding="utf-8"))
        accuracy[lr] = record["history"]["val/accuracy"][-1]
    return max(accuracy, key=accuracy.get)


def trainings() -> dict[str, Callable[[], None]]:
    """All of them by name, in an order in which they can be made."""
    jobs = {}
    kinds = {"residual": True, "plain": False}
    for kind, skip in kinds.items():
        for depth in (20, 56):
            for lr in RATES:
                name = f"trial-{kind}-{depth}-lr{lr}"
                settings = {"lr": lambda lr=lr: lr, "num_epochs": 3, "seed": TRIAL_SEED}
                jobs[name] = partial(make, name, partial(cifar_resnet, depth, skip), **settings)
    for seed in (0, 1, 2):
        for depth in (20, 56):
            for kind, skip in kinds.items():
                name = f"{kind}-{depth}-seed{seed}"
                settings = {"lr": partial(best_rate, kind, depth), "num_epochs": 10, "seed": seed}
                jobs[name] = partial(make, name, partial(cifar_resnet, depth, skip), **settings)
    for kind, skip in kinds.items():
        settings = {"lr": partial(best_rate, kind, 56), "num_epochs": 10, "seed": 0, "schedule": falling}
        jobs[f"{kind}-56-falling"] = partial(make, f"{kind}-56-falling", partial(cifar_resnet, 56, skip), **settings)
    settings = {"lr": partial(best_rate, "residual", 56), "num_epochs": 10, "seed": 0, "config": {"zero": True}}
    jobs["residual-56-zero"] = partial(make, "residual-56-zero", partial(cifar_resnet, 56, True, zero=True), **settings)
    for kind, skip in kinds.items():
        name = f"resnet18-{kind}"
        settings = {"lr": lambda: 0.1, "num_epochs": 11, "seed": 0}
        jobs[name] = partial(make, name, partial(ResNet18, skip=skip), **settings)
    return jobs


def make(name: str, build: Callable[[], nn.Module], *, lr: Callable[[], float], seed: int, **settings) -> None:
    """Train one network and write its record."""
    cifar = data.load("cifar10")
    settings["lr"] = lr()
    trial = name.startswith("trial")
    how = {"seed": seed, "record_gradients": not trial, **settings}
    model, history = train(name, build, cifar, group="full-cifar", **how)
    record = {"data": str(cifar), "hardware": hardware(), "threads": torch.get_num_threads(), "seed": seed}
    record |= {"lr": settings["lr"], "history": {key: values for key, values in history.items() if _plain(values)}}
    if not trial:
        record["errors"], arrays = measure(model, cifar)
        norms = history["grad_norm"].numpy()
        kept = np.union1d(np.arange(min(200, len(norms))), np.arange(0, len(norms), 10))
        arrays |= {"steps": kept, "grad_norm": norms[kept], "weight_norm": history["weight_norm"].numpy()[kept]}
        np.savez_compressed(RECORDS / f"{name}.npz", **arrays)
    if name.removesuffix("-seed0") in pretrained.NAMES:
        pretrained.save(model, name.removesuffix("-seed0"))
    (RECORDS / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")


def measure(model: nn.Module, cifar: data.Dataset) -> tuple[dict, dict]:
    """Loss and share of wrong answers on each part of the data; what is predicted for the test images."""
    original = data.ImageSet(cifar.train.images, cifar.train.labels, cifar.mean, cifar.std)  # without augmentation
    errors = {}
    for part, images in (("train", original), ("val", cifar.val), ("test", cifar.test)):
        logits, labels = training.predict(model, images, batch_size=500, autocast=False)
        predicted = logits.argmax(1)
        wrong = (predicted != labels).double().mean().item()
        errors[part] = {"loss": F.cross_entropy(logits, labels).item(), "error": wrong}
    return errors, {"predicted": predicted.to(torch.uint8).numpy(), "labels": labels.to(torch.uint8).numpy()}


def _plain(values: object) -> bool:
    return isinstance(values, list | int | float | str | dict)


def main(wanted: list[str]) -> None:
    RECORDS.mkdir(exist_ok=True)
    jobs = trainings()
    for name in wanted or jobs:
        if not (RECORDS / f"{name}.json").exists():
            jobs[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
