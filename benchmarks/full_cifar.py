"""The trainings on all of CIFAR-10 behind Exercises 1.2 and 2.1: hours of them, and each leaves a record.

python -m benchmarks.full_cifar                     all of them: about ten hours for a core with bf16 units
python -m benchmarks.full_cifar plain-56-seed0 ...  some of them
python -m benchmarks.full_cifar --lossless FOLDER   the test images of FOLDER/cifar10.npz are measured, too
OMP_NUM_THREADS=1                                   two at a time, one core each: a quarter faster than in turn

The protocol, which was fixed before any test image was looked at: SGD with Nesterov momentum 0.9, weight decay 5e-4 on
weights, batches of 128, random crops and flips; the learning rate rises for a fifth of all steps and falls to zero
along a cosine (one-cycle). 10 epochs for the CIFAR ResNets of He et al. (2016), section 4.2, 11 for ResNet18.
The highest learning rate of each kind and depth is the best of three by the accuracy on validation images after a
training of three epochs with a seed of its own; ResNet18 has the 0.1 of Exercise 2.1.

lab1/records/NAME.json has the history and the errors of the trained network in eval mode, in float32, on training
images without augmentation, on validation and on test images. lab1/records/NAME.npz has what the network predicts for
each test image, and the norms of gradients and weights: at every step of ResNet18, of the others at the first 200 steps
and at every tenth. A training that was interrupted goes on from model_states/, and one that has a record is not made
again. The four networks of seed 0 are kept in half precision for lab1.models.pretrained.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from lab1 import ResNet, ResNet18, data, training
from lab1.basics.device import hardware
from lab1.experiment import records, train
from lab1.models import pretrained
from lab1.models.resnet import BasicBlock

CHECKPOINTS = Path(__file__).parents[1] / "model_states"
KINDS = ("residual", "plain")
RATES = (0.03, 0.1, 0.3)
TRIAL_SEED = 100  # none of those that are compared


class Training(NamedTuple):
    """One network and how it is trained."""

    kind: str
    depth: int  # 20 or 56, or 18 for ResNet18
    seed: int
    num_epochs: int = 10
    lr: float | None = None  # None: the best one of the trials
    rise: bool = True  # of the learning rate, in the first fifth of all steps
    zero: bool = False  # each block starts as the identity: the last scale of its branch is zero

    def build(self) -> nn.Module:
        skip = self.kind == "residual"
        if self.depth == 18:
            return ResNet18(skip=skip)
        n = (self.depth - 2) // 6
        model = ResNet((n, n, n), skip=skip, width=16)
        if self.zero:
            for block in (module for module in model.modules() if isinstance(module, BasicBlock)):
                nn.init.zeros_(block.bn2.weight)
        return model


def trainings() -> dict[str, Training]:
    """All of them by name, in an order in which they can be made."""
    planned = {}
    for kind in KINDS:
        for depth in (20, 56):
            for lr in RATES:
                planned[f"trial-{kind}-{depth}-lr{lr}"] = Training(kind, depth, TRIAL_SEED, num_epochs=3, lr=lr)
    for seed in (0, 1, 2):
        for depth in (20, 56):
            for kind in KINDS:
                planned[f"{kind}-{depth}-seed{seed}"] = Training(kind, depth, seed)
    for kind in KINDS:
        planned[f"{kind}-56-falling"] = Training(kind, 56, seed=0, rise=False)
    planned["residual-56-zero"] = Training("residual", 56, seed=0, zero=True)
    for kind in KINDS:
        planned[f"resnet18-{kind}"] = Training(kind, 18, seed=0, num_epochs=11, lr=0.1)
    return planned


def falling(optimizer: torch.optim.Optimizer, total_steps: int) -> CosineAnnealingLR:
    """The cosine from the first step on, without the rise."""
    return CosineAnnealingLR(optimizer, total_steps)


def make(name: str, planned: Training, lossless: Path | None) -> None:
    """Train one network and write its record."""
    cifar = data.load("cifar10")
    lr = planned.lr
    if lr is None:
        accuracy = records.trials()[f"{planned.kind}, {planned.depth} layers"]
        lr = max(accuracy, key=accuracy.get)
    is_trial = planned.seed == TRIAL_SEED
    model, history = train(
        name,
        planned.build,
        cifar,
        group="full-cifar",
        seed=planned.seed,
        num_epochs=planned.num_epochs,
        lr=lr,
        schedule=True if planned.rise else falling,
        record_gradients=not is_trial,
        config={"zero": planned.zero},
        checkpoint=CHECKPOINTS / f"{name}-full-cifar.pt",
    )
    record = {"data": str(cifar), "hardware": hardware(), "threads": torch.get_num_threads(), "seed": planned.seed}
    record |= {"lr": lr, "history": {key: values for key, values in history.items() if _plain(values)}}
    if not is_trial:
        record["errors"], arrays = measure(model, cifar, lossless)
        norms = history["grad_norm"].numpy()
        kept = np.arange(len(norms))
        if planned.depth != 18:
            kept = kept[(kept < 200) | (kept % 10 == 0)]
        arrays |= {"steps": kept, "grad_norm": norms[kept], "weight_norm": history["weight_norm"].numpy()[kept]}
        np.savez_compressed(records.FOLDER / f"{name}.npz", **arrays)
    if name.removesuffix("-seed0") in pretrained.NAMES:
        pretrained.save(model, name.removesuffix("-seed0"))
    (records.FOLDER / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")


def measure(model: nn.Module, cifar: data.Dataset, lossless: Path | None) -> tuple[dict, dict]:
    """Loss and share of wrong answers on each part of the data; what is predicted for the test images."""
    original = data.ImageSet(cifar.train.images, cifar.train.labels, cifar.mean, cifar.std)  # without augmentation
    parts = {"train": original, "val": cifar.val, "test": cifar.test}
    if lossless:
        test = data.load("cifar10", folder=lossless, download=False).test
        parts["lossless test"] = data.ImageSet(test.images, test.labels, cifar.mean, cifar.std)
    errors, arrays = {}, {}
    for part, images in parts.items():
        logits, labels = training.predict(model, images, batch_size=500, autocast=False)
        predicted = logits.argmax(1)
        wrong = (predicted != labels).double().mean().item()
        errors[part] = {"loss": F.cross_entropy(logits, labels).item(), "error": wrong}
        if part.endswith("test"):
            prefix = part.removesuffix("test").replace(" ", "_")
            arrays[f"{prefix}predicted"] = predicted.to(torch.uint8).numpy()
            arrays[f"{prefix}labels"] = labels.to(torch.uint8).numpy()
    return errors, arrays


def _plain(values: object) -> bool:
    return isinstance(values, list | int | float | str | dict)


def main() -> None:
    planned = trainings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(planned)}; all without a name")
    parser.add_argument("--lossless", type=Path, metavar="FOLDER")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.names if name not in planned]:
        parser.error(f"there is no training {', '.join(unknown)}: there are {', '.join(planned)}")
    records.FOLDER.mkdir(exist_ok=True)
    for name in chosen.names or planned:
        if not (records.FOLDER / f"{name}.json").exists():
            make(name, planned[name], chosen.lossless)


if __name__ == "__main__":
    main()
