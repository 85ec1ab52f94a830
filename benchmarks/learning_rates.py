"""Which learning rate suits which CIFAR network of Exercise 1.2.

python -m benchmarks.learning_rates     about an hour on two cores with bf16 units

For each kind and depth three rates, with one seed and three epochs on all images, are judged by the accuracy on
validation images. If the best one lies at the edge, the next one beyond it is tried too. Each training is written into
learning_rates.json as soon as it is done, and one that is there is not made again. LAB1_DATA decides which images.
"""

import json
from pathlib import Path

import torch

from lab1 import ResNet, data, training
from lab1.basics.device import hardware
from lab1.experiment.results import update

FILE = Path(__file__).with_suffix(".json")
RATES = (0.03, 0.1, 0.3)
BEYOND = {0.03: 0.01, 0.3: 1.0}
SEED = 100  # none of those that the exercise uses
NUM_EPOCHS = 3


def accuracy(depth: int, skip: bool, lr: float, cifar: data.Dataset) -> float:
    """The validation accuracy after the last epoch."""
    name = f"{'residual' if skip else 'plain'}-{depth}, learning rate {lr}"
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    if name not in known:
        torch.manual_seed(SEED)
        model = ResNet([(depth - 2) // 6] * 3, skip=skip, width=16)
        history = training.fit(model, cifar.train, cifar.val, num_epochs=NUM_EPOCHS, lr=lr, seed=SEED)
        if history["interrupted"]:
            raise KeyboardInterrupt
        curves = {key: values for key, values in history.items() if "/" in key}
        known[name] = curves | {"data": str(cifar), "hardware": hardware()}
        update(FILE, name, known[name])
    return known[name]["val/accuracy"][-1]


def main() -> None:
    cifar = data.load("cifar10")
    for depth in (20, 56):
        for skip in (True, False):
            found = {lr: accuracy(depth, skip, lr, cifar) for lr in RATES}
            best = max(found, key=found.get)
            if best in BEYOND:
                found[BEYOND[best]] = accuracy(depth, skip, BEYOND[best], cifar)
            print("residual" if skip else "plain", depth, {lr: f"{value:.1%}" for lr, value in sorted(found.items())})


if __name__ == "__main__":
    main()
